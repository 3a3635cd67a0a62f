"""HTTP: webhooks and the interfaces of chat services."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.sinks.sender import Undelivered

MAX_ANSWER_BYTES = 65536
TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers after which the same request may succeed (RFC 9110, 6585, 8470)."""


@dataclass(frozen=True)
class Request:
    """`document`: JSON, as bytes, where there is neither form nor files; `files`: name → (file name, content, media type). `verdict`: looks at the JSON of the answer
    and tells what is wrong with it."""

    method: str
    url: str
    timeout_s: float
    query: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    document: bytes = b""
    form: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, tuple[str, bytes, str]] = field(default_factory=dict)
    verdict: Callable[[Any], str] | None = None


class WebSender:
    """Keeps connections open between requests. Redirects are not followed: a request goes where the workflow says."""

    def __init__(self) -> None:
        self._client: Any = None
        self._lock = threading.Lock()

    def send(self, body: Callable[[], Request]) -> Any:
        """The JSON of the answer, or None where it is none. `body` is called here, so that secrets are looked up late."""
        import httpx

        request = body()
        try:
            status, answer = self._ask(request)
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as e:
            raise Undelivered(
                f"{request.url!r} is no URL to send to: {e}; expected http:// or https://", again=False
            ) from e
        except httpx.TimeoutException as e:
            raise Undelivered(f"no answer from {_place(request.url)} within {request.timeout_s:g} s") from e
        except httpx.HTTPError as e:
            raise Undelivered(f"{_place(request.url)}: {e or type(e).__name__}") from e
        if not 200 <= status < 300:
            raise Undelivered(f"{_place(request.url)} answers HTTP {status}", again=status in TRY_AGAIN)
        if request.verdict is not None and (wrong := request.verdict(answer)):
            raise Undelivered(f"{_place(request.url)} refuses: {wrong}", again=False)
        return answer

    def _ask(self, request: Request) -> tuple[int, Any]:
        import httpx

        with self._lock:
            if self._client is None:
                limits = httpx.Limits(max_connections=2, max_keepalive_connections=2, keepalive_expiry=30.0)
                self._client = httpx.Client(limits=limits)
        parts: dict[str, Any] = {"data": dict(request.form) or None, "files": dict(request.files) or None}
        headers = dict(request.headers)
        if request.document and not request.form and not request.files:
            parts = {"content": request.document}
            headers = {"Content-Type": "application/json", **headers}
        stream = self._client.stream(
            request.method,
            request.url,
            params=dict(request.query) or None,
            headers=headers,
            timeout=request.timeout_s,
            **parts,
        )
        with stream as answer:
            return answer.status_code, _json(_head(answer))

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def _head(answer: Any) -> bytes:
    taken = bytearray()
    for chunk in answer.iter_bytes(16384):
        taken += chunk
        if len(taken) >= MAX_ANSWER_BYTES:
            break
    return bytes(taken[:MAX_ANSWER_BYTES])


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _place(url: str) -> str:
    """Scheme and host of a URL: paths and queries of webhooks hold tokens."""
    scheme, _, rest = url.partition("://")
    host = rest.split("/", 1)[0].split("?", 1)[0].rpartition("@")[2]
    return f"{scheme}://{host}"
