"""The door: a plain page with a form, which the browser itself posts to the API, so that the session's cookie is never in a script's hand."""

from __future__ import annotations

from html import escape
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse
from nicegui import __version__

from fleet.api.context import PlaneDep
from fleet.console import assets
from fleet.console.gate import prefix_of

router = APIRouter(include_in_schema=False)
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; font-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Outrider</title>
<link rel="icon" href="{icon}">
<script src="{script}"></script>
<link rel="stylesheet" href="{fonts}">
<link rel="stylesheet" href="{tokens}">
<link rel="stylesheet" href="{style}">
<main class="door">
  <h1><span class="icon icon-outrider" aria-hidden="true"></span>Outrider</h1>
  <p class="quiet">Control plane of the fleet <b>{fleet}</b></p>
  <form id="sign-in" action="{prefix}/api/v1/session" data-home="{prefix}/" data-next="{following}" novalidate>
    <label>Name <input name="name" autocomplete="username" autocapitalize="none" spellcheck="false" required autofocus></label>
    <label>Password <input name="password" type="password" autocomplete="current-password" required></label>
    <p id="note" class="door-note" role="alert" hidden></p>
    <button class="button primary">Sign in</button>
  </form>
  {provider}
  {first}
</main>
<script src="{door}"></script>
</html>
"""
_FIRST = """<div class="door-first"><p>There is no user yet. Make the first one where the control plane runs:</p>
<code>outrider fleet user create NAME --role admin</code></div>"""
_PROVIDER = '<p class="or"><span>or</span></p><a class="button" href="{prefix}/api/v1/session/provider">Sign in with {issuer}</a>'


@router.get("/sign-in")
def sign_in(
    request: Request, plane: PlaneDep, following: Annotated[str, Query(alias="next", max_length=500)] = ""
) -> HTMLResponse:
    """The form; with the identity provider beside it where there is one."""
    prefix = prefix_of(request)
    issuer = urlsplit(plane.config.oidc.issuer).hostname or ""
    provider = _PROVIDER.format(prefix=escape(prefix), issuer=escape(issuer)) if issuer else ""
    body = _PAGE.format(
        prefix=escape(prefix),
        fleet=escape(plane.fleet),
        following=escape(own(following)),
        provider=provider,
        first="" if issuer or plane.users.page("", 1) else _FIRST,
        icon=prefix + assets.address("icon.svg"),
        fonts=f"{prefix}/_nicegui/{__version__}/static/fonts.css",
        script=prefix + assets.address("console.js"),
        tokens=prefix + assets.address("tokens.css"),
        style=prefix + assets.address("door.css"),
        door=prefix + assets.address("door.js"),
    )
    headers = {
        "Content-Security-Policy": POLICY,
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(body, headers=headers)


def own(path: str) -> str:
    """The path if it is one of ours; empty where it could lead elsewhere."""
    if not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable() or "\\" in path:
        return ""
    return path


@router.get("/favicon.ico")
def favicon() -> FileResponse:
    return FileResponse(assets.FOLDER / "icon.svg", media_type="image/svg+xml")
