"""Programs held at their n-th change of a directory: every system call of them and of their children that changes files waits for leave.

The kernel asks (seccomp user notification, Linux 5.5 and newer): nothing in the program marks the places. A call is counted where it
concerns what is below the watched directory; it is held before it happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import select
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

DEADLINE_S = 120.0
BY_DESCRIPTOR = {
    "x86_64": {"write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "fsync": 74, "fdatasync": 75,
               "ftruncate": 77, "fallocate": 285, "fchmod": 91, "syncfs": 306},
    "aarch64": {"write": 64, "pwrite64": 68, "writev": 66, "pwritev": 70, "fsync": 82, "fdatasync": 83,
                "ftruncate": 46, "fallocate": 47, "fchmod": 52, "syncfs": 267},
}  # fmt: skip
BY_PATH = {
    "x86_64": {"rename": (82, 1), "mkdir": (83, 0), "rmdir": (84, 0), "link": (86, 1), "unlink": (87, 0),
               "symlink": (88, 1), "chmod": (90, 0), "truncate": (76, 0), "mkdirat": (258, 1), "unlinkat": (263, 1),
               "renameat": (264, 3), "linkat": (265, 3), "symlinkat": (266, 2), "fchmodat": (268, 1),
               "renameat2": (316, 3), "openat": (257, 1)},
    "aarch64": {"mkdirat": (34, 1), "unlinkat": (35, 1), "symlinkat": (36, 2), "linkat": (37, 3),
                "renameat": (38, 3), "truncate": (45, 0), "fchmodat": (53, 1), "renameat2": (276, 3),
                "openat": (56, 1)},
}  # fmt: skip
"""Number, and which argument names the file that changes."""
ANYWHERE = {"x86_64": {"copy_file_range": 326, "sendfile": 40, "sync": 162}, "aarch64": {"copy_file_range": 285, "sendfile": 71, "sync": 81}}  # fmt: skip
SECCOMP = {"x86_64": 317, "aarch64": 277}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
LD, JEQ, JSET, RET = 0x20, 0x15, 0x45, 0x06
NOTIFY, ALLOW = 0x7FC00000, 0x7FFF0000
RECEIVE, ANSWER = 0xC0502100, 0xC0182101
GO_ON = 1


def possible() -> bool:
    """Whether this kernel can ask."""
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return platform.machine() in SECCOMP and actions.exists() and "user_notif" in actions.read_text().split()


@dataclass
class Run:
    """`calls` are what was done below the directory, in order; `status` None where the programs were killed before their end."""

    calls: list[str] = field(default_factory=list)
    status: int | None = None
    output: str = ""


def run(command: Sequence[str], below: Path, kill_at: int | None = None, **options: object) -> Run:
    """Run a program and its children; where the call `kill_at` is about to be made, SIGKILL all of them instead.

    `options` are those of `subprocess.Popen`.
    """
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-I", __file__, str(theirs.fileno()), *command],
        pass_fds=[theirs.fileno()], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options,  # type: ignore[call-overload]
    )  # fmt: skip
    theirs.close()
    with ours:
        ours.settimeout(DEADLINE_S)
        _, (listener,), _, _ = socket.recv_fds(ours, 1, 1)
    done = Run()
    try:
        if held := _attend(listener, process, below, kill_at, done):
            kill_all(process.pid)
    finally:
        os.close(listener)
        done.output, _ = process.communicate(timeout=DEADLINE_S)
    done.status = None if held else process.returncode
    return done


def _attend(
    listener: int, process: subprocess.Popen[str], below: Path, kill_at: int | None, done: Run
) -> bool:
    """Answer until the first program has ended, or is to be killed."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    end_mono = time.monotonic() + DEADLINE_S
    while process.poll() is None:
        assert time.monotonic() < end_mono, done.calls[-5:]
        if not any(event & select.POLLIN for _, event in poll.poll(20)):
            continue
        asked = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
        except OSError:  # it has been killed meanwhile
            continue
        if (words := _described(bytes(asked), below)) is not None:
            if len(done.calls) == kill_at:
                return True
            done.calls.append(words)
        with contextlib.suppress(OSError):
            fcntl.ioctl(
                listener,
                ANSWER,
                bytearray(struct.pack("=QqiI", *struct.unpack_from("=Q", asked), 0, 0, GO_ON)),
            )
    return False


def kill_all(pid: int) -> None:
    """SIGKILL a process and all below it; they are stopped first, so that none escapes."""
    stopped: dict[int, psutil.Process] = {}
    first = psutil.Process(pid)
    while fresh := [p for p in (first, *first.children(recursive=True)) if p.pid not in stopped]:
        for process in fresh:
            stopped[process.pid] = process
            with contextlib.suppress(psutil.Error):
                process.suspend()
    for process in reversed(list(stopped.values())):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _described(asked: bytes, below: Path) -> str | None:
    """What is asked for; None where it is not about the directory."""
    _, pid, _ = struct.unpack_from("=QII", asked)
    number, _, _, *arguments = struct.unpack_from("=iIQ6Q", asked, 16)
    machine = platform.machine()
    for name, one in BY_DESCRIPTOR[machine].items():
        if one == number:
            return _below(name, _target(pid, arguments[0]), below)
    for name, (one, which) in BY_PATH[machine].items():
        if one == number:
            return _below(
                name, _path(pid, arguments, which, at=name.endswith("at") or name == "renameat2"), below
            )
    return next((name for name, one in ANYWHERE[machine].items() if one == number), str(number))


def _below(name: str, path: str, below: Path) -> str | None:
    return f"{name} {path[len(str(below)) + 1 :]}" if path.startswith(f"{below}/") else None


def _target(pid: int, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")
    except OSError:
        return ""


def _path(pid: int, arguments: Sequence[int], which: int, *, at: bool) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        memory.seek(arguments[which])
        text = os.fsdecode(memory.read(4096).partition(b"\0")[0])
        if text.startswith("/"):
            return text
        folder = ctypes.c_int(arguments[which - 1] & 0xFFFFFFFF).value if at and which else -100
        return os.path.join(_target(pid, folder) if folder >= 0 else os.readlink(f"/proc/{pid}/cwd"), text)
    return ""


def _filter() -> bytes:
    """Ask about every call above, for `openat` where it may change something; leave to all others."""
    machine = platform.machine()
    numbers = [
        *BY_DESCRIPTOR[machine].values(),
        *(one for name, (one, _) in BY_PATH[machine].items() if name != "openat"),
        *ANYWHERE[machine].values(),
    ]
    lines = [(LD, 0, 0, 0)]
    total = len(numbers) + 1
    for index, number in enumerate(numbers):
        lines.append((JEQ, total - index + 2, 0, number))
    lines.append((JEQ, 0, 2, BY_PATH[machine]["openat"][0]))
    lines += [(LD, 0, 0, 16 + 2 * 8), (JSET, 1, 0, WRITING), (RET, 0, 0, ALLOW), (RET, 0, 0, NOTIFY)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _become(descriptor: int, command: list[str]) -> None:
    """In the child: the filter, its listener to the one who watches, then the program."""
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.create_string_buffer(_filter())
    program = struct.pack("=HxxxxxxQ", (len(code) - 1) // 8, ctypes.addressof(code))
    if libc.prctl(38, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    listener = libc.syscall(SECCOMP[platform.machine()], 1, 8, program)
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    with socket.socket(fileno=descriptor) as watcher:
        socket.send_fds(watcher, [b"x"], [listener])
    os.close(listener)
    os.execv(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
