"""A release into a slot: a virtual environment from its wheels, offline, in child processes with limits of memory, time and priority."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from agent.errors import UpdateRefused
from agent.restraint import LEAST_BYTES, OOM_SCORE, RESERVE_BYTES
from agent.update.installed import Installed
from agent.update.slots import BASE
from wire.reasons import Reason
from wire.release import ReleaseCard

INSTALL_S = 1800.0
"""In all: a slow card writes a gigabyte in half of it."""
WORDS_CHARS = 600
PRIORITY = 10
PROGRAM = "outrider"
SCRATCH = ".scratch"
PATHS = "outrider-base.pth"
PROOF = "import agent.daemon, agent.composition, agent.launcher, outrider.cli, outrider.commands.agent"


async def install(wheelhouse: Path, slot: Path, card: ReleaseCard, installed: Installed) -> None:
    """Make the environment, install every wheel of the directory into it, let it see what it takes from the installation, have it
    start once and say its version, and make it durable.

    :raises UpdateRefused: it cannot be made, or what was made does not start; the message holds the last words
    :raises OSError: no room
    """
    end_leftovers(slot)
    wheels = sorted(str(path) for path in wheelhouse.rglob("*.whl"))
    if not any(Path(wheel).name.startswith(f"{PROGRAM}-") for wheel in wheels):
        raise UpdateRefused(Reason.RELEASE_FAILED, f"the release has no wheel of {PROGRAM}")
    work = Work(slot / SCRATCH, time.monotonic() + INSTALL_S)
    system = ["--system-site-packages"] if installed.system else []
    await work.run([str(installed.python), "-I", "-m", "venv", "--without-pip", *system, str(slot)])
    python = str(slot / "bin" / "python")
    await work.run([*_installer(installed.python, python, work.scratch), "--no-index", "--no-deps", *wheels])
    if card.base:
        (_site(slot) / PATHS).write_text("".join(f"{path}\n" for path in installed.paths))
        (slot / BASE).write_text("".join(f"{installed.where[name]}\n" for name in card.base))
    version = f"from importlib.metadata import version; print('is', version('{PROGRAM}'))"
    said = await work.run([python, "-c", f"{PROOF}; {version}"])
    if not said.strip().endswith(f"is {card.version}"):
        raise UpdateRefused(
            Reason.RELEASE_FAILED, f"version {card.version} is expected; it says {said[-100:]!r}"
        )
    await asyncio.to_thread(shutil.rmtree, work.scratch, ignore_errors=True)
    await asyncio.to_thread(os.sync)


def end_leftovers(slot: Path) -> None:
    """End what an agent that was killed has left at work on this slot."""
    mark = f"{slot}/"
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if process.pid != os.getpid() and any(word == str(slot) or word.startswith(mark) for word in words):
            with contextlib.suppress(psutil.Error):
                process.kill()


def _site(slot: Path) -> Path:
    """Its site-packages: the slot's Python is of the same version as this one, which has been checked."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(slot), "platbase": str(slot)}))


def find_uv(base: Path) -> str | None:
    """Beside the installation's Python, or on the path."""
    beside = base.with_name("uv")
    return str(beside) if beside.exists() else shutil.which("uv")


def _installer(base: Path, python: str, scratch: Path) -> list[str]:
    """uv where there is one, else pip of the environment that was installed with the system."""
    if uv := find_uv(base):
        # Unpacked beside the slot and linked into it: nothing lands in a /tmp that is memory.
        options = ["--cache-dir", str(scratch / "cache"), "--link-mode", "hardlink", "--compile-bytecode"]
        return [uv, "pip", "install", "--quiet", "--offline", *options, "--python", python]
    return [str(base), "-m", "pip", "--python", python, "install", "--quiet", "--no-cache-dir"]


class Work:
    """The child processes of one installation: what they write besides lies in `scratch`, and all are done by `end_mono`."""

    def __init__(self, scratch: Path, end_mono: float) -> None:
        self.scratch = scratch
        self._end_mono = end_mono

    async def run(self, command: Sequence[str]) -> str:
        """What the command has said.

        :raises UpdateRefused: it failed, or was not done in time
        """
        memory_bytes = max(LEAST_BYTES, psutil.virtual_memory().available - RESERVE_BYTES)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=lambda: _hold_back(memory_bytes),
            env=self._environment(),
            cwd="/",
            start_new_session=True,
        )
        try:
            words, _ = await asyncio.wait_for(
                process.communicate(), max(0.0, self._end_mono - time.monotonic())
            )
        except asyncio.TimeoutError:
            raise UpdateRefused(
                Reason.RELEASE_FAILED, f"the installation was not done within {INSTALL_S:.0f} s"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        said = words.decode(errors="replace").strip()
        if process.returncode:
            raise _failure(command, process.returncode, said)
        return said

    def _environment(self) -> dict[str, str]:
        self.scratch.mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {**kept, "TMPDIR": str(self.scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _hold_back(memory_bytes: int) -> None:
    """In the child, before it becomes the command: only what needs no lock."""
    os.nice(PRIORITY)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    soft = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    with contextlib.suppress(OSError):
        descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(descriptor, str(OOM_SCORE).encode())
        os.close(descriptor)


def _failure(command: Sequence[str], status: int, said: str) -> UpdateRefused:
    full = "No space left on device" in said or "os error 28" in said
    reason = Reason.DISK_FULL if full else Reason.RELEASE_FAILED
    return UpdateRefused(
        reason, f"{' '.join(map(str, command[:4]))} … ended with {status}: {said[-WORDS_CHARS:]}"
    )
