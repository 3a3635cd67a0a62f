"""Slots: the memory that a pipeline and an engine share, and who may write to which slot when.

One memfd for each (pipeline, engine, model), made by the engine at attach, sealed against any change of size (so that no
side can make the other fault), passed as a descriptor and mapped by both. It goes when the last of the two lets go.

    0            spec: the model's `ModelSpec` as JSON, `spec_bytes`, padded to a page
    slots_at     slot 0: input part  uint8 tensor of the model's declared shape, `input_bytes`, padded to a page
                         output part `output_bytes`, padded to a page: answers too large for a message
    + stride     slot 1 …

Parts begin on pages, so that an engine may register them as pinned memory. Pages nobody has touched cost nothing.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from runtime.model.spec import InputSpec, Task
from wire.errors import Malformed

MAX_SLOTS = 64
"""Of one attachment. A pipeline keeps two frames under way; crops and tiles want some more."""
MAX_MEMORY_BYTES = 4 * 1024**3
"""Of one attachment, mapped: 64 slots of a 1536 by 1536 model with masks take 2 GiB, most of it never touched."""
MAP_OUTPUT_BYTES = 16 * 1024 * 1024 + 64 * 1024
"""Output part of models that answer maps or masks: one byte a pixel of a 4096 by 4096 image, and what goes before it."""

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_MAP_TASKS = (Task.SEMANTIC_SEGMENTATION, Task.INSTANCE_SEGMENTATION)


def _pages(size_bytes: int) -> int:
    return -(-size_bytes // mmap.PAGESIZE) * mmap.PAGESIZE


@dataclass(frozen=True)
class SlotLayout:
    """Where everything lies within the memfd; both sides compute the same from the same four numbers."""

    slots: int
    input_bytes: int
    output_bytes: int
    spec_bytes: int

    def __post_init__(self) -> None:
        """:raises Malformed: a number is out of its range"""
        if not 1 <= self.slots <= MAX_SLOTS:
            raise Malformed(f"{self.slots} slots asked for; 1 to {MAX_SLOTS} are possible")
        if (
            min(self.input_bytes, self.output_bytes, self.spec_bytes) < 1
            or self.total_bytes > MAX_MEMORY_BYTES
        ):
            raise Malformed(
                f"{self} would take {self.total_bytes} bytes; at most {MAX_MEMORY_BYTES} are allowed"
            )

    @classmethod
    def plan(cls, slots: int, spec: InputSpec, task: Task, spec_bytes: int) -> SlotLayout:
        """The layout for a model.

        :raises Malformed: too many slots, or too much memory
        """
        height, width, channels = spec.tensor_shape
        input_bytes = height * width * channels
        output_bytes = max(input_bytes, MAP_OUTPUT_BYTES if task in _MAP_TASKS else 0)
        return cls(slots, input_bytes, output_bytes, spec_bytes)

    @property
    def slots_at(self) -> int:
        return _pages(self.spec_bytes)

    @property
    def stride_bytes(self) -> int:
        return _pages(self.input_bytes) + _pages(self.output_bytes)

    @property
    def total_bytes(self) -> int:
        return self.slots_at + self.slots * self.stride_bytes

    def input_at(self, slot: int) -> int:
        return self.slots_at + slot * self.stride_bytes

    def output_at(self, slot: int) -> int:
        return self.input_at(slot) + _pages(self.input_bytes)


class SlotMemory:
    """A mapping of the memfd. `inputs[i]` is (C, H, W) or (H, W, C) uint8, `outputs[i]` a view of bytes; both writable."""

    def __init__(self, fd: int, layout: SlotLayout, tensor_shape: tuple[int, int, int]) -> None:
        """Map the descriptor, which the caller keeps.

        :raises Malformed: the file is smaller than its layout, or not sealed against shrinking
        """
        size_bytes = os.fstat(fd).st_size
        if size_bytes < layout.total_bytes or not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK:
            raise Malformed(f"shared memory of {size_bytes} bytes cannot hold {layout}, or is not sealed")
        if int(np.prod(tensor_shape)) != layout.input_bytes:
            raise Malformed(
                f"slots of {layout.input_bytes} bytes do not hold a tensor of shape {tensor_shape}"
            )
        self.layout = layout
        memory = mmap.mmap(fd, layout.total_bytes)
        self._whole = np.frombuffer(memory, np.uint8)
        self.inputs: list[npt.NDArray[np.uint8]] = []
        self.outputs: list[memoryview] = []
        for slot in range(layout.slots):
            at = layout.input_at(slot)
            self.inputs.append(self._whole[at : at + layout.input_bytes].reshape(tensor_shape))
            at = layout.output_at(slot)
            self.outputs.append(memoryview(memory)[at : at + layout.output_bytes])

    def close(self) -> None:
        """Let go of the views; the mapping goes with the last of them, at once where nobody has kept one."""
        self.inputs, self.outputs = [], []
        self._whole = np.empty(0, np.uint8)


def read_spec(fd: int, layout: SlotLayout) -> bytes:
    """The spec's bytes from the head of the memfd."""
    return os.pread(fd, layout.spec_bytes, 0)


def make_memfd(layout: SlotLayout, spec: bytes) -> int:
    """A new sealed memfd with the spec at its head; the caller owns the descriptor.

    :raises OSError: the kernel refuses (descriptors or memory used up)
    """
    fd = os.memfd_create("outrider-slots", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, layout.total_bytes)
        os.pwrite(fd, spec, 0)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


class SlotState(Enum):
    FREE = "free"
    ASKED = "asked"
    """The engine may read the input and write the output."""
    QUARANTINED = "quarantined"
    """As ASKED, but nobody waits for the answer any more."""


class SlotTable:
    """The pipeline's book of its slots. Pure.

    Invariant: a slot is taken only when FREE, and becomes FREE only when the engine has answered its newest generation, or
    when the request was never sent. So nobody writes to a slot that another may still use, however late the engine is.
    """

    def __init__(self, slots: int) -> None:
        self._generation = [0] * slots
        self._state = [SlotState.FREE] * slots
        self._free = list(range(slots - 1, -1, -1))

    @property
    def free(self) -> int:
        return len(self._free)

    @property
    def quarantined(self) -> int:
        return self._state.count(SlotState.QUARANTINED)

    def state(self, slot: int) -> SlotState:
        return self._state[slot]

    def take(self) -> tuple[int, int] | None:
        """A free slot and its new generation, or None where all are taken."""
        if not self._free:
            return None
        slot = self._free.pop()
        self._generation[slot] += 1
        self._state[slot] = SlotState.ASKED
        return slot, self._generation[slot]

    def quarantine(self, slot: int, generation: int) -> None:
        """Nobody waits for this answer any more, but the engine may still write it."""
        self._check(slot, generation)
        self._state[slot] = SlotState.QUARANTINED

    def untake(self, slot: int, generation: int) -> None:
        """The request was never sent."""
        self._check(slot, generation)
        self._put_back(slot)

    def answered(self, slot: int, generation: int) -> bool:
        """The engine is done with the slot. Whether somebody still waits for the answer.

        :raises Malformed: no such request is under way: the other side is broken
        """
        self._check(slot, generation)
        wanted = self._state[slot] is SlotState.ASKED
        self._put_back(slot)
        return wanted

    def _put_back(self, slot: int) -> None:
        self._state[slot] = SlotState.FREE
        self._free.append(slot)

    def _check(self, slot: int, generation: int) -> None:
        if not 0 <= slot < len(self._state):
            raise Malformed(f"slot {slot} is none of {len(self._state)}")
        if self._state[slot] is SlotState.FREE or self._generation[slot] != generation:
            raise Malformed(
                f"slot {slot}, generation {generation} is not under way: the slot is {self._state[slot].value}"
                f" at generation {self._generation[slot]}"
            )
