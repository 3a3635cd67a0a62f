"""Slots: layout, memory, and the book of who may write."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtime.model.slots import (
    MAX_SLOTS,
    SlotLayout,
    SlotMemory,
    SlotState,
    SlotTable,
    make_memfd,
    read_spec,
)
from runtime.model.spec import InputSpec, Task
from wire.errors import Malformed

INPUT = InputSpec("images", 8, 6)


@pytest.fixture
def layout() -> SlotLayout:
    return SlotLayout.plan(3, INPUT, Task.DETECTION, 100)


@pytest.fixture
def memfd(layout: SlotLayout) -> Iterator[int]:
    fd = make_memfd(layout, b"{}".ljust(100))
    yield fd
    os.close(fd)


def test_parts_begin_on_pages_and_do_not_overlap(layout: SlotLayout) -> None:
    spans = [(0, layout.spec_bytes)]
    for slot in range(layout.slots):
        spans.append((layout.input_at(slot), layout.input_bytes))
        spans.append((layout.output_at(slot), layout.output_bytes))
    assert all(start % mmap.PAGESIZE == 0 for start, _ in spans)
    ends = [start + size for start, size in spans]
    assert all(end <= start for end, (start, _) in zip(ends, spans[1:], strict=False))
    assert ends[-1] <= layout.total_bytes


def test_maps_get_room_for_a_map_of_a_large_image() -> None:
    plain = SlotLayout.plan(1, INPUT, Task.DETECTION, 1)
    maps = SlotLayout.plan(1, INPUT, Task.SEMANTIC_SEGMENTATION, 1)
    assert maps.output_bytes >= 3840 * 2160 > plain.output_bytes


@pytest.mark.parametrize("slots", [0, MAX_SLOTS + 1, 2**32 - 1])
def test_impossible_number_of_slots_is_refused(slots: int) -> None:
    with pytest.raises(Malformed, match="slots asked for"):
        SlotLayout.plan(slots, INPUT, Task.DETECTION, 1)


def test_absurd_memory_is_refused() -> None:
    with pytest.raises(Malformed, match="at most"):
        SlotLayout(MAX_SLOTS, 2**40, 1, 1)


def test_two_mappings_see_the_same_slots(memfd: int, layout: SlotLayout) -> None:
    one = SlotMemory(memfd, layout, (3, 6, 8))
    two = SlotMemory(memfd, layout, (3, 6, 8))
    one.inputs[1][:] = 7
    two.outputs[2][:3] = b"abc"
    assert two.inputs[1].min() == 7
    assert two.inputs[0].max() == two.inputs[2].max() == 0
    assert bytes(one.outputs[2][:3]) == b"abc"
    assert read_spec(memfd, layout).startswith(b"{}")


def test_neither_side_can_resize_the_memory(memfd: int, layout: SlotLayout) -> None:
    for size in (0, layout.total_bytes * 2):
        with pytest.raises(PermissionError):
            os.ftruncate(memfd, size)


def test_memory_smaller_than_its_layout_is_refused(memfd: int) -> None:
    larger = SlotLayout.plan(30, INPUT, Task.DETECTION, 100)
    with pytest.raises(Malformed, match="cannot hold"):
        SlotMemory(memfd, larger, (3, 6, 8))


def test_unsealed_memory_is_refused(layout: SlotLayout) -> None:
    fd = os.memfd_create("unsealed", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, layout.total_bytes)
        with pytest.raises(Malformed, match="not sealed"):
            SlotMemory(fd, layout, (3, 6, 8))
    finally:
        os.close(fd)


def test_tensor_of_another_shape_is_refused(memfd: int, layout: SlotLayout) -> None:
    with pytest.raises(Malformed, match="do not hold"):
        SlotMemory(memfd, layout, (3, 7, 8))


def test_closing_gives_the_mapping_back_though_a_view_lives_on(memfd: int, layout: SlotLayout) -> None:
    before = len(os.listdir("/proc/self/fd"))
    memory = SlotMemory(memfd, layout, (3, 6, 8))
    kept = memory.inputs[0]
    memory.close()
    assert np.all(kept == 0)
    del kept
    assert len(os.listdir("/proc/self/fd")) == before


def test_answer_nobody_asked_for_is_refused() -> None:
    table = SlotTable(2)
    with pytest.raises(Malformed, match="not under way"):
        table.answered(0, 0)
    with pytest.raises(Malformed, match="none of 2"):
        table.answered(2, 1)


def test_answer_of_an_old_generation_is_refused() -> None:
    table = SlotTable(1)
    slot, old = table.take() or (0, 0)
    table.answered(slot, old)
    table.take()
    with pytest.raises(Malformed, match="generation"):
        table.answered(slot, old)


class SlotBook(RuleBasedStateMachine):
    """Any order of asking, giving up, answering late: a slot the engine may write to is never handed out."""

    @initialize(slots=st.integers(1, 5))
    def start(self, slots: int) -> None:
        self.slots = slots
        self.table = SlotTable(slots)
        self.with_engine: dict[int, int] = {}
        self.given_up: set[int] = set()
        self.seen: set[tuple[int, int]] = set()

    @rule()
    def ask(self) -> None:
        taken = self.table.take()
        if taken is None:
            assert len(self.with_engine) == self.slots
            return
        slot, generation = taken
        assert slot not in self.with_engine
        assert taken not in self.seen
        self.seen.add(taken)
        self.with_engine[slot] = generation

    @precondition(lambda self: set(self.with_engine) - self.given_up)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(set(self.with_engine) - self.given_up)))
        self.table.quarantine(slot, self.with_engine[slot])
        self.given_up.add(slot)

    @precondition(lambda self: self.with_engine)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(self.with_engine)))
        wanted = self.table.answered(slot, self.with_engine.pop(slot))
        assert wanted == (slot not in self.given_up)
        self.given_up.discard(slot)

    @precondition(lambda self: self.with_engine)
    @rule(data=st.data(), by=st.integers(1, 3))
    def answer_of_a_wrong_generation(self, data: st.DataObject, by: int) -> None:
        slot = data.draw(st.sampled_from(sorted(self.with_engine)))
        with pytest.raises(Malformed):
            self.table.answered(slot, self.with_engine[slot] + by)

    @precondition(lambda self: set(self.with_engine) - self.given_up)
    @rule(data=st.data())
    def fail_to_send(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(sorted(set(self.with_engine) - self.given_up)))
        self.table.untake(slot, self.with_engine.pop(slot))

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "table"):
            return
        assert self.table.free == self.slots - len(self.with_engine)
        assert self.table.quarantined == len(self.given_up)
        assert all(self.table.state(slot) is not SlotState.FREE for slot in self.with_engine)


TestSlotBook = SlotBook.TestCase
TestSlotBook.settings = settings()
