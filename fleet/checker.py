"""The check of an upload: the runtime itself, in a child process with limits, never in this one.

A hostile or broken file may crash or exhaust the child; that is a refusal with a reason, nothing more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet.confined import Bounds
from wire import local
from wire.errors import Malformed
from wire.reasons import Reason

log = logging.getLogger(__name__)

OUTPUT_BYTES = local.MAX_LINE_BYTES
END_DEADLINE_S = 5.0
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "model": (sys.executable, "-m", "runtime.model.check"),
    "pack": (sys.executable, "-m", "runtime.model.pack"),
    "families": (sys.executable, "-m", "runtime.model.families"),
    "release": (sys.executable, "-m", "fleet.release.check"),
    "workflow": (sys.executable, "-m", "runtime.workflow.check", "--skip-cloud-blocks", "--read-code"),
    "trial": (sys.executable, "-m", "runtime.pipeline.trial"),
}
_KEPT_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True)
class Checker:
    """Runs checks. `commands` maps a kind (model, pack, workflow …) to the program that gets the path, or what is asked, as its last argument."""

    bounds: Bounds
    wall_s: float
    scratch: Path
    commands: Mapping[str, Sequence[str]] = field(default_factory=lambda: COMMANDS)

    async def check(self, kind: str, asked: Path | str) -> local.CheckResult:
        """The verdict on the file or directory; a child that crashes, hangs or talks nonsense refuses it."""
        command = self.bounds.command([*self.commands[kind], str(asked)])
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment(),
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(_outputs(process), self.wall_s)
        except asyncio.TimeoutError:
            return _refusal(f"the {kind} check did not end within {self.wall_s:.0f} s")
        except Malformed as e:
            return _refusal(f"the {kind} check answered too much: {e}")
        finally:
            await _end(process)
        return _verdict(kind, process.returncode or 0, out, err)

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        scratch = str(self.scratch)
        return {
            **kept,
            "HOME": scratch,
            "TMPDIR": scratch,
            "XDG_CACHE_HOME": scratch,
            "PYTHONUNBUFFERED": "1",
        }


async def _outputs(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        asyncio.create_task(_bounded(process.stdout, keep=False)),
        asyncio.create_task(_bounded(process.stderr, keep=True)),
    ]
    try:
        out, err = await asyncio.gather(*readers)
        await process.wait()
        return out, err
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _bounded(stream: asyncio.StreamReader, keep: bool) -> bytes:
    """Everything the stream says; where `keep` is set only its end is kept, else too much is an error."""
    said = bytearray()
    while chunk := await stream.read(65536):
        said += chunk
        if len(said) > OUTPUT_BYTES:
            if not keep:
                raise Malformed(f"more than {OUTPUT_BYTES} bytes")
            del said[:-4096]
    return bytes(said)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the child and whatever it started; they are a process group of their own."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    try:
        await asyncio.wait_for(_drain(process), END_DEADLINE_S)
    except asyncio.TimeoutError:
        log.warning("something the check has started holds its output open", extra={"pid": process.pid})


async def _drain(process: asyncio.subprocess.Process) -> None:
    """asyncio sees the end of a child only when its pipes have been read to their end."""
    for stream in (process.stdout, process.stderr):
        while stream is not None and await stream.read(65536):
            pass
    await process.wait()


def _verdict(kind: str, status: int, out: bytes, err: bytes) -> local.CheckResult:
    lines = [line for line in out.splitlines() if line.strip()]
    try:
        result = local.decode(lines[-1]) if lines else None
    except Malformed:
        result = None
    if isinstance(result, local.CheckResult) and (status == 0 or not result.ok):
        return result
    how = (
        f"was ended by signal {-status} ({_signal(-status)})" if status < 0 else f"ended with status {status}"
    )
    words = err.decode(errors="replace").strip().splitlines()
    last = f"; its last words: {words[-1][:300]}" if words else ""
    return _refusal(f"the {kind} check {how} without a verdict{last}")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"


def _refusal(message: str) -> local.CheckResult:
    return local.CheckResult(ok=False, reason=Reason.CHECK_FAILED.value, message=message)
