"""The engine process of a benchmark, started and spoken to as the agent does it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from runtime.bench.plan import Plan, Subject
from runtime.errors import ModelRefused, Transient
from runtime.link import Link
from wire import local
from wire.reasons import Reason

STOP_DEADLINE_S = 10.0
MEASURE_S = 5.0
"""For trying how threads are best split, where the machine has not yet: more than a serving engine takes, so that large graphs are tried too."""
_POLL_S = 0.5
_LAST_WORDS_BYTES = 2000


class EngineProcess:
    """Starts on construction; a context manager that ends it."""

    def __init__(self, subject: Subject, plan: Plan, run_dir: Path) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket = str(run_dir / "engine")
        self._subject = subject
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - closed in __exit__
        command = [sys.executable, "-m", "runtime.model.process", "--link-fd", str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=self._words
            )
        self._link = Link(ours)
        self._link.send(
            local.Load(
                [local.EngineModel(subject.name, subject.digest, str(subject.directory))],
                self.socket,
                engine=plan.engine,
                threads=plan.threads,
                max_batch=max(8, *plan.batches),
                cache_dir=plan.cache_dir,
                precision=plan.precision,
                measure_s=MEASURE_S,
            )
        )

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, Transient):
            self._link.send(local.Stop())
        try:
            self._process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._link.close()
        self._words.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def await_up(self, deadline_s: float, tell: Callable[[str], None]) -> local.EngineUp:
        """Wait until the model serves; `tell` hears of each phase.

        :raises ModelRefused: the engine refuses the model, or its process crashes
        :raises Transient: it takes too long
        """
        end_mono = time.monotonic() + deadline_s
        while time.monotonic() < end_mono:
            for message in self._link.wait(_POLL_S):
                if isinstance(message, local.EngineUp):
                    return message
                if isinstance(message, local.EnginePhase):
                    tell(message.phase)
                if isinstance(message, local.EngineRefused):
                    raise ModelRefused(_reason(message.reason), message.message)
            if self._link.closed or self._process.poll() is not None:
                raise ModelRefused(Reason.ENGINE_DOWN, f"the engine process {self._ending()}")
        raise Transient(Reason.ENGINE_TIMEOUT, f"the model was not loaded within {deadline_s:.0f} s")

    def check_alive(self) -> None:
        """Take in statistics, so that the link does not fill.

        :raises ModelRefused: the process has ended
        """
        self._link.receive()
        if self._process.poll() is not None:
            raise ModelRefused(Reason.ENGINE_DOWN, f"the engine process {self._ending()}")

    def cpu_s(self) -> float:
        """User and system time so far."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def rss_bytes(self) -> tuple[int, int]:
        """Resident memory now and at its most."""
        now = int(psutil.Process(self.pid).memory_info().rss)
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return now, max(now, 1024 * int(line.split()[1]))
        return now, now

    def _ending(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_DEADLINE_S)
        self._words.seek(0, 2)
        self._words.seek(max(0, self._words.tell() - _LAST_WORDS_BYTES))
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f"ended with status {self._process.returncode}: {lines[-1] if lines else 'no words'}"


def _reason(code: str) -> Reason:
    try:
        return Reason(code)
    except ValueError:
        return Reason.MODEL_LOAD_FAILED
