"""The server's loop with models made for the purpose: errors, large answers, batches across pipelines, the link."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from runtime.errors import LinkFull
from runtime.link import STATISTICS_PENDING_BYTES, Link
from runtime.model.attachment import AttachedEngine
from runtime.model.geometry import Geometry
from runtime.model.process import EngineProcess
from runtime.model.serving import Server
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.model.wireformat import INLINE_BYTES
from runtime.results import Answer, NoAnswer, Result
from tests.integration.engine_child import until
from wire import local
from wire.errors import Malformed
from wire.reasons import Reason

WAIT_S = 20.0
DIGEST = "sha256:" + "c" * 64
SPEC = ModelSpec(
    "made",
    Task.SEMANTIC_SEGMENTATION,
    "none",
    InputSpec("images", 32, 16, colour="BGR", resize="stretch", batch=None),
    DecodeSpec(),
    ("thing",),
)


class MadeModel:
    """Answers by the brightness of the tensor; `batches` holds the size of each run; `gate` lets runs begin."""

    def __init__(self, spec: ModelSpec = SPEC, runs_at_once: int = 1) -> None:
        self.spec = spec
        self.runs_at_once = runs_at_once
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.meeting: threading.Barrier | None = None
        self.inside = 0
        self.closed_while_inside: bool | None = None
        self.pinned: list[int] = []

    def run(self, batch: npt.NDArray[Any], geometries: Sequence[Geometry]) -> list[Answer]:
        self.inside += 1
        if self.meeting is not None:
            self.meeting.wait(WAIT_S)
        assert self.gate.wait(WAIT_S)
        self.inside -= 1
        self.batches.append(len(batch))
        return [
            self._answer(int(tensor.flat[0]), where) for tensor, where in zip(batch, geometries, strict=True)
        ]

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        self.pinned += [part.__array_interface__["data"][0] for part in parts]

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        for part in parts:
            part[:] = 0  # still mapped, else the test ends here
            self.pinned.remove(part.__array_interface__["data"][0])

    def close(self) -> None:
        assert not self.pinned, "a model is closed while slots are pinned for it"
        self.closed_while_inside = self.inside > 0

    def _answer(self, value: int, where: Geometry) -> Answer:
        size = (where.image_width_px, where.image_height_px)
        if value == 13:
            raise RuntimeError("thirteen")
        if value == 14:
            return Result(size, self.spec.labels, np.zeros((2, 4), np.float32))
        if value == 15:
            return NoAnswer(Reason.MODEL_NAN, "not a number")
        if value >= 200:
            return Result(size, self.spec.labels, semantic=np.full(size[::-1], value, np.uint8))
        return Result(size, self.spec.labels, classes=np.full(1, value, np.float32))


@contextlib.contextmanager
def serving(path: Path, model: MadeModel, **options: Any) -> Iterator[Server]:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    server = Server({DIGEST: model}, listener, **options)
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            server.step(0.02)
        server.finish(1.0)

    thread = threading.Thread(target=loop, name="engine-server")
    thread.start()
    try:
        yield server
    finally:
        model.gate.set()
        ended.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()


@contextlib.contextmanager
def attached(path: Path, slots: int = 8) -> Iterator[AttachedEngine]:
    engine = AttachedEngine(str(path), DIGEST, slots=slots)
    try:
        assert engine.connect(WAIT_S), engine.problem
        yield engine
    finally:
        engine.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "engine"


def picture(value: int, width: int = 32, height: int = 16) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def value_of(answer: Answer) -> float:
    assert isinstance(answer, Result), answer
    assert answer.classes is not None
    return float(answer.classes[0])


def test_failing_batch_is_answered_with_its_error_and_the_loop_goes_on(path: Path) -> None:
    with (
        serving(path, MadeModel(replace(SPEC, input=replace(SPEC.input, batch=1)))) as server,
        attached(path) as engine,
    ):
        bad, good = engine.submit([picture(13), picture(5)]).wait(WAIT_S)
        assert isinstance(bad, NoAnswer)
        assert bad.reason is Reason.ENGINE_ERROR
        assert "thirteen" in bad.message
        assert value_of(good) == 5
        assert server.figures.errors == 1


def test_result_of_wrong_shape_is_an_engine_error_and_never_a_crash(path: Path) -> None:
    with serving(path, MadeModel()), attached(path) as engine:
        (answer,) = engine.submit([picture(14)]).wait(WAIT_S)
        assert isinstance(answer, NoAnswer)
        assert answer.reason is Reason.ENGINE_ERROR
        assert "boxes" in answer.message


def test_cause_of_a_missing_answer_crosses(path: Path) -> None:
    with serving(path, MadeModel()), attached(path) as engine:
        assert engine.submit([picture(15)]).wait(WAIT_S) == [NoAnswer(Reason.MODEL_NAN, "not a number")]


def test_large_map_comes_through_the_slot_and_survives_the_slot_being_used_again(path: Path) -> None:
    with serving(path, MadeModel()), attached(path, slots=1) as engine:
        (first,) = engine.submit([picture(200, 800, 600)]).wait(WAIT_S)
        (second,) = engine.submit([picture(201, 800, 600)]).wait(WAIT_S)
        for answer, value in ((first, 200), (second, 201)):
            assert isinstance(answer, Result)
            assert answer.semantic is not None
            assert answer.semantic.shape == (600, 800)
            assert answer.semantic.nbytes > INLINE_BYTES
            assert answer.semantic.min() == answer.semantic.max() == value


def test_answers_that_fill_a_message_come_in_several(path: Path) -> None:
    with serving(path, MadeModel()), attached(path) as engine:
        answers = engine.submit([picture(220 + i, 250, 200) for i in range(8)]).wait(WAIT_S)
        assert [
            a.semantic.max() for a in answers if isinstance(a, Result) and a.semantic is not None
        ] == list(range(220, 228))


def test_answer_too_large_for_its_slot_says_so(path: Path) -> None:
    plain = replace(SPEC, task=Task.DETECTION)
    with serving(path, MadeModel(plain)), attached(path) as engine:
        (answer,) = engine.submit([picture(200, 800, 600)]).wait(WAIT_S)
        assert isinstance(answer, NoAnswer)
        assert answer.reason is Reason.ENGINE_ERROR
        assert "a slot holds" in answer.message


def test_what_waits_is_batched_across_pipelines_up_to_the_limit(path: Path) -> None:
    model = MadeModel()
    with serving(path, model, max_batch=4), attached(path) as one, attached(path) as two:
        model.gate.clear()
        first = one.submit([picture(1)])
        tickets = [
            engine.submit([picture(10 * n + i) for i in range(3)]) for n, engine in ((2, one), (3, two))
        ]
        model.gate.set()
        first.wait(WAIT_S)
        values = [[value_of(answer) for answer in ticket.wait(WAIT_S)] for ticket in tickets]
        assert values == [[20, 21, 22], [30, 31, 32]]
        assert max(model.batches) == 4
        assert sum(model.batches) == 7


def test_runs_of_an_engine_that_allows_it_are_side_by_side(path: Path) -> None:
    model = MadeModel(runs_at_once=2)
    model.meeting = threading.Barrier(2)
    with serving(path, model), attached(path) as engine:
        answers = engine.submit([picture(i) for i in range(4)]).wait(WAIT_S)
        assert [value_of(answer) for answer in answers] == [0, 1, 2, 3]
        assert sum(model.batches) == 4


def test_engine_that_takes_one_run_at_a_time_gets_one(path: Path) -> None:
    model = MadeModel(replace(SPEC, input=replace(SPEC.input, batch=1)))
    model.gate.clear()
    with serving(path, model), attached(path) as one, attached(path) as two:
        tickets = [engine.submit([picture(1)]) for engine in (one, two)]
        assert until(lambda: model.inside > 0)
        assert not until(lambda: model.inside > 1, 0.2)
        model.gate.set()
        assert [value_of(ticket.wait(WAIT_S)[0]) for ticket in tickets] == [1, 1]


def test_pipeline_that_goes_while_its_tensor_runs_costs_nobody_else_an_answer(path: Path) -> None:
    model = MadeModel(runs_at_once=2)
    model.gate.clear()
    with serving(path, model) as server, attached(path) as stays:
        with attached(path) as goes:
            goes.submit([picture(1)])
            ticket = stays.submit([picture(2)])
            assert until(lambda: model.inside == 2)
        assert until(lambda: server.attached == 1)
        model.gate.set()
        assert value_of(ticket.wait(WAIT_S)[0]) == 2
        assert value_of(stays.submit([picture(3)]).wait(WAIT_S)[0]) == 3


def test_model_is_not_closed_under_a_run(path: Path) -> None:
    model = MadeModel(runs_at_once=2)
    model.gate.clear()
    with serving(path, model) as server:
        with attached(path) as engine:
            engine.submit([picture(1)])
            assert until(lambda: model.inside == 1)
            server.unload(DIGEST)
        assert until(lambda: server.attached == 0)
        assert model.closed_while_inside is None
        model.gate.set()
        assert until(lambda: model.closed_while_inside is False)


def test_process_falls_silent_while_a_run_hangs(path: Path, pair: tuple[Link, Link]) -> None:
    child, agent = pair
    model = MadeModel(runs_at_once=2)
    model.gate.clear()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen()
    clock = Hurrying()
    server = Server({DIGEST: model}, listener, clock=clock)
    ended_fd = os.eventfd(0)
    process = EngineProcess(server, child, SimpleNamespace(fileno=lambda: ended_fd), clock)
    thread = threading.Thread(target=process.run, name="engine-process")
    thread.start()
    with attached(path) as engine:
        assert any(isinstance(message, local.EngineStats) for message in agent.wait(WAIT_S))
        engine.submit([picture(1)])
        assert until(lambda: model.inside == 1)
        clock.hurry_s = 3600.0
        agent.receive()
        assert agent.wait(1.2) == []
        model.gate.set()
        assert any(isinstance(message, local.EngineStats) for message in agent.wait(WAIT_S))
    agent.send(local.Stop())
    agent.flush()
    thread.join(WAIT_S)
    server.finish(1.0)
    os.close(ended_fd)
    assert not thread.is_alive()


class Hurrying:
    """The monotonic clock, `hurry_s` ahead."""

    hurry_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.hurry_s


def test_hung_engine_is_seen_by_a_pipeline_that_only_pumps(path: Path) -> None:
    model = MadeModel()
    with serving(path, model):
        engine = AttachedEngine(str(path), DIGEST, slots=2, answer_timeout_s=0.05)
        assert engine.connect(WAIT_S)
        model.gate.clear()
        ticket = engine.submit([picture(1)])
        assert engine.due_mono > 0
        assert until(ticket.ready)
        (answer,) = ticket.wait(0)
        assert isinstance(answer, NoAnswer)
        assert answer.reason is Reason.ENGINE_TIMEOUT
        assert engine.quarantined == 1
        model.gate.set()
        assert until(lambda: engine.pump() is None and engine.quarantined == 0)
        engine.close()


def test_crops_that_find_no_slot_in_time_are_not_left_without_an_answer(path: Path) -> None:
    model = MadeModel()
    with serving(path, model):
        engine = AttachedEngine(str(path), DIGEST, slots=2, answer_timeout_s=0.05)
        assert engine.connect(WAIT_S)
        model.gate.clear()
        answers = engine.submit([picture(i) for i in range(5)]).wait(WAIT_S)
        assert [a.reason for a in answers if isinstance(a, NoAnswer)] == [Reason.ENGINE_TIMEOUT] * 5
        engine.close()


def test_image_that_is_none_costs_only_itself(path: Path) -> None:
    with serving(path, MadeModel()), attached(path) as engine:
        empty = np.zeros((0, 4, 3), np.uint8)
        answers = engine.submit([picture(3), empty, picture(4)]).wait(WAIT_S)
        assert isinstance(answers[1], NoAnswer)
        assert "at least one pixel" in answers[1].message
        assert [value_of(answers[0]), value_of(answers[2])] == [3, 4]


def test_closing_answers_what_is_under_way(path: Path) -> None:
    model = MadeModel()
    with serving(path, model), attached(path) as engine:
        model.gate.clear()
        ticket = engine.submit([picture(1)])
        engine.close()
        (answer,) = ticket.wait(WAIT_S)
        assert isinstance(answer, NoAnswer)
        assert answer.reason is Reason.ENGINE_DOWN
        assert engine.fileno() == -1


def test_descriptor_of_an_engine_is_readable_when_an_answer_has_come(path: Path) -> None:
    import select

    with serving(path, MadeModel()), attached(path) as engine:
        poll = select.poll()
        poll.register(engine.fileno(), select.POLLIN)
        assert not poll.poll(0)
        ticket = engine.submit([picture(7)])
        assert poll.poll(WAIT_S * 1000)
        assert ticket.ready()
        assert not poll.poll(0)


def test_engine_that_is_not_there_is_down_until_it_comes(path: Path) -> None:
    engine = AttachedEngine(str(path), DIGEST)
    (answer,) = engine.submit([picture(1)]).wait(WAIT_S)
    assert isinstance(answer, NoAnswer)
    assert answer.reason is Reason.ENGINE_DOWN
    assert str(path) in answer.message
    with serving(path, MadeModel()):
        assert engine.connect(WAIT_S)
        assert value_of(engine.submit([picture(9)]).wait(WAIT_S)[0]) == 9
    engine.close()


# --- the link ---------------------------------------------------------------------------------------------------------

STATS = local.EngineStats(0, 0, 0, 0.0, 0.0, 0, 0.0, 0)


@pytest.fixture
def pair() -> Iterator[tuple[Link, Link]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    links = Link(ours, max_pending_bytes=2 * STATISTICS_PENDING_BYTES), Link(theirs)
    yield links
    for link in links:
        link.close()


def test_messages_cross_the_link_in_order(pair: tuple[Link, Link]) -> None:
    child, agent = pair
    phases: list[local.Message] = [local.EnginePhase(DIGEST, phase) for phase in ("loading", "warming")]
    for phase in phases:
        assert child.send(phase)
    assert agent.wait(WAIT_S) == phases


def test_agent_that_does_not_read_loses_statistics_first_and_then_refuses_the_rest(
    pair: tuple[Link, Link],
) -> None:
    child, agent = pair
    sent = 0
    while child.pending_bytes <= STATISTICS_PENDING_BYTES:
        child.send(local.EnginePhase(DIGEST, str(sent)))
        sent += 1
    assert not child.send(STATS)
    assert child.dropped_statistics == 1
    phase_bytes = len(local.encode(local.EnginePhase(DIGEST, str(sent))))
    while child.pending_bytes + phase_bytes <= 2 * STATISTICS_PENDING_BYTES:
        child.send(local.EnginePhase(DIGEST, str(sent)))
        sent += 1
    with pytest.raises(LinkFull, match="not read"):
        child.send(local.EnginePhase(DIGEST, "one too many"))
    got: list[local.Message] = []
    while not child.flush():
        got += agent.receive()
    got += agent.receive()
    assert got == [local.EnginePhase(DIGEST, str(number)) for number in range(sent)]


def test_end_of_file_closes_the_link(pair: tuple[Link, Link]) -> None:
    child, agent = pair
    agent.close()
    assert child.wait(WAIT_S) == []
    assert child.closed
    assert not child.send(STATS)


def test_line_that_is_no_message_is_an_error(pair: tuple[Link, Link]) -> None:
    child, agent = pair
    agent.socket.send(b'{"kind": "no such"}\n')
    with pytest.raises(Malformed, match="local message"):
        child.wait(WAIT_S)
