"""A release into a slot: a virtual environment from a wheelhouse, offline, in child processes with limits."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import UpdateRefused
from wire.reasons import Reason

INSTALL_S = 1800.0
"""A slow card writes a gigabyte in half of it."""
WORDS_CHARS = 600
PRIORITY = 10
PROGRAM = "outrider"


async def install(wheelhouse: Path, slot: Path) -> None:
    """Make the environment, install every wheel of the directory into it, have it say its version, and make it durable.

    :raises UpdateRefused: it cannot be made, or what was made does not start; the message holds the program's last words
    """
    wheels = sorted(str(path) for path in wheelhouse.rglob("*.whl"))
    if not any(Path(wheel).name.startswith(f"{PROGRAM}-") for wheel in wheels):
        raise UpdateRefused(Reason.RELEASE_FAILED, f"the release has no wheel of {PROGRAM}")
    await _run([sys.executable, "-m", "venv", "--without-pip", str(slot)])
    python = str(slot / "bin" / "python")
    await _run([*_installer(python), "--no-index", "--no-deps", *wheels])
    await _run([python, "-c", "import agent.daemon, agent.launcher, outrider"])
    await asyncio.to_thread(os.sync)


def _installer(python: str) -> list[str]:
    """uv where there is one, else the pip of this environment or of the system."""
    beside = Path(sys.executable).with_name("uv")
    if uv := (str(beside) if beside.exists() else shutil.which("uv")):
        return [uv, "pip", "install", "--quiet", "--offline", "--no-cache", "--python", python]
    return [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-cache-dir"]


async def _run(command: Sequence[str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        preexec_fn=lambda: os.nice(PRIORITY),
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")},
        cwd="/",
    )
    try:
        words, _ = await asyncio.wait_for(process.communicate(), INSTALL_S)
    except asyncio.TimeoutError:
        raise UpdateRefused(
            Reason.RELEASE_FAILED, f"{Path(command[0]).name} was not done within {INSTALL_S:.0f} s"
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        said = words.decode(errors="replace").strip()[-WORDS_CHARS:]
        raise UpdateRefused(
            Reason.RELEASE_FAILED,
            f"{' '.join(map(str, command[:4]))} … ended with {process.returncode}: {said}",
        )
