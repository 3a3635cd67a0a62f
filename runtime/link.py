"""The child's end of the line to the agent: `wire.local` messages over an inherited UNIX stream socket, without ever blocking.

The send buffer is bounded. Statistics are dropped, and counted, while the agent does not read; anything else is kept up to
`max_pending_bytes` and then refused with `LinkFull`, never lost in silence. End of file means that the agent is gone.
"""

from __future__ import annotations

import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable

from runtime.errors import LinkFull
from wire import local

STATISTICS_PENDING_BYTES = 64 * 1024
"""With more than this unread by the agent, new statistics are dropped: the next ones supersede them anyway."""

MAX_PENDING_BYTES = 4 * 1024 * 1024
"""What is kept for an agent that does not read: sixteen events of the largest size."""

_READ_BYTES = 64 * 1024
_STATISTICS = (local.PipelineStats, local.EngineStats)


class Link:
    """One thread at a time may use it. `closed` is true once the agent's end is gone; the child ends then."""

    def __init__(self, end: socket.socket | int, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        """Take over a socket, or the descriptor that `--link-fd` names.

        :raises OSError: the descriptor is not an open socket
        """
        self.socket = socket.socket(fileno=end) if isinstance(end, int) else end
        self.socket.setblocking(False)
        self.closed = False
        self.dropped_statistics = 0
        self._max_pending_bytes = max_pending_bytes
        self._lines = local.Lines()
        self._unread: list[local.Message] = []
        self._pending: deque[memoryview] = deque()
        self._pending_bytes = 0

    def fileno(self) -> int:
        return self.socket.fileno()

    @property
    def pending_bytes(self) -> int:
        """What the agent has not taken yet."""
        return self._pending_bytes

    @property
    def interest(self) -> int:
        """The events a selectors loop has to wait for just now."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._pending else 0)

    def send(self, message: local.Message) -> bool:
        """Hand over a message, as far as the socket takes it now; False for statistics that were dropped.

        :raises LinkFull: the agent has not read for so long that the buffer is full; nothing of the message was sent
        """
        if self.closed:
            return False
        line = local.encode(message)
        if isinstance(message, _STATISTICS) and self._pending_bytes > STATISTICS_PENDING_BYTES:
            self.dropped_statistics += 1
            return False
        if self._pending_bytes + len(line) > self._max_pending_bytes:
            raise LinkFull(self._pending_bytes, self._max_pending_bytes)
        self._pending.append(memoryview(line))
        self._pending_bytes += len(line)
        self.flush()
        return True

    def flush(self, deadline_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> bool:
        """Send what the socket takes now, or within the deadline; whether everything is sent."""
        end_mono = clock() + deadline_s
        while True:
            self._send_now()
            left_s = end_mono - clock()
            if not self._pending or left_s <= 0:
                return not self._pending and not self.closed
            self._poll(select.POLLOUT, left_s)

    def receive(self) -> list[local.Message]:
        """The messages that have come, without waiting; sets `closed` at end of file.

        :raises wire.errors.Malformed: the agent is of another version
        """
        lines: list[bytes] = []
        while not self.closed:
            try:
                data = self.socket.recv(_READ_BYTES)
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionResetError:
                data = b""
            if not data:
                self._lose()
                break
            lines += self._lines.feed(data)
        unread, self._unread = self._unread, []
        return unread + [local.decode(line) for line in lines]

    def put_back(self, messages: list[local.Message]) -> None:
        """Have the next `receive` give these first. They do not make the descriptor readable."""
        self._unread = messages + self._unread

    def wait(self, timeout_s: float) -> list[local.Message]:
        """As `receive`, but wait for the first bytes.

        :raises wire.errors.Malformed: the agent is of another version
        """
        if not self.closed:
            self._poll(select.POLLIN, timeout_s)
        return self.receive()

    def close(self) -> None:
        """Give the descriptor back."""
        self._lose()
        self.socket.close()

    def _send_now(self) -> None:
        while self._pending:
            try:
                sent = self.socket.send(self._pending[0])
            except (BlockingIOError, InterruptedError):
                return
            except (BrokenPipeError, ConnectionResetError):
                self._lose()
                return
            self._pending_bytes -= sent
            if sent < len(self._pending[0]):
                self._pending[0] = self._pending[0][sent:]
            else:
                self._pending.popleft()

    def _poll(self, events: int, timeout_s: float) -> None:
        poll = select.poll()
        poll.register(self.socket, events)
        poll.poll(timeout_s * 1000)

    def _lose(self) -> None:
        self.closed = True
        self._pending.clear()
        self._pending_bytes = 0
