"""Clips that devices have uploaded: films of their cameras, for as long as events are kept, bounded for each device."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from sqlalchemy import select

from fleet import audit
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.objects import Objects
from fleet.shelf import Shelf
from fleet.tables import ClipRow
from wire.reasons import Reason

log = logging.getLogger(__name__)

FILMS = {"video/webm": b"\x1a\x45\xdf\xa3"}
"""Media types that are taken, and how such a file begins."""


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


class Clips(Shelf[ClipRow]):
    """`most_bytes`: of one device; its oldest give way."""

    def __init__(self, database: Database, objects: Objects, clock: Clock, most_bytes: int) -> None:
        super().__init__(ClipRow, database, objects, clock, most_bytes)

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
        return await self.put(ClipRow(device=device, id=clip_id, **vars(about)), content)

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
        row = self.find(device, clip_id)
        if row is None:
            raise NotFound("clip", clip_id[:40], "it may still be on its way, or older than events are kept")
        with self._database.write() as session:
            audit.record(session, self._clock.wall(), actor, "clip.watch", f"{device}/{row.camera}/{clip_id}")
        return row
