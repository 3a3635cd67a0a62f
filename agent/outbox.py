"""The outbox: what must not be lost waits in SQLite from its commit until the broker has acknowledged it.

One thread of its own owns the database; the event loop hands it operations and gets futures. Operations are committed in
groups, at most `commit_s` after the first of them, and reach the disk `sync_s` after that at the latest: SIGKILL loses nothing
that was acknowledged, a power cut about the last second (WAL, synchronous=NORMAL), and flash is spared. Full, it drops the oldest
telemetry first, then the oldest events and responses, never state, and counts what it dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agent.clock import Clock
from agent.errors import Degraded
from agent.wal_sync import WalSync
from wire.reasons import Reason

log = logging.getLogger(__name__)
T = TypeVar("T")

COMMIT_S = 0.2
SYNC_S = 1.0
BATCH = 512
"""Operations in one transaction."""
MAX_WAITING = 20_000
"""Operations waiting for the thread; more means that the disk has stopped."""
ROW_BYTES = 120
"""What a row costs beside topic and payload, roughly."""
JOIN_S = 10.0
PRUNE_S = 60.0

SCHEMA = """
CREATE TABLE IF NOT EXISTS rows (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind INTEGER NOT NULL, topic TEXT NOT NULL,
  payload BLOB NOT NULL, retain INTEGER NOT NULL, at_wall REAL NOT NULL, until_wall REAL, bytes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS rows_in_order ON rows (kind, n);
CREATE TABLE IF NOT EXISTS dropped (kind INTEGER PRIMARY KEY, count INTEGER NOT NULL);
"""


class Kind(enum.IntEnum):
    """What a row is; rows go out in this order, within a kind oldest first."""

    STATE = 0
    RESPONSE = 1
    EVENT = 2
    TELEMETRY = 3
    MESSAGE = 4
    """What workflows publish."""


@dataclass(frozen=True)
class Row:
    """A message that waits. `n` orders rows by age."""

    n: int
    kind: Kind
    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True)
class Figures:
    """What waits, and what was dropped by kind since the database was made."""

    rows: int
    bytes: int
    dropped: dict[str, int]


@dataclass
class _Operation:
    run: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    hurry: bool


class Outbox:
    """To be used from one event loop; `start` before, `close` after. `on_added` is called on the loop after a commit."""

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int,
        max_age_s: float,
        clock: Clock,
        commit_s: float = COMMIT_S,
        sync_s: float = SYNC_S,
    ) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._clock = clock
        self._commit_s = commit_s
        self._sync = WalSync(path, sync_s, time.monotonic)
        self._waiting: queue.Queue[_Operation | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._ready: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bytes = 0
        self._rows = 0
        self._dropped: dict[str, int] = {}
        self._next_prune_mono = 0.0
        self._cause: Exception | None = None
        self.on_added: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Open the database; one that is damaged is put aside and a new one begun.

        Where it cannot be opened just now (a full or failing disk), that is tried again with every operation, and until
        then operations fail: cameras must not depend on it.

        :raises OSError: the damaged database cannot be put aside
        :raises sqlite3.Error: no database can be made in its place
        """
        self._loop = asyncio.get_running_loop()
        self._ready = self._loop.create_future()
        self._thread.start()
        await self._ready

    async def close(self) -> None:
        """Commit what waits and end the thread."""
        if self._thread.is_alive():
            with contextlib.suppress(queue.Full):
                await asyncio.to_thread(self._waiting.put, None, True, JOIN_S)
            await asyncio.to_thread(self._thread.join, JOIN_S)

    def figures(self) -> Figures:
        return Figures(self._rows, self._bytes, dict(self._dropped))

    def add(
        self,
        kind: Kind,
        row_id: str,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        until_wall: float | None = None,
        keep_latest: int | None = None,
    ) -> asyncio.Future[bool]:
        """Keep a message; the future is done once it is committed, True if its id was new.

        `until_wall`: drop it after that time. `keep_latest`: of this topic only so many rows stay, the newest.

        :raises Degraded: the disk has stopped; the message is not kept
        """
        at_wall = self._clock.wall()
        size = len(payload) + len(topic) + ROW_BYTES

        def run(db: sqlite3.Connection) -> bool:
            values = (row_id, int(kind), topic, payload, retain, at_wall, until_wall, size)
            cursor = db.execute(
                "INSERT OR IGNORE INTO rows (id, kind, topic, payload, retain, at_wall, until_wall, bytes) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            if cursor.rowcount <= 0:
                return False
            self._rows += 1
            self._bytes += size
            if keep_latest is not None:
                newest = "SELECT n FROM rows WHERE topic = ? ORDER BY n DESC LIMIT ?"
                where = f"topic = ? AND n NOT IN ({newest})"
                self._delete(db, where, (topic, topic, keep_latest))
            return True

        return self._submit(run, hurry=False)

    def peek(
        self, limit: int, *, without: Iterable[int] = (), kinds: Iterable[Kind] = tuple(Kind)
    ) -> asyncio.Future[list[Row]]:
        """The next rows to send, but for those numbers."""
        excluded = ",".join(str(int(n)) for n in without)
        wanted = ",".join(str(int(kind)) for kind in kinds)

        def run(db: sqlite3.Connection) -> list[Row]:
            found = db.execute(
                f"SELECT n, kind, topic, payload, retain FROM rows WHERE kind IN ({wanted}) "
                f"AND n NOT IN ({excluded}) ORDER BY kind, n LIMIT ?",
                (limit,),
            )
            return [
                Row(n, Kind(kind), topic, payload, bool(retain)) for n, kind, topic, payload, retain in found
            ]

        return self._submit(run, hurry=True)

    def count(self, kind: Kind) -> asyncio.Future[int]:
        """How many rows of a kind wait, those counted that were added just before and are not committed yet."""
        query = "SELECT count(*) FROM rows WHERE kind = ?"
        return self._submit(lambda db: int(db.execute(query, (int(kind),)).fetchone()[0]), hurry=True)

    def remove(self, numbers: Iterable[int]) -> asyncio.Future[int]:
        """Forget rows that have been delivered; done once committed."""
        listed = ",".join(str(int(n)) for n in numbers)
        return self._submit(lambda db: self._delete(db, f"n IN ({listed})", ()), hurry=False)

    def prune(self) -> asyncio.Future[int]:
        """Drop what is too old, and what is over the limit of bytes; the number of rows dropped."""
        return self._submit(self._prune, hurry=True)

    def _submit(self, run: Callable[[sqlite3.Connection], T], *, hurry: bool) -> asyncio.Future[T]:
        if self._loop is None:
            raise Degraded(Reason.INTERNAL, "the outbox has not been started")
        future: asyncio.Future[T] = self._loop.create_future()
        try:
            self._waiting.put_nowait(_Operation(run, future, hurry))
        except queue.Full:
            raise Degraded(
                Reason.DISK_FULL, f"the outbox has {MAX_WAITING} operations waiting: the disk has stopped"
            ) from None
        return future

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        assert self._ready is not None
        try:
            db = self._open()
        except (sqlite3.Error, OSError) as e:
            self._resolve([(self._ready, None, e)])
            return
        self._resolve([(self._ready, None, None)])
        ended = False
        while not ended:
            batch, ended = self._batch()
            try:
                db = db or self._open()
            except (sqlite3.Error, OSError) as e:
                self._fail(batch, e)
                continue
            if db is None:
                self._fail(batch, self._cause)
            else:
                self._run_batch(db, batch)
        if db is not None:
            db.close()

    def _batch(self) -> tuple[list[_Operation], bool]:
        """The operations of the next transaction: waits for the first, then `commit_s` for more, unless one is in a hurry."""
        first = self._next()
        if first is None:
            return [], True
        batch = [first]
        deadline_mono = time.monotonic() + self._commit_s
        while len(batch) < BATCH:
            hurry = any(operation.hurry for operation in batch[-1:])
            left_s = 0.0 if hurry else deadline_mono - time.monotonic()
            try:
                following = self._waiting.get(timeout=left_s) if left_s > 0 else self._waiting.get_nowait()
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False

    def _next(self) -> _Operation | None:
        """The next operation; meanwhile what was committed is synced when it is time."""
        while (left_s := self._sync.left_s()) is not None:
            try:
                return self._waiting.get(timeout=left_s)
            except queue.Empty:
                self._sync.sync()
        return self._waiting.get()

    def _run_batch(self, db: sqlite3.Connection, batch: list[_Operation]) -> None:
        before, changes = self._rows, db.total_changes
        done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        try:
            db.execute("BEGIN")
            done = [(operation.future, operation.run(db), None) for operation in batch]
            if self._bytes > self._max_bytes or time.monotonic() > self._next_prune_mono:
                self._next_prune_mono = time.monotonic() + PRUNE_S
                self._prune(db)
            db.execute("COMMIT")
            self._sync.committed(db.total_changes > changes)
        except sqlite3.Error as e:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error):
                self._count(db)
            self._fail(batch, e)
            return
        self._cause = None
        self._resolve(done, added=self._rows > before or any(value is True for _, value, _ in done))

    def _fail(self, batch: list[_Operation], cause: Exception | None) -> None:
        if cause is not None and str(cause) != str(self._cause):
            log.error("outbox cannot be written", extra={"cause": str(cause)})
        self._cause = cause
        self._resolve(
            [(operation.future, None, Degraded(Reason.DISK_FULL, f"outbox: {cause}")) for operation in batch]
        )

    def _resolve(
        self, done: list[tuple[asyncio.Future[Any], Any, BaseException | None]], added: bool = False
    ) -> None:
        def settle() -> None:
            for future, value, error in done:
                if future.done():
                    continue
                if error is None:
                    future.set_result(value)
                else:
                    future.set_exception(error)
            if added:
                self.on_added()

        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(settle)

    def _open(self) -> sqlite3.Connection | None:
        """The database; None where it cannot be opened just now."""
        try:
            return self._connect()
        except sqlite3.OperationalError as e:
            # The disk is full or fails; what the database holds is as good as before.
            if str(e) != str(self._cause):
                log.error("outbox cannot be opened", extra={"cause": str(e)})
            self._cause = e
            return None
        except sqlite3.DatabaseError as e:
            aside = self._path.with_name(f"{self._path.name}.damaged")
            log.error("outbox was damaged; a new one is begun", extra={"cause": str(e), "kept": str(aside)})
            self._path.replace(aside)
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            db.execute("PRAGMA cache_size=-1024")
            db.executescript(SCHEMA)
            self._count(db)
        except sqlite3.Error:
            db.close()
            raise
        return db

    def _count(self, db: sqlite3.Connection) -> None:
        self._rows, self._bytes = db.execute("SELECT count(*), coalesce(sum(bytes), 0) FROM rows").fetchone()
        self._dropped = {
            Kind(kind).name.lower(): count for kind, count in db.execute("SELECT kind, count FROM dropped")
        }

    def _delete(self, db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> int:
        sizes = db.execute(f"DELETE FROM rows WHERE {where} RETURNING bytes", values).fetchall()
        self._rows -= len(sizes)
        self._bytes -= sum(size for (size,) in sizes)
        return len(sizes)

    # --- dropping -----------------------------------------------------------------------------------------------------

    def _prune(self, db: sqlite3.Connection) -> int:
        wall = self._clock.wall()
        total = 0
        for kind in (Kind.TELEMETRY, Kind.MESSAGE, Kind.EVENT, Kind.RESPONSE):
            old = f"kind = {int(kind)} AND (at_wall < ? OR until_wall < ?)"
            dropped = self._delete(db, old, (wall - self._max_age_s, wall))
            dropped += self._shrink(db, kind)
            self._note(db, kind, dropped)
            total += dropped
        return total

    def _shrink(self, db: sqlite3.Connection, kind: Kind) -> int:
        """Delete the oldest rows of a kind until the rest fits, with a sixteenth to spare."""
        dropped = 0
        target = self._max_bytes - self._max_bytes // 16 if self._bytes > self._max_bytes else self._bytes
        while self._bytes > target:
            oldest = f"n IN (SELECT n FROM rows WHERE kind = {int(kind)} ORDER BY n LIMIT 64)"
            count = self._delete(db, oldest, ())
            if not count:
                break
            dropped += count
        return dropped

    def _note(self, db: sqlite3.Connection, kind: Kind, count: int) -> None:
        if not count:
            return
        name = kind.name.lower()
        self._dropped[name] = self._dropped.get(name, 0) + count
        db.execute(
            "INSERT INTO dropped VALUES (?, ?) ON CONFLICT (kind) DO UPDATE SET count = count + excluded.count",
            (int(kind), count),
        )
        log.warning("outbox dropped messages", extra={"kind": name, "rows": count})
