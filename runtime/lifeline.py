"""How a child process lives and dies: never longer than its parent, before it when memory is short, in good order on SIGTERM.

Called once, early, from the child's main thread. Owns the process' signal dispositions, nothing else.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import socket
import struct
from pathlib import Path

from runtime.errors import Transient
from wire.reasons import Reason

PR_SET_PDEATHSIG = 1
"""prctl(2), linux/prctl.h."""

CHILD_OOM_SCORE = 500
"""The kernel's out-of-memory killer takes a child (score 500 of 1000) before the agent, which lives to report it."""

_UCRED = struct.Struct("3i")


class Termination:
    """SIGTERM as something a selectors loop can wait for. SIGINT is ignored: the parent decides when a child ends."""

    def __init__(self) -> None:
        self.requested = False
        self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def fileno(self) -> int:
        """Readable, for good, once SIGTERM has come."""
        return self._event_fd

    def _on_signal(self, _number: int, _frame: object) -> None:
        self.requested = True
        os.eventfd_write(self._event_fd, 1)


def tie_to_parent(parent_pid: int) -> None:
    """Have the kernel SIGKILL this process when the parent's thread that started it ends.

    :raises Transient: the parent is already gone
    :raises OSError: prctl failed
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        raise Transient(
            Reason.AGENT_DOWN,
            f"process {parent_pid}, which started this one, is gone (the parent is now {os.getppid()}): ending",
        )


def peer_pid(link: socket.socket) -> int:
    """The process that made this socket pair: for an inherited link, the parent."""
    raw = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid: int = _UCRED.unpack(raw)[0]
    return pid


def die_before_parent(score: int = CHILD_OOM_SCORE, proc: Path = Path("/proc/self")) -> bool:
    """Raise the out-of-memory score; False where the kernel does not let us (it always lets one raise it)."""
    try:
        (proc / "oom_score_adj").write_text(f"{score}\n")
    except OSError:
        return False
    return True


def hold(link: socket.socket | None = None) -> Termination:
    """All of the above, for a child that was started with this link. Native crashes write their stacks to stderr.

    :raises Transient: the parent is already gone
    """
    parent_pid = os.getppid() if link is None else peer_pid(link)
    faulthandler.enable()
    tie_to_parent(parent_pid)
    die_before_parent()
    return Termination()
