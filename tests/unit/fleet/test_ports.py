"""Choosing a port."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fleet import ports


def test_a_chosen_port_can_be_bound_and_is_not_one_for_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(20):
        port = ports.free_port()
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
        assert ports.LOWEST_PORT <= port < first


def test_taken_ports_are_passed_over_until_none_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        offset = taken.getsockname()[1] - ports.LOWEST_PORT
        monkeypatch.setattr(ports.secrets, "randbelow", lambda _: offset)
        with pytest.raises(OSError, match="in use"):
            ports.free_port()
