"""Fetching one object over HTTPS: resumed by range after a cut, checked against its digest, durable before it has its name."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from agent import framework
from agent.backoff import Backoff
from agent.errors import ArtifactRefused, MetadataRefused, Transient
from agent.files import DISK, Disk
from agent.pace import Pace, Speed
from wire.reasons import Reason
from wire.redact import redact

log = logging.getLogger(__name__)

READ_TIMEOUT_S = 30.0
MAX_OBJECT_BYTES = 16 * 1024**3
METADATA_DEADLINE_S = 120.0

Progress = Callable[[int], None]


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token; none where the client itself shows who it is."""
    return {"Authorization": f"Bearer {token}"} if token else {}


class Downloader:
    """Fetches objects of the control plane. `sleep` is the waiting between tries."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        token: str,
        backoff: Callable[[], Backoff],
        *,
        keep_free_bytes: int,
        elsewhere: httpx.AsyncClient | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        disk: Disk = DISK,
        speed: Speed = Speed(),
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        """`elsewhere` asks stores that the control plane points to; it shows them nothing of the device. Without it the control
        plane is to give the bytes itself."""
        self._elsewhere = elsewhere
        self._store_failed = False
        self._disk = disk
        self._speed = speed
        self._mono = mono
        self._client = client
        self._url = url.rstrip("/")
        self._token = token
        self._backoff = backoff
        self._keep_free_bytes = keep_free_bytes
        self._sleep = sleep
        self.trouble: Callable[[Reason, str], None] = lambda _reason, _why: None

    async def fetch(
        self,
        digest: str,
        target: Path,
        *,
        max_bytes: int = MAX_OBJECT_BYTES,
        exact: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Fetch an object to `target`; tries again for ever where trying may help, so that the caller sets the deadline.

        `exact`: it has to have `max_bytes`, neither more nor less.

        :raises ArtifactRefused: the control plane does not hold it, its bytes are wrong twice, or there is no room
        """
        backoff = self._backoff()
        corrupt = 0
        self._store_failed = False
        while True:
            try:
                await self._attempt(digest, target, max_bytes, exact, progress or (lambda _count: None))
                return
            except ArtifactRefused as e:
                corrupt += e.reason is Reason.ARTIFACT_CORRUPT
                if e.reason is not Reason.ARTIFACT_CORRUPT or corrupt > 1:
                    raise
                log.warning("download was corrupt; once more from the start", extra={"digest": digest})
            except (Transient, httpx.HTTPError) as e:
                delay_s = backoff.next_s()
                why = redact(str(e) or type(e).__name__)
                reason = e.reason if isinstance(e, Transient) else Reason.ARTIFACT_UNREACHABLE
                self.trouble(reason, why)
                log.warning(
                    "download interrupted",
                    extra={"digest": digest[:19], "cause": why, "retry_s": round(delay_s, 1)},
                )
                await self._sleep(delay_s)

    async def _attempt(
        self, digest: str, target: Path, max_bytes: int, exact: bool, progress: Progress
    ) -> None:
        part = target.with_name(target.name + ".part")
        start = part.stat().st_size if part.exists() else 0
        headers = {**bearer(self._token), "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        async with self._asked(digest, headers) as answer:
            if answer.status_code == 416:
                # The part is complete or of another object; its hash says which.
                await self._accept(part, target, digest, max_bytes if exact else None)
                return
            _check_status(answer, digest)
            if answer.status_code != 206:
                start = 0
            self._check_room(part, answer, max_bytes, start, digest)
            await self._write(part, answer, start, max_bytes, digest, progress)
        await self._accept(part, target, digest, max_bytes if exact else None)

    @contextlib.asynccontextmanager
    async def _asked(self, digest: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The answer of the control plane, or of the store that it points to."""
        address = f"{self._url}/api/v1/device/objects/{digest}"
        params = {} if self._elsewhere is None or self._store_failed else {"elsewhere": "true"}
        async with self._client.stream(
            "GET", address, headers=headers, params=params, timeout=READ_TIMEOUT_S
        ) as answer:
            if answer.status_code != 307 or self._elsewhere is None:
                yield answer
                return
            there = _store_address(answer, self._url, digest)
        bare = {name: value for name, value in headers.items() if name != "Authorization"}
        self._store_failed = True  # until it has answered: a device may reach the control plane and no store
        async with self._elsewhere.stream("GET", there, headers=bare, timeout=READ_TIMEOUT_S) as answer:
            self._store_failed = False
            yield answer

    def _check_room(
        self, part: Path, answer: httpx.Response, max_bytes: int, start: int, digest: str
    ) -> None:
        size = int(answer.headers.get("Content-Length", 0) or 0)
        if start + size > max_bytes:
            self._disk.remove(part)
            raise ArtifactRefused(
                Reason.ARTIFACT_CORRUPT if start else Reason.ENDLESS_DATA,
                f"{digest[:19]} has {start + size} bytes; at most {max_bytes} were expected",
            )
        free = shutil.disk_usage(part.parent).free
        if free - size < self._keep_free_bytes:
            raise ArtifactRefused(
                Reason.DISK_FULL,
                f"{digest[:19]} needs {size} bytes and {free} are free in {part.parent}, of which {self._keep_free_bytes} "
                "are to stay free: remove unused models or files",
            )

    async def _write(
        self, part: Path, answer: httpx.Response, start: int, max_bytes: int, digest: str, progress: Progress
    ) -> None:
        try:
            with self._disk.open(part, keep=start > 0) as file:
                file.seek(start)
                file.truncate()
                at = start
                pace = Pace(self._speed, self._mono())
                async for chunk in answer.aiter_raw():
                    at += len(chunk)
                    if at > max_bytes:
                        self._disk.remove(part)
                        raise ArtifactRefused(
                            Reason.ENDLESS_DATA,
                            f"{digest[:19]} goes on after the {max_bytes} bytes that it has",
                        )
                    file.write(chunk)
                    progress(at)
                    if (wait_s := pace.took(len(chunk), self._mono())) > 0:
                        await self._sleep(wait_s)
        except OSError as e:
            raise ArtifactRefused(Reason.DISK_FULL, f"{part} cannot be written: {e}; free some space") from e

    async def _accept(self, part: Path, target: Path, digest: str, length: int | None) -> None:
        """Give the part its name, once its bytes are those that were signed for; a wrong part is deleted."""
        wrong = await asyncio.to_thread(what_is_wrong, part, digest, length)
        if wrong is not None:
            self._disk.remove(part)
            raise ArtifactRefused(
                Reason.ARTIFACT_CORRUPT,
                f"{digest[:19]} was asked for and something else came ({wrong}): upload the artifact again",
            )
        await asyncio.to_thread(self._make_durable, part, target)

    def _make_durable(self, part: Path, target: Path) -> None:
        with self._disk.open(part, keep=True) as file:
            self._disk.sync(file)
        self._disk.replace(part, target)
        self._disk.sync_directory(target.parent)


def _store_address(answer: httpx.Response, url: str, digest: str) -> str:
    """Where a store has the object; never over a weaker connection than that to the control plane.

    :raises Transient: it cannot be used
    """
    there = urlsplit(answer.headers.get("Location", ""))
    schemes = ("https", "http") if url.startswith("http://") else ("https",)
    if there.scheme not in schemes or not there.hostname:
        raise Transient(
            Reason.ARTIFACT_UNREACHABLE,
            f"{digest[:19]} is said to be at {there.scheme or '?'}://{there.hostname or '?'}; expected {schemes[0]}://",
        )
    return str(there.geturl())


def _check_status(answer: httpx.Response, digest: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in (404, 410):
        raise ArtifactRefused(
            Reason.ARTIFACT_MISSING,
            f"the control plane does not hold {digest[:19]} ({status}): upload it, publish again",
        )
    if status in (401, 403):
        # A token that is refused today may be accepted once the control plane has been restored.
        raise Transient(
            Reason.NOT_AUTHENTICATED, f"the control plane answers {status} for {digest[:19]}: enrol again"
        )
    raise Transient(Reason.ARTIFACT_UNREACHABLE, f"the control plane answers {status} for {digest[:19]}")


def what_is_wrong(path: Path, digest: str, length: int | None) -> str | None:
    """What tells a file from the target of that digest and length; None where nothing does.

    :raises OSError: it cannot be read
    """
    framework.prepare()
    from tuf.api.exceptions import LengthOrHashMismatchError
    from tuf.api.metadata import TargetFile

    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END) if length is None else length
        wanted = TargetFile(size, {"sha256": digest.removeprefix("sha256:")}, digest)
        try:
            wanted.verify_length_and_hashes(file)
        except LengthOrHashMismatchError as e:
            return str(e)
    return None


class HttpMetadata:
    """Trust metadata of the control plane: the `Source` that is asked while there is a network."""

    def __init__(
        self, client: httpx.AsyncClient, url: str, token: str, deadline_s: float = METADATA_DEADLINE_S
    ) -> None:
        self._client = client
        self._url = url.rstrip("/")
        self._token = token
        self._deadline_s = deadline_s

    async def metadata(self, name: str, max_bytes: int) -> bytes | None:
        try:
            return await asyncio.wait_for(self._get(name, max_bytes), self._deadline_s)
        except asyncio.TimeoutError:
            raise Transient(
                Reason.SLOW_RETRIEVAL, f"trust metadata {name} did not come within {self._deadline_s:.0f} s"
            ) from None
        except httpx.HTTPError as e:
            why = redact(str(e) or type(e).__name__)
            raise Transient(Reason.METADATA_UNREACHABLE, f"trust metadata {name}: {why}") from e

    async def _get(self, name: str, max_bytes: int) -> bytes | None:
        headers = {**bearer(self._token), "Accept-Encoding": "identity"}
        address = f"{self._url}/api/v1/device/tuf/{name}"
        async with self._client.stream("GET", address, headers=headers, timeout=READ_TIMEOUT_S) as answer:
            if answer.status_code == 404:
                return None
            if answer.status_code != 200:
                raise Transient(
                    Reason.METADATA_UNREACHABLE, f"the control plane answers {answer.status_code} for {name}"
                )
            content = bytearray()
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > max_bytes:
                    raise MetadataRefused(
                        Reason.ENDLESS_DATA, f"trust metadata {name} goes on after {max_bytes} bytes"
                    )
        return bytes(content)


async def desired_state(client: httpx.AsyncClient, url: str, token: str) -> object | None:
    """The signed desired state over HTTPS, for when MQTT is unreachable; None where there is none.

    :raises Transient: the control plane cannot be reached or does not answer a document
    """
    try:
        answer = await client.get(
            f"{url.rstrip('/')}/api/v1/device/desired",
            headers=bearer(token),
            timeout=READ_TIMEOUT_S,
        )
        if answer.status_code == 204:
            return None
        if answer.status_code == 401:
            raise Transient(
                _reason(answer), f"desired state: the control plane answers 401: {answer.text[:200]}"
            )
        answer.raise_for_status()
        body: object = answer.json()
    except (httpx.HTTPError, ValueError) as e:
        raise Transient(Reason.ARTIFACT_UNREACHABLE, f"desired state: {e or type(e).__name__}") from e
    return body


def _reason(answer: httpx.Response) -> Reason:
    """The reason code of a problem document, as far as the answer is one."""
    try:
        return Reason(answer.json()["reason"])
    except (ValueError, KeyError, TypeError):
        return Reason.NOT_AUTHENTICATED
