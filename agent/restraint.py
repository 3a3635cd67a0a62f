"""Holds a candidate's process back while it builds, loads and is looked at, so that what serves does not feel it.

Less processor and disk than what serves, a limit to its memory, and first to go when the machine runs out of it. All of it can
be taken back, which a process needs that is to serve; what this user may not set is left as it is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
from pathlib import Path

import psutil

log = logging.getLogger(__name__)

NICE = 10
"""A tenth of the processor beside what serves at full load; at 19 it would starve there."""
OOM_SCORE = 800
"""Of proc(5) oom_score_adj: killed before anything that serves."""
LEAST_BYTES = 256 * 1024 * 1024
RESERVE_BYTES = 128 * 1024 * 1024
"""Of the memory available now, for what serves."""


class Restraint:
    """Of one process. `apply` when it starts, `release` before it serves."""

    def __init__(self) -> None:
        self._pid = 0
        self._lowered = False

    def apply(self, pid: int) -> None:
        self._pid = pid
        if may_raise():
            # Where the priority cannot be raised again it is not lowered either.
            self._lowered = _nice(pid, NICE)
            _disk_idle(pid, idle=True)
        _write(pid, OOM_SCORE)
        _limit_memory(pid, max(LEAST_BYTES, psutil.virtual_memory().available - RESERVE_BYTES))

    def release(self) -> None:
        """Give it back what a process that serves has."""
        pid, self._pid = self._pid, 0
        if not pid:
            return
        if self._lowered:
            _nice(pid, 0)
            _disk_idle(pid, idle=False)
        _write(pid, 0)
        _limit_memory(pid, resource.RLIM_INFINITY)


def may_raise() -> bool:
    """Whether this process may set a child's nice value back to 0 (setpriority(2): root, or RLIMIT_NICE of 20 or more)."""
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_NICE)[0] >= 20


def _nice(pid: int, nice: int) -> bool:
    """Of every thread: on Linux the value belongs to a thread, and those that are made later inherit it."""
    done = False
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
                done = True
    return done


def _disk_idle(pid: int, *, idle: bool) -> None:
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        if idle:
            process.ionice(psutil.IOPRIO_CLASS_IDLE)
        else:
            process.ionice(psutil.IOPRIO_CLASS_NONE, 0)


def _write(pid: int, score: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))


def _limit_memory(pid: int, limit_bytes: int) -> None:
    """RLIMIT_DATA counts what the process writes to, and not the address space that CUDA reserves; only the soft limit is set."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        soft = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
