"""What the loop makes of its camera and its first messages; no frame is worked on."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from runtime.errors import WorkflowRefused
from runtime.link import Link
from runtime.pipeline import watch
from runtime.pipeline.__main__ import receive_start
from runtime.pipeline.chores import MAX_MESSAGE_CHARS, MAX_PROBLEMS, refusal
from runtime.pipeline.events import Held
from runtime.pipeline.loop import PipelineLoop
from runtime.sinks.desk import Desk
from wire import local
from wire.problem import Problem
from wire.reasons import Reason

START = local.Start("p", local.CameraSource("door", "0", "live"), local.Binding(1, "w", "d", "/w"), "/run")


class Reader:
    """A camera whose frames are all skipped by policy."""

    def __init__(self) -> None:
        self.total = 0
        self.states = [local.CameraState("streaming")]

    def news(self) -> tuple[list[local.CameraState], dict[str, int], int]:
        states, self.states = self.states, []
        return states, {}, self.total

    def blocked(self, _at_mono: float) -> tuple[str, float]:
        return "", 0.0


class Attached:
    attached = True


@pytest.fixture
def ends() -> Iterator[tuple[Link, socket.socket]]:
    ours, theirs = socket.socketpair()
    link = Link(ours)
    yield link, theirs
    link.close()
    theirs.close()


def made(reader: Reader, link: Link) -> PipelineLoop:
    parts: dict[str, Any] = {
        "active": Attached(),
        "chores": None,
        "termination": None,
        "provenance": None,
        "desk": Desk(),
        "aside": None,
    }
    return PipelineLoop(START, link, cast("Any", reader), held=Held("b", "door"), **parts)


def test_frames_skipped_by_the_rate_limit_are_no_lost_camera(
    ends: tuple[Link, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    mono = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: mono)
    reader = Reader()
    subject = made(reader, ends[0])
    subject._ledger.result(mono, mono)
    mono += watch.NO_FRAME_S * 3
    reader.total += 10
    subject._watch.take_news()
    assert not subject._watch.check(mono, idle=True)
    assert subject._ledger.blind_cause == ""
    mono += watch.NO_FRAME_S * 3
    subject._watch.take_news()
    assert not subject._watch.check(mono, idle=True)
    assert subject._ledger.blind_cause == Reason.CAMERA_STALLED.value


def test_what_comes_together_with_the_start_is_not_lost(ends: tuple[Link, socket.socket]) -> None:
    link, agent = ends
    agent.sendall(local.encode(START) + local.encode(local.Commit("r2")) + local.encode(local.Stop()))
    assert receive_start(link) == START
    agent.sendall(local.encode(local.Abandon("r3")))
    assert link.receive() == [local.Commit("r2"), local.Stop(), local.Abandon("r3")]


def test_a_refusal_with_very_many_problems_fits_the_link() -> None:
    problems = [Problem(f"steps.{i}", Reason.WORKFLOW_INVALID, "x" * 100) for i in range(20_000)]
    text = "; ".join(map(str, problems))
    told = refusal("r2", WorkflowRefused(Reason.WORKFLOW_INVALID, text, problems))
    assert len(told.problems) == MAX_PROBLEMS
    assert len(told.message) == MAX_MESSAGE_CHARS
    assert len(local.encode(told)) < local.MAX_LINE_BYTES
