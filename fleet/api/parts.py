"""Uploads of devices, whole or in parts: `Content-Range: bytes 0-999/5000` adds a part, `bytes */5000` asks how far it has come.

An upload that is not complete is answered 202 with `Range: bytes=0-999`, without `Range` where nothing is there.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import Request, Response

from fleet.api.context import bounded_body
from fleet.errors import Refused, TooMuch
from fleet.plane import Plane
from wire.reasons import Reason

_RANGE = re.compile(r"bytes (?:(\d{1,12})-(\d{1,12})|\*)/(\d{1,12})")
HEADER: dict[str, Any] = {
    "parameters": [
        {
            "name": "Content-Range",
            "in": "header",
            "required": False,
            "description": "For an upload in parts; `bytes */TOTAL` asks how far it has come",
            "schema": {"type": "string", "maxLength": 60},
        }
    ]
}
"""`openapi_extra` of such a route."""
INCOMPLETE: dict[int | str, dict[str, Any]] = {
    202: {"description": "Not complete; `Range` says how far it has come"}
}


async def upload(request: Request, plane: Plane, device: str, key: str, limit_bytes: int) -> bytes | None:
    """All of an upload; None where more of it is to come, which `so_far` answers.

    :raises TooMuch: over the limit
    :raises Refused: a part that does not fit
    """
    header = request.headers.get("content-range")
    if header is None:
        return await bounded_body(request, limit_bytes)
    match = _RANGE.fullmatch(header)
    if match is None:
        raise Refused(Reason.INVALID_FIELD, f"Content-Range {header[:60]!r}; expected bytes 0-999/5000")
    first, last, total = match[1], match[2], int(match[3])
    if total > limit_bytes:
        raise TooMuch(Reason.TOO_LARGE, f"an upload of {total} bytes; at most {limit_bytes} are taken")
    if first is None:
        return None
    content = await bounded_body(request, limit_bytes)
    if len(content) != int(last) - int(first) + 1:
        raise Refused(Reason.INVALID_FIELD, f"{len(content)} bytes came for {header}")
    there = await asyncio.to_thread(plane.parts.add, device, key, int(first), content, total)
    return await asyncio.to_thread(plane.parts.take, device, key) if there == total else None


def so_far(plane: Plane, device: str, key: str) -> Response:
    """The answer to a part."""
    there = plane.parts.had(device, key)
    return Response(status_code=202, headers={"Range": f"bytes=0-{there - 1}"} if there else {})
