"""`python -m fleet.confined [limits] -- COMMAND …`: set limits of memory, CPU time and file size, then become COMMAND.

Whatever happens to the control plane, the child dies with it. A program of its own, because code between fork and exec in
a process with threads is a deadlock waiting to happen.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


@dataclass(frozen=True)
class Bounds:
    """What a child may use; None is no limit. `nice` lowers its priority."""

    memory_bytes: int | None = None
    cpu_s: int | None = None
    file_bytes: int | None = None
    nice: int = 0

    def command(self, command: Sequence[str], death: signal.Signals = signal.SIGKILL) -> list[str]:
        """The command line that runs the command within these bounds. `death` comes when the parent dies."""
        given = {
            "memory-bytes": self.memory_bytes,
            "cpu-s": self.cpu_s,
            "file-bytes": self.file_bytes,
            "nice": self.nice or None,
            "death": int(death),
            "parent": os.getpid(),
        }
        options = [f"--{name}={value}" for name, value in given.items() if value is not None]
        return [sys.executable, "-m", "fleet.confined", *options, "--", *command]


def main(arguments: Sequence[str]) -> NoReturn:
    """Apply the limits and become the command. Ends with status 1 where the parent is gone already."""
    split = list(arguments).index("--")
    options = {name: int(value) for name, _, value in (a[2:].partition("=") for a in arguments[:split])}
    command = list(arguments[split + 1 :])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, options["death"], 0, 0, 0)
    if os.getppid() != options["parent"]:
        raise SystemExit(1)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, limit in (
        ("memory-bytes", resource.RLIMIT_AS),
        ("cpu-s", resource.RLIMIT_CPU),
        ("file-bytes", resource.RLIMIT_FSIZE),
    ):
        if name in options:
            resource.setrlimit(limit, (options[name], options[name]))
    if "memory-bytes" in options:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if "nice" in options:
        os.nice(options["nice"])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
