"""A candidate's process is held back, and let go before it serves; a real process, which only sleeps."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import restraint
from agent.restraint import NICE, OOM_SCORE, Restraint


@pytest.fixture
def child() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process.pid
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def state(pid: int) -> tuple[int, int, int]:
    score = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    return os.getpriority(os.PRIO_PROCESS, pid), score, resource.prlimit(pid, resource.RLIMIT_DATA)[0]


@pytest.mark.skipif(not restraint.may_raise(), reason="this user may not raise a priority again")
def test_it_is_held_back_and_let_go(child: int) -> None:
    before = state(child)
    held = Restraint()
    held.apply(child)
    nice, score, data_bytes = state(child)
    assert (nice, score) == (NICE, OOM_SCORE)
    assert 0 < data_bytes < 1 << 50
    held.release()
    assert state(child)[0] == 0
    assert state(child)[1:] == (0, before[2])


def test_a_priority_that_could_not_be_raised_again_is_not_lowered(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restraint, "may_raise", lambda: False)
    nice = os.getpriority(os.PRIO_PROCESS, child)
    held = Restraint()
    held.apply(child)
    assert os.getpriority(os.PRIO_PROCESS, child) == nice
    held.release()


def test_a_process_that_is_gone_is_no_error() -> None:
    held = Restraint()
    held.apply(2**22 + 1)
    held.release()
    held.release()
