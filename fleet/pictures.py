"""Pictures that devices have sent under their cameras' policies: with events, and for re-training. Who looks at one is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import and_, or_, select

from fleet import audit
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound
from fleet.event_pictures import Lifted
from fleet.events.filter import Filter
from fleet.objects import Objects
from fleet.picture_rows import PictureRow
from fleet.shelf import Shelf, digest_of
from wire import picture

SCAN_ROWS = 1000
MOST_EXAMINED = 20_000
Place = tuple[float, str, str]
"""Time of arrival, device, id: the order of lists."""


class Pictures(Shelf[PictureRow]):
    """`most_bytes`: of one device; `total_bytes`: of the fleet, 0 without a bound."""

    def __init__(
        self, database: Database, objects: Objects, clock: Clock, most_bytes: int, total_bytes: int
    ) -> None:
        super().__init__(PictureRow, database, objects, clock, most_bytes, total_bytes)
        self._grown: set[str] = set()

    async def keep_sample(self, device: str, key: str, packed: bytes) -> bool:
        """Keep a picture for re-training; False where it is there already.

        :raises wire.errors.Refused: it is none
        :raises Transient: the store does not serve
        """
        sample, content = picture.unpack(packed)
        row = PictureRow(
            device=device,
            id=key,
            camera=sample.camera,
            kind="sample",
            media_type=sample.media_type,
            taken_wall=sample.frame_wall,
            width=sample.width,
            height=sample.height,
            about=sample.about.to_json(),
        )
        return await self.put(row, content)

    async def store(self, lifted: Lifted) -> str:
        """Store the bytes of an event's picture, before a row names them; their digest.

        :raises Transient: the store does not serve
        """
        digest = digest_of(lifted.content)
        await self._objects.put(digest, lifted.content)
        return digest

    def grown(self, devices: set[str]) -> None:
        """These have more than before."""
        self._grown |= devices

    async def trim(self) -> None:
        """Let the oldest give way where there is too much."""
        grown, self._grown = self._grown, set()
        for device in sorted(grown):
            await self.forget_beyond(device)

    def page(
        self, wanted: Filter, kind: str | None, before: Place, limit: int
    ) -> tuple[list[PictureRow], Place | None]:
        """Newest first, after a place; and where to go on, None at the end."""
        found: list[PictureRow] = []
        with self._database.read() as session:
            for _ in range(MOST_EXAMINED // SCAN_ROWS):
                rows = session.scalars(_query(wanted, kind, before)).all()
                for row in rows:
                    before = (row.received_at, row.device, row.id)
                    if _meant(wanted, row):
                        found.append(row)
                        if len(found) == limit:
                            return found, before
                if len(rows) < SCAN_ROWS:
                    return found, None
        return found, before

    def watch(self, device: str, key: str, actor: str) -> PictureRow:
        """A picture somebody is about to see, which is recorded.

        :raises NotFound: there is none (any more)
        """
        row = self.find(device, key)
        if row is None:
            raise NotFound("picture", key[:40], "it may be older than pictures are kept")
        self.record([row], actor, "picture.watch")
        return row

    async def remove(self, device: str, key: str, actor: str) -> None:
        """Remove a picture for good, which is recorded; an event that names it stays.

        :raises NotFound: there is none (any more)
        """
        row = await asyncio.to_thread(self.find, device, key)
        if row is None:
            raise NotFound("picture", key[:40])
        await asyncio.to_thread(self.record, [row], actor, "picture.remove")
        await self.forget([row])

    def record(self, rows: Sequence[PictureRow], actor: str, action: str) -> None:
        """Write down that somebody has these."""
        at = self._clock.wall()
        with self._database.write() as session:
            for row in rows:
                audit.record(session, at, actor, action, f"{row.device}/{row.camera}/{row.id}")

    async def content(self, row: PictureRow) -> bytes:
        """:raises Transient: the store does not serve"""
        return b"".join([part async for part in self._objects.stream(row.digest, 0, row.size_bytes)])

    async def forget_all(self, days: float) -> int:
        """Everything past its time or bound; how many."""
        await self.trim()
        return await self.forget_old(days)

    async def rows(self, wanted: Filter, kind: str | None, start: Place, most: int) -> list[PictureRow]:
        """As many as are asked for, over all pages."""
        found: list[PictureRow] = []
        place: Place | None = start
        while place is not None and len(found) < most:
            some, place = await asyncio.to_thread(self.page, wanted, kind, place, min(500, most - len(found)))
            found += some
        return found


def _query(wanted: Filter, kind: str | None, before: Place) -> Any:
    at, device, key = before
    query = select(PictureRow).where(
        or_(
            PictureRow.received_at < at,
            and_(PictureRow.received_at == at, PictureRow.device < device),
            and_(PictureRow.received_at == at, PictureRow.device == device, PictureRow.id < key),
        )
    )
    if kind is not None:
        query = query.where(PictureRow.kind == kind)
    if (one := wanted.only_device) is not None:
        query = query.where(PictureRow.device == one)
    order = (PictureRow.received_at.desc(), PictureRow.device.desc(), PictureRow.id.desc())
    return query.order_by(*order).limit(SCAN_ROWS)


def _meant(wanted: Filter, row: PictureRow) -> bool:
    return (
        (wanted.devices is None or row.device in wanted.devices)
        and (wanted.camera is None or row.camera == wanted.camera)
        and (wanted.workflows is None or row.about.get("workflow") in wanted.workflows)
        and (wanted.since_wall is None or row.taken_wall >= wanted.since_wall)
        and (wanted.until_wall is None or row.taken_wall < wanted.until_wall)
    )
