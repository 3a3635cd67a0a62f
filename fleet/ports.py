"""Choosing a port that will still be free a moment later, and after a restart."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

# Below where IANA and Linux begin with ports for outgoing connections, so that none of those takes it meanwhile.
LOWEST_PORT = 10_000
HIGHEST_PORT = 32_000
_RANGE_FILE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 200


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port of `host` that nothing listens on and that the system does not give to outgoing connections.

    :raises OSError: every one of 200 ports tried at random is taken, or `host` is not this machine's
    """
    highest = min(HIGHEST_PORT, max(_first_outgoing() - 1, LOWEST_PORT + 1000))
    refused = OSError(f"no free port of {host} between {LOWEST_PORT} and {highest}")
    for _ in range(_ATTEMPTS):
        port = LOWEST_PORT + secrets.randbelow(highest - LOWEST_PORT + 1)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                refused = error
            else:
                return port
    raise refused


def _first_outgoing() -> int:
    try:
        return int(_RANGE_FILE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return HIGHEST_PORT + 1
