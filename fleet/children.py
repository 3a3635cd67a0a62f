"""How a child process of the control plane is ended."""

from __future__ import annotations

import asyncio
import contextlib

STOP_DEADLINE_S = 5.0


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL where that does not end it in `STOP_DEADLINE_S`; nothing where it has ended already."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
