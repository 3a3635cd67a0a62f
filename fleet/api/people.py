"""Users and what they may do; sign-in, sessions, own password."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field, SecretStr

from fleet import shapes
from fleet.access.provider import LOGIN_S
from fleet.access.sessions import SignedIn
from fleet.access.users import Change, bindings_of, read_rights
from fleet.api import paging, views
from fleet.api.body import Body, Line
from fleet.api.context import Admin, DeviceName, Known, PlaneDep, asking, cookie_name
from fleet.api.description import PUBLIC
from fleet.api.devices import IfMatch
from fleet.api.route import Route
from fleet.errors import NotAllowed, NotAuthenticated
from fleet.plane import Plane
from wire.names import Name
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1", route_class=Route)
door = APIRouter(prefix="/api/v1", tags=["session"])
"""Where nobody is known yet."""

STATE_COOKIE = "outrider_login"
STATE_PATH = "/api/v1/session/provider"
Password = Annotated[SecretStr, Field(max_length=1024)]


class BindingBody(Body):
    """`role` on the devices of `selector`; the empty selector is the whole fleet and what belongs to no device."""

    role: Literal["viewer", "operator", "approver", "admin"]
    selector: Line = Field(default="", max_length=2000)


class NewUser(Body):
    """Without a password only the identity provider can sign the user in."""

    name: Name
    full_name: Line = Field(default="", max_length=128)
    bindings: list[BindingBody] = Field(default_factory=list, max_length=32)
    password: Password | None = None


class UserChange(Body):
    """What is to be different; fields that are not there stay."""

    full_name: Line | None = Field(default=None, max_length=128)
    disabled: bool | None = None
    bindings: list[BindingBody] | None = Field(default=None, max_length=32)
    password: Password | None = None


class SignIn(Body):
    name: str = Field(max_length=64)
    password: Password


class PasswordChange(Body):
    old: Password
    new: Password


@router.get("/users", tags=["users"])
def users(
    plane: PlaneDep, who: Admin, limit: paging.Limit = 100, cursor: paging.Cursor = None
) -> shapes.Page[shapes.UserView]:
    """Users by name."""
    rows = plane.users.page(paging.decode(cursor, ""), limit + 1)
    return paging.page(rows, limit, views.user, lambda person: person.row.name)


@router.post("/users", tags=["users"], status_code=201)
def create_user(body: NewUser, plane: PlaneDep, who: Admin, response: Response) -> shapes.UserView:
    rights = read_rights([(b.role, b.selector) for b in body.bindings])
    password = body.password.get_secret_value() if body.password else None
    person = plane.users.create(body.name, body.full_name, rights, who.actor, password)
    response.headers["ETag"] = person.tag
    return views.user(person)


@router.get("/users/{name}", tags=["users"])
def user(name: DeviceName, plane: PlaneDep, who: Admin, response: Response) -> shapes.UserView:
    """One user; the tag is for If-Match."""
    person = plane.users.get(name)
    response.headers["ETag"] = person.tag
    return views.user(person)


@router.patch("/users/{name}", tags=["users"])
def change_user(
    name: DeviceName,
    body: UserChange,
    plane: PlaneDep,
    who: Admin,
    response: Response,
    if_match: IfMatch = None,
) -> shapes.UserView:
    """A new password or a disabled account ends the user's sessions at once."""
    rights = None if body.bindings is None else read_rights([(b.role, b.selector) for b in body.bindings])
    password = body.password.get_secret_value() if body.password else None
    change = Change(body.full_name, body.disabled, rights, password)
    person = plane.users.change(name, change, who.actor, if_match)
    response.headers["ETag"] = person.tag
    return views.user(person)


@router.delete("/users/{name}", tags=["users"], status_code=204)
def remove_user(name: DeviceName, plane: PlaneDep, who: Admin, if_match: IfMatch = None) -> Response:
    """With its sessions and tokens. The audit log keeps the name."""
    plane.users.remove(name, who.actor, if_match)
    return Response(status_code=204)


@door.get("/session/ways", openapi_extra=PUBLIC)
def ways(plane: PlaneDep) -> shapes.SignInWays:
    """How people may sign in here."""
    return {"password": True, "provider": bool(plane.config.oidc.issuer)}


@door.post("/session", status_code=201, openapi_extra=PUBLIC, responses={401: {}, 429: {}})
async def sign_in(request: Request, body: SignIn, plane: PlaneDep, response: Response) -> shapes.SessionView:
    """Name and password against a cookie (HttpOnly, SameSite). Too many failures are answered with 429 for a while."""
    address = request.client.host if request.client else ""
    begun = await asyncio.to_thread(
        plane.sessions.sign_in, body.name, body.password.get_secret_value(), address
    )
    set_cookie(response, plane, begun)
    return session_view(begun)


@door.get(
    "/session/provider",
    status_code=302,
    response_class=RedirectResponse,
    openapi_extra=PUBLIC,
    responses={403: {}, 404: {}},
)
async def sign_in_elsewhere(plane: PlaneDep) -> RedirectResponse:
    """To the identity provider; it sends the browser back to `/session/provider/callback`."""
    begun = await plane.provider.begin()
    response = RedirectResponse(begun.url, 302, {"Cache-Control": "no-store"})
    _set(response, plane, STATE_COOKIE, begun.state, int(LOGIN_S), STATE_PATH)
    return response


@door.get(
    "/session/provider/callback",
    status_code=303,
    response_class=RedirectResponse,
    openapi_extra=PUBLIC,
    responses={403: {}},
)
async def signed_in_elsewhere(
    request: Request,
    plane: PlaneDep,
    state: Annotated[str, Query(max_length=200)] = "",
    code: Annotated[str, Query(max_length=4000)] = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> RedirectResponse:
    """Where the identity provider sends the browser back to: a session, and on to the console."""
    if error or not code:
        raise NotAllowed(Reason.PROVIDER_FAILED, f"the identity provider says {error!r}")
    begun = await plane.provider.finish(code, state, request.cookies.get(STATE_COOKIE))
    response = RedirectResponse("/", 303)
    response.delete_cookie(STATE_COOKIE, path=STATE_PATH)
    set_cookie(response, plane, begun)
    return response


@router.get("/session", tags=["session"])
def session(request: Request, plane: PlaneDep, who: Known) -> shapes.SessionView:
    """Who asks, and what it may do."""
    if who.kind == "user":
        return session_view(plane.sessions.find(who.credential))
    return {
        "name": who.name,
        "kind": who.kind,
        "bindings": [{"role": g.role.label, "selector": str(g.selector)} for g in who.rights.grants],
        "csrf": "",
        "expires_at": None,
    }


@router.delete("/session", tags=["session"], status_code=204)
def sign_out(request: Request, plane: PlaneDep) -> Response:
    """End the session of the cookie."""
    who = asking(request, plane)
    if who.kind == "user":
        plane.sessions.end(who.credential)
    response = Response(status_code=204)
    response.delete_cookie(cookie_name(plane), path="/")
    return response


@router.post("/session/password", tags=["session"], status_code=204)
def change_password(
    request: Request, body: PasswordChange, plane: PlaneDep, who: Known, response: Response
) -> Response:
    """Another password for oneself; every session ends, this one too."""
    if who.kind != "user":
        raise NotAllowed(Reason.NOT_ALLOWED, "a token has no password; sign in as a user")
    address = request.client.host if request.client else ""
    try:
        plane.sessions.sign_in(who.name, body.old.get_secret_value(), address)
    except NotAuthenticated as e:
        raise NotAllowed(Reason.SIGN_IN_REFUSED, "the old password does not fit") from e
    plane.users.change(who.name, Change(password=body.new.get_secret_value()), who.actor)
    return Response(status_code=204)


def set_cookie(response: Response, plane: Plane, begun: SignedIn) -> None:
    """Give the browser its session. Lax, so that a link from elsewhere to the console finds it; changes need the CSRF token."""
    lifetime_s = int(begun.expires_at - plane.clock.wall())
    _set(response, plane, cookie_name(plane), begun.cookie, lifetime_s, "/")
    response.headers["Cache-Control"] = "no-store"


def _set(response: Response, plane: Plane, name: str, value: str, lifetime_s: int, path: str) -> None:
    secure = plane.config.http.tls != "off"
    response.set_cookie(
        name, value, max_age=lifetime_s, path=path, secure=secure, httponly=True, samesite="lax"
    )


def session_view(begun: SignedIn) -> shapes.SessionView:
    return {
        "name": begun.user,
        "kind": "user",
        "bindings": [{"role": b["role"], "selector": b["selector"]} for b in bindings_of(begun.rights)],
        "csrf": begun.csrf,
        "expires_at": begun.expires_at,
    }
