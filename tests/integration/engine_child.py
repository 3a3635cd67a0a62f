"""An engine process as the agent would start it, for tests."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from runtime.link import Link
from wire import local

UP_DEADLINE_S = 60.0
M = TypeVar("M")


def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> bool:
    """Wait for something that another process does."""
    end_mono = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end_mono:
            return False
        time.sleep(0.005)
    return True


class EngineChild:
    """`python -m MODULE`, an engine process, with the agent's end of its link."""

    def __init__(
        self,
        path: Path,
        packages: dict[str, Path],
        module: str = "runtime.model.process",
        **options: object,
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.link = Link(ours)
        self.path = str(path)
        self.messages: list[local.Message] = []
        command = [sys.executable, "-m", module, "--link-fd", str(theirs.fileno())]
        self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        models = [
            local.EngineModel(package.name, digest, str(package)) for digest, package in packages.items()
        ]
        self.link.send(local.Load(models, self.path, **{"threads": 1, **options}))  # type: ignore[arg-type]

    def expect(self, kind: type[M], deadline_s: float = UP_DEADLINE_S) -> M:
        """The next message of this kind, others being kept in `messages`."""
        end_mono = time.monotonic() + deadline_s
        while time.monotonic() < end_mono:
            found: M | None = None
            for message in self.link.wait(0.2):
                self.messages.append(message)
                if found is None and isinstance(message, kind):
                    found = message
            if found is not None:
                return found
            assert not self.link.closed, f"the engine ended; it said {self.messages}"
        raise AssertionError(f"no {kind.__name__} within {deadline_s} s; it said {self.messages}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)
        self.link.close()

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@contextlib.contextmanager
def engine_child(path: Path, packages: dict[str, Path], **options: object) -> Iterator[EngineChild]:
    """A child that is up; ended, whatever happens."""
    child = EngineChild(path, packages, **options)
    try:
        child.expect(local.EngineUp)
        yield child
    finally:
        child.kill()
