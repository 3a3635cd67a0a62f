"""Each request has an id: the caller's or a new one, in the answer, in problems and in the audit log."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers, MutableHeaders

from fleet import audit
from fleet.clock import Ids
from wire.names import is_name

HEADER = "X-Request-Id"


class RequestIds:
    """An ASGI application around another one."""

    def __init__(self, app: Any, ids: Ids) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        name = given if is_name(given) else self._ids.unique()

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers[HEADER] = name
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        token = audit.request_id.set(name)
        try:
            await self._app(scope, receive, told)
        finally:
            audit.request_id.reset(token)
