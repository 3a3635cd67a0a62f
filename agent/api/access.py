"""Who may ask the local interface: this machine itself; everybody else with the token of the state directory.

A request counts as this machine's own when it comes from a loopback address and names one as its host, so that neither a web page
that has tricked a browser's name look-up nor a proxy in front of the port gets in without the token.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from ipaddress import ip_address
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from agent.files import write_atomic
from wire.reasons import Reason

TOKEN_FILE = "http-token"
OPEN_PATHS = frozenset({"/healthz"})


def token(state_dir: Path) -> str:
    """The token, made on first use; readable by the agent's user only.

    :raises OSError: it can be neither read nor written
    """
    path = state_dir / TOKEN_FILE
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        made = secrets.token_urlsafe(32)
        write_atomic(path, made.encode(), 0o600, durable=True)
        return made


class Access:
    """ASGI middleware. The token comes as a bearer token, or as the password of HTTP Basic, which browsers ask for."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._may(HTTPConnection(scope)):
            await self._app(scope, receive, send)
            return
        words = "give the token of the agent's state directory (http-token) as bearer token or as password"
        answer = JSONResponse(
            {"reason": Reason.NOT_AUTHENTICATED.value, "detail": words},
            status_code=401,
            headers={"WWW-Authenticate": 'Basic realm="Outrider"'},
        )
        await answer(scope, receive, send)

    def _may(self, request: HTTPConnection) -> bool:
        if request.url.path in OPEN_PATHS:
            return True
        client = request.client.host if request.client else ""
        if _loopback(client) and _loopback(_host(request.headers.get("host", ""))):
            return True
        given = _given(request.headers.get("authorization", ""))
        return hmac.compare_digest(given.encode(), self._token.encode())


def _given(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _host(header: str) -> str:
    return header[1:].partition("]")[0] if header.startswith("[") else header.partition(":")[0]


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
