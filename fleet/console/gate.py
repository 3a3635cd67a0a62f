"""What stands before the pages: who is not signed in is sent to the door, other sites' pages reach nothing, and browsers are told to
take nothing from elsewhere."""

from __future__ import annotations

import asyncio
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.api.context import cookie_name
from fleet.console.assets import PATH as ASSETS
from fleet.errors import NotAuthenticated
from fleet.plane import Plane

STATIC = "/_nicegui/"
UPLOADS = "/_nicegui/client/"
SOCKET = "/_nicegui_ws/"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""NiceGUI writes its page's data and Vue compiles its templates in the browser: hence `unsafe-inline` and `unsafe-eval`. Nothing may be
fetched from or sent to another origin."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Gate:
    """An ASGI application around the pages."""

    def __init__(self, pages: ASGIApp, plane: Plane) -> None:
        self._pages = pages
        self._plane = plane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._pages(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        path = asked.url.path.removeprefix(scope.get("root_path", ""))
        if _from_elsewhere(asked) or not _method_fits(scope, path):
            await _refuse(scope, receive, send)
        elif _is_static(path) or await self._signed_in(asked):
            await self._pages(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket" or path.startswith(SOCKET):
            await _refuse(scope, receive, send)
        else:
            await RedirectResponse(door(asked), 303)(scope, receive, send)

    async def _signed_in(self, asked: HTTPConnection) -> bool:
        cookie = asked.cookies.get(cookie_name(self._plane))
        if not cookie:
            return False
        try:
            await asyncio.to_thread(self._plane.sessions.find, cookie)
        except NotAuthenticated:
            return False
        return True


def door(asked: HTTPConnection) -> str:
    """Where to sign in, and come back to what was asked for."""
    wanted = asked.url.path.removeprefix(asked.scope.get("root_path", "")) or "/"
    if asked.url.query:
        wanted += f"?{asked.url.query}"
    target = "" if wanted == "/" else f"?next={quote(wanted, safe='')}"
    return f"{prefix_of(asked)}/sign-in{target}"


def prefix_of(asked: HTTPConnection) -> str:
    """The path under which a reverse proxy shows us; it says so in X-Forwarded-Prefix."""
    given = quote(asked.headers.get("x-forwarded-prefix", ""), safe="/-._~%").rstrip("/")
    if not given.startswith("/") or given.startswith("//"):
        given = ""
    return given + str(asked.scope.get("root_path", ""))


def _is_static(path: str) -> bool:
    return path.startswith((STATIC, f"{ASSETS}/")) and not path.startswith(UPLOADS)


def _method_fits(scope: Scope, path: str) -> bool:
    """Pages are read; what they do goes over the socket, files to the API."""
    return scope["type"] == "websocket" or scope["method"] in ("GET", "HEAD") or path.startswith(SOCKET)


def _from_elsewhere(asked: HTTPConnection) -> bool:
    """Whether another site's page opens the socket (cross-site WebSocket hijacking) or posts to it."""
    origin = asked.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != asked.headers.get("host")


def _with_headers(send: Send) -> Send:
    async def told(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return told


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4403})
        return
    await PlainTextResponse("not allowed\n", 403)(scope, receive, send)
