"""What every route needs: the parts, and who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, cast

from fastapi import Depends, Request

from fleet.auth import Principal, Role, bearer
from fleet.errors import NotAuthenticated, Refused, TooMuch
from fleet.plane import Plane
from fleet.tls import PEER
from wire import proof
from wire.names import DeviceId
from wire.reasons import Reason


def plane_of(request: Request) -> Plane:
    return cast("Plane", request.app.state.plane)


PlaneDep = Annotated[Plane, Depends(plane_of)]


def needs(role: Role) -> Callable[[Request, Plane], Principal]:
    """A dependency: whoever asks, with at least this role."""

    def principal(request: Request, plane: PlaneDep) -> Principal:
        asking = plane.tokens.principal(bearer(request.headers.get("authorization")))
        asking.require(role)
        return asking

    return principal


Viewer = Annotated[Principal, Depends(needs(Role.VIEWER))]
Operator = Annotated[Principal, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Principal, Depends(needs(Role.ADMIN))]


def _device(request: Request, plane: PlaneDep) -> DeviceId:
    """By certificate, by a token the device has signed, or by the token it was given; two of them must agree."""
    header = request.headers.get("authorization")
    der = request.scope.get(PEER)
    shown = plane.certificates.by_certificate(der) if der else None
    if shown is not None and header is None:
        return shown
    token = bearer(header)
    signed = token.startswith(proof.PREFIX)
    device = plane.certificates.by_token(token) if signed else plane.tokens.device(token)
    if shown not in (None, device):
        raise NotAuthenticated(
            Reason.WRONG_DEVICE, f"the certificate is of {shown!r}, the token of {device!r}"
        )
    return device


AskingDevice = Annotated[DeviceId, Depends(_device)]


async def bounded_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body.

    :raises TooMuch: over the limit; nothing more of it is read
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > limit_bytes:
            raise TooMuch(Reason.TOO_LARGE, f"the body is over {limit_bytes} bytes")
    return bytes(content)


async def json_body(request: Request, limit_bytes: int) -> Any:
    """The request's body, parsed; None where there is none.

    :raises Refused: it is not JSON
    """
    content = await bounded_body(request, limit_bytes)
    if not content:
        return None
    try:
        value = json.loads(content, parse_constant=_no_constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # no lone surrogates, no infinities
        return value
    except (ValueError, RecursionError) as e:
        raise Refused(Reason.MALFORMED, f"the body is not JSON: {e}") from e


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
