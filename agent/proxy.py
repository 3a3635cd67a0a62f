"""The HTTP proxy of the site, through which HTTPS and MQTT go by CONNECT: TLS stays between the device and the control plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from agent.errors import ConfigRefused
from wire.reasons import Reason


@dataclass(frozen=True)
class Proxy:
    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)

    @property
    def for_mqtt(self) -> dict[str, Any]:
        """The arguments of paho's `proxy_set`."""
        import socks

        login = {"proxy_username": self.username, "proxy_password": self.password} if self.username else {}
        return {
            "proxy_type": socks.HTTP,
            "proxy_addr": self.host,
            "proxy_port": self.port,
            "proxy_rdns": True,
            **login,
        }


def parse(url: str) -> Proxy | None:
    """The proxy of `http://[USER:PASSWORD@]HOST:PORT`; None where there is none.

    :raises ConfigRefused: no such URL
    """
    if not url:
        return None
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or port is None:
        raise ConfigRefused(
            Reason.CONFIG_INVALID, "network.proxy cannot be used; expected http://[USER:PASSWORD@]HOST:PORT"
        )
    return Proxy(parts.hostname, port, unquote(parts.username or ""), unquote(parts.password or ""))
