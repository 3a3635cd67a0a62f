"""The demo's child processes: started in order, ended in reverse, none left behind however the demo ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

STOP_DEADLINE_S = 15.0
TAIL_LINES = 15
_PR_SET_PDEATHSIG = 1


class DemoFailed(Exception):
    """The demo cannot go on; the message says why and what to do."""


class Processes:
    """Children of the demo, each with its log file. They die with the demo, even when it is killed."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._children: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, arguments: Sequence[str], environment: dict[str, str] | None = None) -> int:
        """Start `outrider ARGUMENTS`, in a session of its own so that Ctrl-C reaches only the demo; its process id."""
        with open(self.log(name), "ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "outrider", *arguments],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self._children.append((name, child))
        return child.pid

    def log(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def check(self) -> None:
        """:raises DemoFailed: a child has ended"""
        for name, child in self._children:
            if (status := child.poll()) is not None:
                raise DemoFailed(f"{name} ended with status {status}; {self._tail(name)}")

    def tails(self) -> str:
        """The end of each child's log."""
        return "\n".join(f"{name}: {self._tail(name)}" for name, _ in self._children)

    def _tail(self, name: str) -> str:
        lines = self.log(name).read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return "the end of its log:\n" + "\n".join(lines)

    def forget(self, pid: int) -> None:
        """Stop watching a child that has been ended on purpose, once it is gone."""
        for entry in [entry for entry in self._children if entry[1].pid == pid]:
            entry[1].wait(STOP_DEADLINE_S)
            self._children.remove(entry)

    def stop(self) -> None:
        """End every child, the last one started first."""
        for _, child in reversed(self._children):
            _end(child)
        self._children.clear()


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    deadline_mono = time.monotonic() + STOP_DEADLINE_S
    while child.poll() is None and time.monotonic() < deadline_mono:
        time.sleep(0.05)
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
