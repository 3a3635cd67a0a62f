"""Who may ask the local interface."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from agent.api.access import Access, token

WORD = "a-long-token"
BASIC = base64.b64encode(f"me:{WORD}".encode()).decode()


def status(client: str, host: str, authorization: str = "", path: str = "/cameras/door/snapshot.jpg") -> int:
    told: list[int] = []

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    headers = [(b"host", host.encode()), (b"authorization", authorization.encode())]
    scope = {"type": "http", "path": path, "method": "GET", "headers": headers, "client": (client, 5)}
    scope |= {"query_string": b"", "scheme": "http", "server": ("x", 1), "root_path": ""}
    asyncio.run(Access(app, WORD)(scope, None, send))  # type: ignore[arg-type]
    return told[0]


@pytest.mark.parametrize(
    ("client", "host", "authorization", "wanted"),
    [
        ("127.0.0.1", "127.0.0.1:7373", "", 200),
        ("::1", "[::1]:7373", "", 200),
        ("127.0.0.1", "localhost", "", 200),
        ("10.0.0.7", "10.0.0.2:7373", "", 401),
        ("10.0.0.7", "127.0.0.1:7373", "", 401),
        ("127.0.0.1", "evil.example", "", 401),
        ("10.0.0.7", "10.0.0.2", f"Bearer {WORD}", 200),
        ("10.0.0.7", "10.0.0.2", f"Basic {BASIC}", 200),
        ("10.0.0.7", "10.0.0.2", f"Bearer {WORD}x", 401),
        ("10.0.0.7", "10.0.0.2", "Basic !!!", 401),
        ("10.0.0.7", "10.0.0.2", "Bearer", 401),
    ],
)
def test_only_this_machine_and_the_token_get_in(
    client: str, host: str, authorization: str, wanted: int
) -> None:
    assert status(client, host, authorization) == wanted


def test_liveness_is_open_to_all() -> None:
    assert status("10.0.0.7", "10.0.0.2", path="/healthz") == 200


def test_the_token_is_made_once_and_is_nobody_elses(tmp_path: Path) -> None:
    made = token(tmp_path)
    assert token(tmp_path) == made
    assert len(made) > 30
    assert (tmp_path / "http-token").stat().st_mode & 0o777 == 0o600
