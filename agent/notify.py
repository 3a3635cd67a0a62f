"""sd_notify: telling systemd that the agent is ready, what it does, and that it is alive. Without systemd it says nothing.

Source: sd_notify(3), systemd 255.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class Notifier:
    """Datagrams to `$NOTIFY_SOCKET`; never blocks, never raises."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _seconds(environment.get("WATCHDOG_USEC"))
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def watchdog(self) -> None:
        """To be called from work that proves the agent alive, at least every half of `watchdog_s`."""
        if self.watchdog_s is not None:
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

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
