"""What every route of the API does beside its own work: bounded bodies, entity tags, answers kept under idempotency keys."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from fleet import etag
from fleet.access.answers import Asked
from fleet.api import problems
from fleet.api.context import asking, bounded_body, plane_of
from fleet.api.description import KEPT
from fleet.errors import NoResponse, Refused
from wire.reasons import Reason

Handler = Callable[[Request], Awaitable[Response]]
KEY_CHARACTERS = 128
KEPT_HEADERS = ("content-type", "etag", "location", "cache-control")
REPLAYED = "Idempotency-Replayed"


class Route(APIRoute):
    """A route whose body is a small document."""

    body_bytes: int | None = None
    """The largest body; None: what is configured."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["openapi_extra"] = {**(options.get("openapi_extra") or {}), **KEPT}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Any]:
        handle: Handler = super().get_route_handler()

        async def handle_all(request: Request) -> Response:
            if request.method == "GET":
                return _tagged(request, await handle(request))
            limit = self.body_bytes or plane_of(request).config.limits.body_bytes
            body = await bounded_body(request, limit)
            request._body = body  # where Starlette keeps a body that was read
            key = request.headers.get("idempotency-key")
            return await handle(request) if key is None else await _once(request, body, key, handle)

        return handle_all


def route_of(largest_bytes: int) -> type[Route]:
    """Such a route whose body may be so large."""
    return type("LargeRoute", (Route,), {"body_bytes": largest_bytes})


def _tagged(request: Request, response: Response) -> Response:
    """With an entity tag; 304 where the reader has the same already."""
    if response.status_code != 200:
        return response
    if response.headers.get("content-type", "").startswith("application/json"):
        response.headers.setdefault("etag", etag.of_bytes(bytes(response.body)))
    tag = response.headers.get("etag")
    if tag is None:
        return response
    response.headers.setdefault("cache-control", "private, no-cache")
    if etag.unchanged(request.headers.get("if-none-match"), tag):
        kept = {name: response.headers[name] for name in ("etag", "cache-control")}
        return Response(status_code=304, headers=kept)
    return response


async def _once(request: Request, body: bytes, key: str, handle: Handler) -> Response:
    """Do it once; the same request under the same key gets the same answer for a day."""
    if not (key.isascii() and key.isprintable() and 0 < len(key) <= KEY_CHARACTERS):
        raise Refused(
            Reason.INVALID_FIELD, f"an Idempotency-Key has 1 to {KEY_CHARACTERS} printable characters"
        )
    plane = plane_of(request)
    who = await asyncio.to_thread(asking, request, plane)
    line = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    match = request.headers.get("if-match", "").encode()
    asked = Asked(who.credential, key, line + match + b"\n" + body)
    kept = await asyncio.to_thread(plane.answers.begin, asked)
    if kept is not None:
        return _unpacked(kept)
    response = await _first(request, asked, handle)
    await asyncio.to_thread(plane.answers.keep, asked, _packed(response))
    return response


async def _first(request: Request, asked: Asked, handle: Handler) -> Response:
    """The answer to keep. A command that a device did not answer was sent all the same, and is not to be sent again."""
    try:
        return await handle(request)
    except NoResponse as e:
        return problems.answer(e)
    except BaseException:
        await asyncio.shield(asyncio.to_thread(plane_of(request).answers.drop, asked))
        raise


def _packed(response: Response) -> bytes:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    body = base64.b64encode(response.body).decode()
    return json.dumps({"status": response.status_code, "headers": headers, "body": body}).encode()


def _unpacked(kept: bytes) -> Response:
    answer = json.loads(kept)
    headers = {**answer["headers"], REPLAYED: "true"}
    return Response(base64.b64decode(answer["body"]), answer["status"], headers)
