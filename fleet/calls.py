"""How the client calls the API: addresses and trust, lists page by page, uploads, errors as the control plane gave them."""

# mypy: disable-error-code="no-any-return"
# What was parsed from JSON has no type until a method says which shape the API gives there.

from __future__ import annotations

import json
import ssl
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import httpx

from fleet.errors import FleetError, Refused, Transient
from wire.problem import Problem
from wire.reasons import Reason

TIMEOUT_S = 30.0
UPLOAD_TIMEOUT_S = 900.0
"""An upload is answered when its check is done."""
COPY_BYTES = 256 * 1024
PAGE = 500
"""Items asked for at once."""

Progress = Callable[[int, int], None]
"""Told of bytes sent and bytes in all."""


class ApiError(FleetError):
    """The control plane's own answer: `status`, reason and located problems as it gave them."""

    def __init__(self, status: int, reason: Reason, message: str, problems: list[Problem]) -> None:
        super().__init__(reason, message, problems)
        self.status = status


@dataclass(frozen=True)
class Access:
    """Where the control plane is and the token to use. `authority` is a PEM file to trust instead of the system's."""

    url: str
    token: str = field(repr=False)
    authority: str = ""


def _trusting(authority: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority or None)
    except (OSError, ssl.SSLError) as e:
        raise Refused(
            Reason.CONFIG_INVALID, f"the authority {authority} cannot be read ({e}); expected a PEM file"
        ) from e


class Calls:
    """A context manager. Each call raises `ApiError` where the control plane refuses, `Transient` where it cannot be reached."""

    def __init__(self, access: Access, transport: httpx.BaseTransport | None = None) -> None:
        self._url = access.url.rstrip("/")
        headers = {"Authorization": f"Bearer {access.token}"} if access.token else {}
        self._http = httpx.Client(
            base_url=f"{self._url}/api/v1",
            headers=headers,
            timeout=TIMEOUT_S,
            transport=transport,
            verify=_trusting(access.authority) if access.url.startswith("https") else True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def _all(self, path: str, **filters: Any) -> list[Any]:
        return list(self._each(path, **filters))

    def _each(self, path: str, **filters: Any) -> Iterator[Any]:
        """Every item of a list, page after page."""
        params = {name: value for name, value in filters.items() if value not in (None, "")}
        params["limit"] = PAGE
        while True:
            page = self._call("GET", path, params=params)
            yield from page["items"]
            if page["next"] is None:
                return
            params["cursor"] = page["next"]

    def _call(self, method: str, path: str, **options: Any) -> Any:
        answer = self._answer(method, path, **options)
        return answer.json() if answer.content else {}

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as e:
            raise Transient(
                Reason.FLEET_UNREACHABLE,
                f"the control plane at {self._url} cannot be reached: {e}; is it running, is --url right?",
            ) from e
        if answer.is_success:
            return answer
        raise error_of(answer)

    def _streamed(self, path: str, **options: Any) -> Iterator[bytes]:
        """The bytes of an answer as they come."""
        try:
            with self._http.stream("GET", path, **options) as answer:
                if not answer.is_success:
                    answer.read()
                    raise error_of(answer)
                yield from answer.iter_bytes()
        except httpx.HTTPError as e:
            raise Transient(
                Reason.FLEET_UNREACHABLE, f"{path[:60]} was cut off: {e or type(e).__name__}; run it again"
            ) from e

    def _upload(
        self, path: str, file: IO[bytes], name: str | None, progress: Progress | None, **wishes: str
    ) -> Any:
        total = file.seek(0, 2)
        file.seek(0)
        params = {key: value for key, value in {"name": name, **wishes}.items() if value}
        headers = {"Content-Length": str(total), "Content-Type": "application/octet-stream"}
        content = _chunks(file, total, progress)
        return self._call(
            "POST", path, content=content, params=params, headers=headers, timeout=UPLOAD_TIMEOUT_S
        )


def matching(tag: str | None) -> dict[str, str]:
    return {} if tag is None else {"If-Match": tag}


def _chunks(file: IO[bytes], total: int, progress: Progress | None) -> Iterator[bytes]:
    sent = 0
    while chunk := file.read(COPY_BYTES):
        yield chunk
        sent += len(chunk)
        if progress is not None:
            progress(sent, total)


def error_of(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
        problems = [Problem.from_json(problem) for problem in body.get("problems", [])]
        return ApiError(answer.status_code, Reason(body["reason"]), str(body["detail"]), problems)
    except (json.JSONDecodeError, KeyError, ValueError, AttributeError):
        text = f"HTTP {answer.status_code} from {answer.url}: {answer.text[:200]}"
        return ApiError(answer.status_code, Reason.INTERNAL, text, [])


def pack(folder: Path, out: IO[bytes]) -> None:
    """Write the directory as a tar that depends on its content alone."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.name.startswith("."):
                continue
            info = tarfile.TarInfo(path.relative_to(folder).as_posix())
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)
