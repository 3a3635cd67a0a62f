"""What every route needs: the parts, and who asks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, cast
from urllib.parse import urlsplit

from fastapi import Depends, Path, Request

from fleet.access.sessions import require_csrf
from fleet.auth import Principal, Role, bearer
from fleet.errors import NotAllowed, NotAuthenticated, Refused, TooMuch
from fleet.plane import Plane
from fleet.tls import PEER
from wire import proof
from wire.names import NAME_PATTERN, DeviceId
from wire.reasons import Reason


def plane_of(request: Request) -> Plane:
    return cast("Plane", request.app.state.plane)


PlaneDep = Annotated[Plane, Depends(plane_of)]


def asking(request: Request, plane: Plane) -> Principal:
    """Who asks, by bearer token or by a session's cookie. A change by cookie must carry the session's token.

    :raises NotAuthenticated: nobody that is known
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is None:
        known = request.state.principal = recognised(request, plane)
    return known


def recognised(request: Request, plane: Plane) -> Principal:
    """As `asking`, looked up anew: what asked may have ended meanwhile."""
    header = request.headers.get("authorization")
    cookie = request.cookies.get(cookie_name(plane))
    if header is not None or cookie is None:
        return plane.tokens.principal(bearer(header))
    session = plane.sessions.find(cookie)
    if request.method not in ("GET", "HEAD"):
        require_csrf(session, request.headers.get("x-csrf-token"))
        _require_own_page(request)
    return Principal(session.user, session.rights, "user", credential=cookie)


def _require_own_page(request: Request) -> None:
    """A browser says from which page a change comes; another site's is none of ours (OWASP, verifying origin)."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise NotAllowed(Reason.CSRF_MISSING, f"the change comes from a page of {origin[:80]}")


def cookie_name(plane: Plane) -> str:
    """Behind HTTPS a name that browsers take only over HTTPS and only for this host (RFC 6265bis, `__Host-`)."""
    return "outrider_session" if plane.config.http.tls == "off" else "__Host-outrider_session"


def known(request: Request, plane: PlaneDep) -> Principal:
    """A dependency: whoever asks, with a role or without one."""
    return asking(request, plane)


def needs(role: Role) -> Callable[[Request, Plane], Principal]:
    """A dependency: whoever asks, with at least this role for the whole fleet."""

    def principal(request: Request, plane: PlaneDep) -> Principal:
        who = asking(request, plane)
        who.require(role)
        return who

    return principal


def needs_somewhere(role: Role) -> Callable[[Request, Plane], Principal]:
    """A dependency: whoever asks, with at least this role for some devices. The route looks at which."""

    def principal(request: Request, plane: PlaneDep) -> Principal:
        who = asking(request, plane)
        who.require_somewhere(role)
        return who

    return principal


def needs_on_device(role: Role) -> Callable[[Request, Plane, str], Principal]:
    """A dependency: whoever asks, with at least this role for the device of the path."""

    def principal(request: Request, plane: PlaneDep, device: DeviceName) -> Principal:
        who = asking(request, plane)
        plane.roster.require(who, device, role)
        return who

    return principal


DeviceName = Annotated[str, Path(pattern=NAME_PATTERN)]
Known = Annotated[Principal, Depends(known)]
Anybody = Annotated[Principal, Depends(needs_somewhere(Role.VIEWER))]
AnyOperator = Annotated[Principal, Depends(needs_somewhere(Role.OPERATOR))]
Viewer = Annotated[Principal, Depends(needs(Role.VIEWER))]
Operator = Annotated[Principal, Depends(needs(Role.OPERATOR))]
Approver = Annotated[Principal, Depends(needs(Role.APPROVER))]
Admin = Annotated[Principal, Depends(needs(Role.ADMIN))]
DeviceViewer = Annotated[Principal, Depends(needs_on_device(Role.VIEWER))]
DeviceOperator = Annotated[Principal, Depends(needs_on_device(Role.OPERATOR))]


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
