"""A stand in for the agent: starts real pipeline and engine processes and speaks `wire.local` with them.

For benchmarks and tests that look at these processes alone. One thread; every wait has a deadline.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from wire import local

M = TypeVar("M")
DEADLINE_S = 120.0


class Child:
    """A child process of Outrider with its link. `on_message` sees every message as it arrives, with its monotonic time."""

    def __init__(self, module: str, on_message: Callable[[local.Message, float], None] | None = None) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, "--link-fd", str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )
        ours.setblocking(False)
        self._socket = ours
        self._lines = local.Lines()
        self._on_message = on_message
        self.seen: list[local.Message] = []

    @property
    def pid(self) -> int:
        return self.process.pid

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: local.Message) -> None:
        self._socket.setblocking(True)
        self._socket.sendall(local.encode(message))
        self._socket.setblocking(False)

    def pump(self) -> list[local.Message]:
        """Take in what has arrived; events are acknowledged at once, as the agent does after its commit."""
        fresh: list[local.Message] = []
        with contextlib.suppress(BlockingIOError):
            while data := self._socket.recv(1 << 18):
                at_mono = time.monotonic()
                for line in self._lines.feed(data):
                    message = local.decode(line)
                    fresh.append(message)
                    if self._on_message:
                        self._on_message(message, at_mono)
        numbers = [m.number for m in fresh if isinstance(m, local.Event)]
        if numbers:
            self.send(local.EventsKept(max(numbers)))
        self.seen += [
            m for m in fresh if not isinstance(m, (local.Event, local.PipelineStats, local.EngineStats))
        ]
        return fresh

    def stop(self, deadline_s: float = 10.0) -> None:
        with contextlib.suppress(OSError):
            self.send(local.Stop())
        with contextlib.suppress(OSError):
            end_mono = time.monotonic() + deadline_s
            while self.process.poll() is None and time.monotonic() < end_mono:
                select.select([self._socket], [], [], 0.05)
                self.pump()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._socket.close()


class Rig:
    """Children under one roof, with a run directory for sockets and snapshots."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="or-")
        self.run_dir = Path(self._directory.name)
        self.children: list[Child] = []

    def __enter__(self) -> Rig:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self.children:
            child.stop()
        self._directory.cleanup()

    def spawn(self, module: str, on_message: Callable[[local.Message, float], None] | None = None) -> Child:
        child = Child(module, on_message)
        self.children.append(child)
        return child

    def engine(
        self, name: str, digest: str, package: Path, *, threads: int = 0, socket_name: str = ""
    ) -> tuple[Child, str]:
        """Start an engine process; it is not up yet when this returns. The socket's path comes with it."""
        path = str(self.run_dir / (socket_name or f"{digest[-8:]}.sock"))
        child = self.spawn("runtime.model.process")
        child.send(local.Load([local.EngineModel(name, digest, str(package))], path, threads=threads))
        return child, path

    def pipeline(
        self,
        camera: local.CameraSource,
        binding: local.Binding,
        on_message: Callable[[local.Message, float], None] | None = None,
    ) -> Child:
        child = self.spawn("runtime.pipeline", on_message)
        child.send(local.Start(camera.name, camera, binding, str(self.run_dir)))
        return child

    def pump(self, timeout_s: float) -> None:
        """Serve every living child for at most this long."""
        living = [child for child in self.children if child.process.poll() is None]
        ready, _, _ = select.select(living, [], [], timeout_s)
        for child in ready:
            child.pump()

    def await_message(self, child: Child, kind: type[M], deadline_s: float = DEADLINE_S) -> M:
        """The next message of this kind from the child, while all children are served.

        :raises RuntimeError: the child refuses, ends, or takes too long
        """
        for _ in self.until(deadline_s):
            for message in child.seen:
                if isinstance(message, kind):
                    child.seen.remove(message)
                    return message
                if isinstance(message, (local.EngineRefused, local.NotPrepared)):
                    raise RuntimeError(f"refused: {message}")
            if child.process.poll() is not None:
                raise RuntimeError(f"the child ended with {child.process.returncode}")
        raise RuntimeError(f"no {kind.__name__} within {deadline_s} s; seen {child.seen}")

    def until(self, deadline_s: float) -> Iterator[None]:
        """Serve all children again and again until the time is over."""
        end_mono = time.monotonic() + deadline_s
        while time.monotonic() < end_mono:
            self.pump(0.05)
            yield


def assets() -> Path:
    """The folder of models and videos: OUTRIDER_ASSETS, default `../shared/assets` beside the project."""
    default = Path(__file__).resolve().parents[2] / "shared" / "assets"
    return Path(os.environ.get("OUTRIDER_ASSETS", default))


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes so far, all their threads included."""
    import psutil

    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
