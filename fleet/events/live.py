"""Events as they come, as server-sent events: each with its number, so that a reader that was cut off goes on where it was."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fleet.errors import FleetError, Transient
from fleet.events.filter import Filter
from fleet.events.log import EventLog
from fleet.tables import EventRow
from wire.reasons import Reason

MEDIA_TYPE = "text/event-stream"
PAGE = 200
POLL_S = 0.5
BEAT_S = 10.0
"""An empty message tells both sides that the other is there, and the reader how far it has come."""
RECHECK_S = 30.0
"""How often rights and labels are looked at anew."""
MOST_STREAMS = 200
RETRY_MS = 2000

Meant = Callable[[], Filter]
"""The filter as rights and labels are now; raises FleetError where the reader may not go on."""
Show = Callable[[Sequence[EventRow]], Sequence[Any]]
"""Rows as the API shows them."""


class Streams:
    """How many readers there are, bounded."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self.open = 0
        self.going = True

    def end(self) -> None:
        """Every reader is told goodbye: the process ends."""
        self.going = False

    @contextmanager
    def taking(self) -> Iterator[None]:
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    def check(self) -> None:
        """:raises Transient: too many read already"""
        if self.open >= self._most:
            raise Transient(
                Reason.TOO_MANY_STREAMS, f"{self.open} streams are open; at most {self._most} may be"
            )


async def follow(log: EventLog, meant: Meant, show: Show, row: int, streams: Streams) -> AsyncIterator[bytes]:
    """What arrives after a row, until the reader goes or may not go on, or this process ends."""
    loop = asyncio.get_running_loop()
    wanted = await asyncio.to_thread(meant)
    checked_mono = told_mono = loop.time()
    yield f"retry: {RETRY_MS}\nid: {row}\n\n".encode()
    while streams.going:
        if loop.time() - checked_mono > RECHECK_S:
            try:
                wanted = await asyncio.to_thread(meant)
            except FleetError as e:
                yield message("end", {"reason": e.reason.value, "detail": str(e)})
                return
            checked_mono = loop.time()
        if await asyncio.to_thread(log.newest_row) > row:
            found = await asyncio.to_thread(log.after, wanted, row, PAGE)
            row = found.reached
            for view in await asyncio.to_thread(show, found.rows):
                yield message("event", view, view["cursor"])
                told_mono = loop.time()
            if not found.end:
                continue
        if loop.time() - told_mono > BEAT_S:
            yield f"id: {row}\n\n".encode()
            told_mono = loop.time()
        await asyncio.sleep(POLL_S)


def message(kind: str, value: Any, number: int | None = None) -> bytes:
    """One server-sent event (HTML Living Standard, 9.2)."""
    place = f"id: {number}\n" if number is not None else ""
    return f"{place}event: {kind}\ndata: {json.dumps(value, separators=(',', ':'))}\n\n".encode()
