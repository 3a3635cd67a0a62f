"""By which way the broker is reached: TCP, or WebSocket through what lets nothing but the web pass. Decides, connects nothing."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.errors import ConfigRefused
from wire.enrol import Broker
from wire.reasons import Reason

FAILURES_EACH = 2
"""Connections that fail in a row before the other way is tried."""
MODES = ("auto", "tcp", "websocket", "off")


@dataclass(frozen=True)
class Route:
    """`path` is that of the WebSocket; empty is TCP."""

    host: str
    port: int
    tls: bool
    path: str = ""


class Routes:
    """`current` is to be tried next. Told what came of it by `failed` and `held`."""

    def __init__(self, broker: Broker, mode: str = "tcp", websocket: str = "") -> None:
        """`websocket` is a URL instead of the one that enrolment gave.

        :raises ConfigRefused: a WebSocket is wanted and none known, or its URL cannot be used
        """
        tcp = Route(broker.host, broker.port, broker.tls)
        url = websocket or broker.websocket
        if mode == "websocket" and not url:
            raise ConfigRefused(
                Reason.CONFIG_INVALID,
                "network.mqtt is websocket, and neither network.websocket nor the control plane names one: give its URL, wss://…",
            )
        web = [_parsed(url)] if url and mode in ("auto", "websocket") else []
        self._routes = web if mode == "websocket" else [tcp, *web]
        self._at = 0
        self._failures = 0

    @property
    def current(self) -> Route:
        return self._routes[self._at]

    def failed(self) -> None:
        """The broker has not accepted by this way."""
        self._failures += 1
        if self._failures >= FAILURES_EACH:
            self._failures = 0
            self._at = (self._at + 1) % len(self._routes)

    def held(self) -> None:
        """The broker has accepted: this way stays the first."""
        self._failures = 0


def _parsed(url: str) -> Route:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, f"{url!r} is no address of a WebSocket; expected wss://HOST/PATH"
        )
    secure = parts.scheme == "wss"
    return Route(parts.hostname, port or (443 if secure else 80), secure, parts.path or "/")
