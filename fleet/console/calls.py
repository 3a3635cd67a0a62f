"""The API as pages call it: within the process, with the session of who looks at the page. The only way from a page to anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
from fastapi import FastAPI
from starlette.requests import HTTPConnection

from fleet.api.context import cookie_name
from fleet.plane import Plane

API = "/api/v1"
TIMEOUT_S = 330.0
"""A command may be waited for as long as the API lets it."""


@dataclass
class ApiProblem(Exception):
    """What the API answered instead (RFC 9457). `problems` are the located ones."""

    status: int
    title: str
    detail: str
    reason: str = ""
    remedy: str = ""
    problems: list[dict[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return self.detail or self.title


@dataclass(frozen=True)
class Answer:
    """A body with the tag for If-Match."""

    body: Any
    tag: str


class Calls:
    """Makes the callers; one a page."""

    def __init__(self, app: FastAPI, plane: Plane) -> None:
        self._app = app
        self._cookie_name = cookie_name(plane)

    def of(self, asked: HTTPConnection) -> Api:
        """The API as whoever asked for a page; failed attempts count for the browser's address."""
        address = asked.client.host if asked.client else ""
        transport = httpx.ASGITransport(self._app, raise_app_exceptions=False, client=(address, 0))
        return Api(transport, {self._cookie_name: asked.cookies.get(self._cookie_name, "")})


class Api:
    """One person's calls. Every method raises ApiProblem where the API refuses."""

    def __init__(self, transport: httpx.AsyncBaseTransport, cookies: dict[str, str]) -> None:
        self._client = httpx.AsyncClient(
            transport=transport,
            base_url="http://console",
            timeout=TIMEOUT_S,
            headers={"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())},
        )
        self.csrf = ""

    async def get(self, path: str, **query: Any) -> Any:
        """A document. Parameters that are None or empty are left out."""
        return (await self.tagged(path, **query)).body

    async def tagged(self, path: str, **query: Any) -> Answer:
        """A document with its tag."""
        answer = await self._ask("GET", path, query)
        return Answer(answer.json() if answer.content else None, answer.headers.get("etag", ""))

    async def content(self, path: str, **query: Any) -> bytes:
        """Bytes as they are."""
        return (await self._ask("GET", path, query)).content

    async def change(
        self,
        method: Literal["POST", "PUT", "PATCH", "DELETE"],
        path: str,
        body: Any = None,
        *,
        if_match: str = "",
        key: str = "",
        **query: Any,
    ) -> Any:
        """A change. `key` makes it happen once, however often it is sent; `if_match` only on what was read."""
        headers = {"X-CSRF-Token": self.csrf}
        if if_match:
            headers["If-Match"] = if_match
        if key:
            headers["Idempotency-Key"] = key
        answer = await self._ask(method, path, query, body, headers)
        return answer.json() if answer.content else None

    async def send(self, path: str, content: bytes, **query: Any) -> Any:
        """A file as the body of a POST."""
        headers = {"X-CSRF-Token": self.csrf, "Content-Type": "application/octet-stream"}
        given = {name: value for name, value in query.items() if value not in (None, "")}
        answer = await self._client.post(f"{API}{path}", params=given, content=content, headers=headers)
        if answer.status_code >= 400:
            raise problem_of(answer)
        return answer.json()

    async def all(self, path: str, most: int = 5000, **query: Any) -> list[Any]:
        """Every item of a list, page after page, up to so many."""
        items: list[Any] = []
        cursor: str | None = None
        while len(items) < most:
            page = await self.get(path, limit=500, cursor=cursor, **query)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return items

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        given = {name: value for name, value in query.items() if value not in (None, "")}
        answer = await self._client.request(
            method, f"{API}{path}", params=given, json=body, headers=dict(headers or {})
        )
        if answer.status_code >= 400:
            raise problem_of(answer)
        return answer


def problem_of(answer: httpx.Response) -> ApiProblem:
    """The problem document of an answer; a stand-in where it has none."""
    try:
        told = answer.json()
    except ValueError:
        told = {}
    if not isinstance(told, dict):
        told = {}
    return ApiProblem(
        answer.status_code,
        str(told.get("title", answer.reason_phrase)),
        str(told.get("detail", "")),
        str(told.get("reason", "")),
        str(told.get("remedy", "")),
        list(told.get("problems", ())),
    )
