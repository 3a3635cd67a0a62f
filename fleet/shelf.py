"""What devices have uploaded to be looked at (clips, pictures): rows that name objects, bounded in age and in bytes; the oldest give way."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.objects import Objects
from fleet.picture_rows import PictureRow
from fleet.tables import ClipRow, StoredObject

DAY_S = 86400.0
BATCH = 500

Kept = TypeVar("Kept", ClipRow, PictureRow)


class Shelf(Generic[Kept]):
    """`most_bytes`: of one device; `total_bytes`: of all of them, 0 without a bound."""

    def __init__(
        self,
        table: type[Kept],
        database: Database,
        objects: Objects,
        clock: Clock,
        most_bytes: int,
        total_bytes: int = 0,
    ) -> None:
        self._table: Any = table
        self._database = database
        self._objects = objects
        self._clock = clock
        self._most_bytes = most_bytes
        self._total_bytes = total_bytes

    async def put(self, row: Kept, content: bytes) -> bool:
        """Keep a row and its bytes; False where it is there already. `digest`, `size_bytes` and `received_at` are filled in.

        :raises Transient: the store does not serve
        """
        if await asyncio.to_thread(self.find, row.device, row.id) is not None:
            return False
        row.digest = digest_of(content)
        row.size_bytes, row.received_at = len(content), self._clock.wall()
        await self._objects.put(row.digest, content)
        await asyncio.to_thread(self._add, row)
        await self.forget(await asyncio.to_thread(self._beyond, row.device))
        return True

    def find(self, device: str, key: str) -> Kept | None:
        with self._database.read() as session:
            found: Kept | None = session.get(self._table, (device, key))
            return found

    async def forget_old(self, days: float) -> int:
        """Forget what is older, and the oldest of the whole fleet beyond its bound; how many."""
        until = self._clock.wall() - days * DAY_S
        gone = 0
        while rows := await asyncio.to_thread(self._rows, self._table.received_at < until):
            await self.forget(rows)
            gone += len(rows)
        while self._total_bytes and (rows := await asyncio.to_thread(self._too_many)):
            await self.forget(rows)
            gone += len(rows)
        return gone

    async def forget(self, rows: list[Kept]) -> None:
        for row in rows:
            if await asyncio.to_thread(self._delete, row):
                await self._objects.remove(row.digest)

    async def forget_beyond(self, device: str) -> None:
        """Forget the oldest of a device, as many as are too much."""
        await self.forget(await asyncio.to_thread(self._beyond, device))

    def _add(self, row: Kept) -> None:
        with self._database.write() as session:
            session.merge(row)

    def _rows(self, condition: ColumnElement[bool]) -> list[Kept]:
        with self._database.read() as session:
            return list(session.scalars(select(self._table).where(condition).limit(BATCH)))

    def _beyond(self, device: str) -> list[Kept]:
        sizes = select(self._table.id, self._table.size_bytes).where(self._table.device == device)
        total, excess = 0, []
        with self._database.read() as session:
            for key, size_bytes in session.execute(sizes.order_by(self._table.received_at.desc())):
                total += size_bytes
                if total > self._most_bytes:
                    excess.append(key)
            chosen = select(self._table).where(self._table.device == device, self._table.id.in_(excess))
            return list(session.scalars(chosen)) if excess else []

    def _too_many(self) -> list[Kept]:
        """The oldest of all, until the rest is within the bound; some at a time."""
        with self._database.read() as session:
            excess = int(session.scalar(select(func.sum(self._table.size_bytes))) or 0) - self._total_bytes
            rows = []
            if excess > 0:
                for row in session.scalars(
                    select(self._table).order_by(self._table.received_at).limit(BATCH)
                ):
                    if excess <= 0:
                        break
                    excess -= row.size_bytes
                    rows.append(row)
            return rows

    def _delete(self, row: Kept) -> bool:
        """True where nothing else has the same bytes."""
        with self._database.write() as session:
            if (found := session.get(self._table, (row.device, row.id))) is not None:
                session.delete(found)
                session.flush()
            return not _named(session, row.digest)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _named(session: Session, digest: str) -> bool:
    """Whether a clip, a picture or an artifact consists of these bytes. A device may upload what a package holds, too."""
    queries: list[Any] = [
        select(func.count()).select_from(table).where(table.digest == digest)
        for table in (ClipRow, PictureRow, StoredObject)
    ]
    return any(session.scalar(query) for query in queries)
