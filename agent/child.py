"""One child process and its line: spawned with a socket pair, spoken to in `wire.local`, its stderr in our log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from agent.errors import Transient
from wire import local
from wire.reasons import Reason

log = logging.getLogger(__name__)

READ_BYTES = 64 * 1024
MAX_UNSENT_BYTES = 4 * 1024 * 1024
"""A child that does not read so much is stuck."""
STDERR_LINE_BYTES = 4096


class Process(Protocol):
    """A child as its keeper sees it."""

    pid: int

    def send(self, message: local.Message) -> None:
        """:raises Transient: the child does not read, or is gone"""

    def messages(self) -> AsyncIterator[local.Message]:
        """What the child says, until it closes its end.

        :raises wire.errors.Malformed: it says something that is no message
        """

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""

    def kill(self) -> None:
        """End it (SIGKILL)."""

    async def ended(self) -> int:
        """Wait for its end; the exit status, negative for a signal."""

    async def release(self) -> None:
        """Give back what belongs to it, once it has ended."""


class Launcher(Protocol):
    """How children are made."""

    async def launch(self, module: str, name: str) -> Process:
        """:raises Transient: the system gives no process now"""


class ModuleLauncher:
    """Starts `python -m MODULE --link-fd N`. To be used on the main thread: children die with the thread that made them."""

    def __init__(self, python: Sequence[str] = (sys.executable,)) -> None:
        self._python = tuple(python)

    async def launch(self, module: str, name: str) -> Process:
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._python,
                "-m",
                module,
                "--link-fd",
                str(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                limit=STDERR_LINE_BYTES,
            )
        except OSError as e:
            ours.close()
            raise Transient(Reason.INTERNAL, f"{module} cannot be started: {e}") from e
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        return Child(process, reader, writer, name)


class Child:
    """A process of `ModuleLauncher`."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        name: str,
    ) -> None:
        self.pid = process.pid
        self._process = process
        self._reader = reader
        self._writer = writer
        self._log = logging.getLogger(f"child.{name}")
        self._stderr = asyncio.create_task(self._pass_stderr(), name=f"stderr of {name}")

    def send(self, message: local.Message) -> None:
        if self._writer.is_closing():
            raise Transient(Reason.PIPELINE_DOWN, f"process {self.pid} has closed its line")
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            raise Transient(Reason.PIPELINE_HUNG, f"process {self.pid} does not read its line")
        self._writer.write(local.encode(message))

    async def messages(self) -> AsyncIterator[local.Message]:
        lines = local.Lines()
        while True:
            try:
                data = await self._reader.read(READ_BYTES)
            except ConnectionError:
                return
            if not data:
                return
            for line in lines.feed(data):
                yield local.decode(line)

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> int:
        return await self._process.wait()

    async def release(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)
        try:
            await asyncio.wait_for(self._stderr, 1.0)
        except asyncio.TimeoutError:
            # A grandchild may hold the pipe open.
            self._log.warning("stderr stays open after the end", extra={"pid": self.pid})

    async def _pass_stderr(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # longer than the limit; asyncio has thrown it away
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            level = logging.INFO if text.startswith(("INFO", "info", "DEBUG")) else logging.WARNING
            self._log.log(level, "%s", text)


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
