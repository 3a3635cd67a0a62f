"""Files on their way to the control plane over HTTPS: one after the other, in parts that go on where they were cut off, at a limited pace."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx

from agent.backoff import Backoff
from agent.clock import Clock
from agent.download import bearer
from agent.pace import Pace, Speed
from wire.redact import redact

log = logging.getLogger(__name__)

IDLE_S = 60.0
TIMEOUT_S = 60.0
PART_BYTES = 256 * 1024
LEAST_PART_BYTES = 16 * 1024
PART_S = 10.0
"""A part takes about so long at a limited pace."""
REFUSED_CODES = frozenset({400, 403, 404, 409, 411, 413, 415, 422})
"""Answers after which the same upload will not be taken either."""
_HAD = re.compile(r"bytes=0-(\d{1,12})")


@dataclass(frozen=True)
class Parcel:
    """A file to be sent. `place`: below `/api/v1/device/`; `about`: the query."""

    id: str
    camera: str
    place: str
    path: Path
    size_bytes: int
    media_type: str
    about: tuple[tuple[str, str | float], ...] = ()


class Queue(Protocol):
    """Where parcels wait. `settle`: it is `done`, or `refused`."""

    on_waiting: Callable[[], None]

    def next(self) -> Parcel | None: ...
    def settle(self, parcel: Parcel, outcome: str) -> None: ...


class Uploads:
    """`run` sends what waits, for ever; the first queue goes first. `may_leave`: whether the policy of a camera, as it is now, lets its
    pictures reach the fleet; None where there is no such camera (any more)."""

    def __init__(
        self,
        queues: Sequence[Queue],
        client: httpx.AsyncClient,
        url: str,
        token: str,
        backoff: Callable[[], Backoff],
        clock: Clock,
        max_bytes_s: float,
        may_leave: Callable[[str], bool | None],
    ) -> None:
        self._queues = queues
        self._client = client
        self._address = f"{url.rstrip('/')}/api/v1/device"
        self._headers = bearer(token)
        self._backoff = backoff
        self._clock = clock
        self._speed = Speed(max_bytes_s, min_bytes_s=0.0)
        self._may_leave = may_leave
        self._wake = asyncio.Event()
        for queue in queues:
            queue.on_waiting = self._wake.set

    async def run(self) -> None:
        backoff = self._backoff()
        while True:
            queue, parcel = self._next()
            if queue is None or parcel is None:
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), IDLE_S)
                except asyncio.TimeoutError:
                    pass
                continue
            try:
                await self._carry(queue, parcel)
                backoff = self._backoff()
            except (httpx.HTTPError, OSError) as e:
                delay_s = backoff.next_s()
                why = redact(str(e) or type(e).__name__)
                log.warning(
                    "a picture or film cannot be uploaded",
                    extra={"upload": parcel.place, "cause": why, "retry_s": round(delay_s, 1)},
                )
                await asyncio.sleep(delay_s)

    def _next(self) -> tuple[Queue, Parcel] | tuple[None, None]:
        for queue in self._queues:
            if (parcel := queue.next()) is not None:
                return queue, parcel
        return None, None

    async def _carry(self, queue: Queue, parcel: Parcel) -> None:
        """:raises httpx.HTTPError, OSError: it may be tried again"""
        if not parcel.path.is_file() or self._may_leave(parcel.camera) is False:
            await asyncio.to_thread(queue.settle, parcel, "refused")
            return
        content = await asyncio.to_thread(parcel.path.read_bytes)
        status = await self._send(parcel, content)
        if status in REFUSED_CODES:
            log.error("an upload is refused", extra={"upload": parcel.place, "status": status})
        outcome = "refused" if status in REFUSED_CODES else "done"
        await asyncio.to_thread(queue.settle, parcel, outcome)
        if outcome == "done":
            log.info("uploaded", extra={"upload": parcel.place, "bytes": len(content)})

    async def _send(self, parcel: Parcel, content: bytes) -> int:
        """The status of the last answer."""
        part_bytes = self._part_bytes()
        if len(content) <= part_bytes:
            return (await self._put(parcel, content, "")).status_code
        answer = await self._put(parcel, b"", f"bytes */{len(content)}")
        if answer.status_code in (400, 422):  # a control plane that knows no parts
            return (await self._put(parcel, content, "")).status_code
        pace = Pace(self._speed, self._clock.mono())
        while answer.status_code == 202:
            start = _had(answer)
            part = content[start : start + part_bytes]
            span = f"bytes {start}-{start + len(part) - 1}/{len(content)}"
            answer = await self._put(parcel, part, span)
            if answer.status_code == 202 and _had(answer) <= start:
                raise httpx.RemoteProtocolError(f"{span} was not taken")
            await asyncio.sleep(pace.took(len(part), self._clock.mono()))
        return answer.status_code

    def _part_bytes(self) -> int:
        if not self._speed.max_bytes_s:
            return PART_BYTES
        return max(LEAST_PART_BYTES, min(PART_BYTES, int(self._speed.max_bytes_s * PART_S)))

    async def _put(self, parcel: Parcel, content: bytes, span: str) -> httpx.Response:
        headers = {**self._headers, "Content-Type": parcel.media_type}
        if span:
            headers["Content-Range"] = span
        answer = await self._client.put(
            f"{self._address}/{parcel.place}",
            params=dict(parcel.about),
            content=content,
            headers=headers,
            timeout=TIMEOUT_S,
        )
        if answer.status_code not in REFUSED_CODES:
            answer.raise_for_status()
        return answer


def _had(answer: httpx.Response) -> int:
    match = _HAD.fullmatch(answer.headers.get("range", ""))
    return int(match[1]) + 1 if match else 0
