"""Clips that devices have uploaded: films of their cameras, for as long as events are kept, bounded for each device."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from fleet import audit
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.objects import Objects
from fleet.tables import ClipRow
from wire.reasons import Reason

log = logging.getLogger(__name__)

DAY_S = 86400.0
FILMS = {"video/webm": b"\x1a\x45\xdf\xa3"}
"""Media types that are taken, and how such a file begins."""
BATCH = 500


@dataclass(frozen=True)
class About:
    """What a device says of a clip. Times are its own, since the epoch."""

    camera: str
    media_type: str
    from_wall: float
    to_wall: float
    frames: int
    width: int
    height: int


class Clips:
    """`most_bytes`: of one device; its oldest give way."""

    def __init__(self, database: Database, objects: Objects, clock: Clock, most_bytes: int) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._most_bytes = most_bytes

    async def keep(self, device: str, clip_id: str, about: About, content: bytes) -> bool:
        """Keep an upload; False where it is there already.

        :raises Refused: it is no film of a known kind
        :raises Transient: the store does not serve
        """
        begins = FILMS.get(about.media_type)
        if begins is None or not content.startswith(begins):
            raise Refused(
                Reason.INVALID_FIELD,
                f"clip {clip_id} is no {about.media_type[:40]!r} that is taken; expected {sorted(FILMS)}",
            )
        if await asyncio.to_thread(self._find, device, clip_id) is not None:
            return False
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        await self._objects.put(digest, content)
        row = ClipRow(
            device=device,
            id=clip_id,
            received_at=self._clock.wall(),
            digest=digest,
            size_bytes=len(content),
            **vars(about),
        )
        await asyncio.to_thread(self._add, row)
        await self._forget(await asyncio.to_thread(self._beyond, device))
        return True

    def newest(self, device: str, limit: int, before: tuple[float, str]) -> list[ClipRow]:
        """Newest first, those that came before this time and id."""
        received_at, clip_id = before
        older = (ClipRow.received_at < received_at) | (
            (ClipRow.received_at == received_at) & (ClipRow.id < clip_id)
        )
        query = select(ClipRow).where(ClipRow.device == device).where(older)
        query = query.order_by(ClipRow.received_at.desc(), ClipRow.id.desc()).limit(limit)
        with self._database.read() as session:
            return list(session.scalars(query))

    def watch(self, device: str, clip_id: str, actor: str) -> ClipRow:
        """A clip somebody is about to see, which is recorded.

        :raises NotFound: there is none (any more)
        """
        row = self._find(device, clip_id)
        if row is None:
            raise NotFound("clip", clip_id[:40], "it may still be on its way, or older than events are kept")
        with self._database.write() as session:
            audit.record(session, self._clock.wall(), actor, "clip.watch", f"{device}/{row.camera}/{clip_id}")
        return row

    async def forget_old(self, days: float) -> int:
        """Forget what is older; how many."""
        until = self._clock.wall() - days * DAY_S
        gone = await asyncio.to_thread(self._rows, ClipRow.received_at < until)
        await self._forget(gone)
        return len(gone)

    def _find(self, device: str, clip_id: str) -> ClipRow | None:
        with self._database.read() as session:
            return session.get(ClipRow, (device, clip_id))

    def _add(self, row: ClipRow) -> None:
        with self._database.write() as session:
            session.merge(row)

    def _rows(self, condition: Any) -> list[ClipRow]:
        with self._database.read() as session:
            return list(session.scalars(select(ClipRow).where(condition).limit(BATCH)))

    def _beyond(self, device: str) -> list[ClipRow]:
        """The oldest of a device, as many as are too much."""
        query = select(ClipRow).where(ClipRow.device == device).order_by(ClipRow.received_at.desc())
        total, excess = 0, []
        with self._database.read() as session:
            for row in session.scalars(query):
                total += row.size_bytes
                if total > self._most_bytes:
                    excess.append(row)
        return excess

    async def _forget(self, rows: list[ClipRow]) -> None:
        for row in rows:
            if await asyncio.to_thread(self._delete, row):
                await self._objects.remove(row.digest)

    def _delete(self, row: ClipRow) -> bool:
        """True where no other clip has the same bytes."""
        with self._database.write() as session:
            if (found := session.get(ClipRow, (row.device, row.id))) is not None:
                session.delete(found)
                session.flush()
            same = select(func.count()).select_from(ClipRow).where(ClipRow.digest == row.digest)
            return not session.scalar(same)
