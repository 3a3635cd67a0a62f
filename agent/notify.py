"""sd_notify: telling systemd that the agent is ready, what it does, and that it is alive. Without systemd it says nothing.

Source: sd_notify(3), systemd 255; the floor is systemd 249.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import AsyncIterator, Mapping

log = logging.getLogger(__name__)

EXTEND_EVERY_S = 5.0
EXTEND_BY_S = 20.0
"""Longer than `EXTEND_EVERY_S`, so that a loop that is late once is not taken for one that is stuck."""


class Notifier:
    """Datagrams to `$NOTIFY_SOCKET`; never blocks, never raises. Of the loop's thread."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _seconds(environment.get("WATCHDOG_USEC"))
        self._status = ""
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        """Once; and again at the end of a reload."""
        self._status = status
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        """One line for `systemctl status`; said when it has changed."""
        if status != self._status:
            self._status = status
            self._send(f"STATUS={status}")

    def reloading(self) -> None:
        """`ready` is to follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def watchdog(self) -> None:
        """To be called from work that proves the agent alive, at least every half of `watchdog_s`."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    @contextlib.asynccontextmanager
    async def more_time(self, at_most_s: float) -> AsyncIterator[None]:
        """While a start or a stop goes on, and the loop with it, have systemd wait on, for `at_most_s` in all."""
        asking = asyncio.create_task(self._ask_for_time(at_most_s), name="asks systemd for time")
        try:
            yield
        finally:
            asking.cancel()

    async def _ask_for_time(self, at_most_s: float) -> None:
        for _ in range(max(1, int(at_most_s / EXTEND_EVERY_S))):
            self._send(f"EXTEND_TIMEOUT_USEC={int(EXTEND_BY_S * 1e6)}")
            self.watchdog()
            await asyncio.sleep(EXTEND_EVERY_S)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto(text.encode(), self._address)
        except OSError as e:
            log.warning("systemd cannot be told", extra={"cause": str(e)})


def _seconds(microseconds: str | None) -> float | None:
    if microseconds is None or not microseconds.isdigit():
        return None
    return int(microseconds) / 1e6
