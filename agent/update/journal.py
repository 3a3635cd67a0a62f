"""What this device has been told and what it runs, across every cut. Standard library only.

`revisions/<n>.json` holds a verified document as it came; the symbolic link `current` names the one that runs and is the only truth
of it. `journal.db` (synchronous=FULL) holds each revision's phase and reason, the starts it has had in its phase, the revisions that
were committed, and the digests in quarantine.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.files import DISK, Disk, make_directories, sweep, write_atomic
from agent.update import mending
from agent.update.current import Current
from wire.phase import TERMINAL, Phase

log = logging.getLogger(__name__)

KEPT_COMMITTED = 2
REMEMBERED = 200
"""Revisions whose outcome is remembered; the highest is always among them."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS revisions (
  revision INTEGER PRIMARY KEY, phase TEXT NOT NULL, reason TEXT, message TEXT, problems TEXT NOT NULL, at_wall REAL NOT NULL,
  starts INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS committed (n INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS quarantine (
  digest TEXT PRIMARY KEY, revision INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL, at_wall REAL NOT NULL);
"""
OLDER = "ALTER TABLE revisions ADD COLUMN starts INTEGER NOT NULL DEFAULT 0"
"""For a journal made before starts were counted."""


@dataclass(frozen=True)
class Document:
    """A revision as the executor sees it: its number and its content, JSON."""

    revision: int
    body: bytes

    def json(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def digests(self) -> frozenset[str]:
        """Every artifact it needs on the device."""
        return frozenset(digests_in(self.json()))


def digests_in(document: dict[str, Any]) -> Iterator[str]:
    """The digests of models, workflows and of the agent's release."""
    for kind in ("models", "workflows"):
        for entry in (document.get(kind) or {}).values():
            yield entry["digest"]
    if digest := (document.get("agent") or {}).get("digest"):
        yield digest


@dataclass(frozen=True)
class Outcome:
    """How far a revision has come. `starts`: how often the device has started with it in this phase."""

    revision: int
    phase: Phase
    reason: str | None = None
    message: str | None = None
    problems: tuple[dict[str, Any], ...] = ()
    starts: int = 0


@dataclass(frozen=True)
class Quarantined:
    """A digest that rolled back, and why."""

    digest: str
    revision: int
    reason: str
    message: str
    at_wall: float


Connect = Callable[[Path], sqlite3.Connection]


def connect(path: Path) -> sqlite3.Connection:
    """The database, its rollback journal kept: on a full disk a row can still be written over."""
    db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA journal_mode=PERSIST")
        db.execute("PRAGMA synchronous=FULL")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection) -> None:
    db.executescript(SCHEMA)
    if "starts" not in {row[1] for row in db.execute("PRAGMA table_info(revisions)")}:
        db.execute(OLDER)


class Journal:
    """Blocking, small: a call is a few milliseconds and happens a few times in an update. One process at a time."""

    def __init__(self, state_dir: Path, disk: Disk = DISK, *, connect: Connect = connect) -> None:
        self._dir = state_dir
        self._disk = disk
        self._current = Current(state_dir, disk)
        self._revisions = state_dir / "revisions"
        make_directories(self._revisions, disk=disk)
        self._file = state_dir / "journal.db"
        try:
            self._db = mending.opened(self._file, connect, _prepare, self.points_to())
        except mending.Damaged as e:
            log.error("the journal is damaged and is made anew", extra={"cause": str(e)})
            self._make_anew(connect)

    def _make_anew(self, connect: Connect) -> None:
        """From `current` and the documents; the damaged one is put aside."""
        held = mending.put_aside(self._file, self._disk)
        self._db = connect(self._file)
        _prepare(self._db)
        numbers = [int(path.stem) for path in self._revisions.glob("*.json") if path.stem.isdigit()]
        there = [number for number in numbers if self.document(number) is not None]
        revisions, committed = mending.rows_from(there, self.points_to())
        self._together(
            *(("INSERT INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?)", row) for row in revisions),
            *(("INSERT INTO committed (revision) VALUES (?)", row) for row in committed),
            *(("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)", row) for row in held),
        )

    def close(self) -> None:
        self._db.close()

    def sweep(self) -> None:
        """Delete what killed processes have left half-made."""
        for directory in (self._dir, self._revisions):
            sweep(directory, disk=self._disk)

    # --- documents ----------------------------------------------------------------------------------------------------

    def highest(self) -> int:
        """The highest revision accepted so far; 0 before the first.

        :raises OSError: it cannot be read
        """
        ((found,),) = self._execute("SELECT coalesce(max(revision), 0) FROM revisions")
        return int(found)

    def accept(self, document: Document, at_wall: float) -> None:
        """Keep a verified document; from here on lower revisions are refused.

        :raises OSError: no room
        """
        write_atomic(self._path(document.revision), document.body, 0o600, disk=self._disk)
        self.note(Outcome(document.revision, Phase.OFFERED), at_wall)

    def document(self, revision: int) -> Document | None:
        """A kept document; None where there is none that can be read."""
        return self._read(self._path(revision))

    def current(self) -> Document | None:
        """The document that runs; None before the first. Where it cannot be read, the newest committed one that can."""
        if (found := self._read(self._current.path)) is not None:
            return found
        if not os.path.lexists(self._current.path):
            return None
        return self.former(0)

    def points_to(self) -> int:
        """The revision that `current` names; 0 where it names none."""
        return self._current.names()

    def former(self, revision: int) -> Document | None:
        """The newest committed document that is not this one: what is gone back to."""
        for candidate in self._committed():
            if candidate != revision and (found := self.document(candidate)) is not None:
                return found
        return None

    def kept(self) -> list[Document]:
        """The documents whose artifacts stay on the device: the committed ones, newest first, and one under way."""
        found = [self.document(revision) for revision in self._committed()[:KEPT_COMMITTED]]
        return [document for document in (*found, self.current(), self.unfinished()) if document is not None]

    def forget(self) -> None:
        """Delete the documents and rows that nothing needs.

        :raises OSError: the disk fails
        """
        needed = {document.revision for document in self.kept()} | {self.highest()}
        for path in self._revisions.glob("*.json"):
            if path.stem.isdigit() and int(path.stem) not in needed:
                self._disk.remove(path)
        self._current.forget()
        oldest = f"SELECT revision FROM revisions ORDER BY revision DESC LIMIT -1 OFFSET {REMEMBERED}"
        self._execute(f"DELETE FROM revisions WHERE revision IN ({oldest})")
        self._execute(
            f"DELETE FROM committed WHERE n NOT IN (SELECT n FROM committed ORDER BY n DESC LIMIT {REMEMBERED})"
        )

    def _committed(self) -> list[int]:
        names = [n for (n,) in self._execute("SELECT revision FROM committed ORDER BY n DESC LIMIT 16")]
        return list(dict.fromkeys(names))

    # --- phases -------------------------------------------------------------------------------------------------------

    def note(self, outcome: Outcome, at_wall: float, quarantine: Iterable[str] = ()) -> None:
        """The row before each arrow of an update, its `starts` as they are given; with it, in one transaction, what is quarantined.

        :raises OSError: it cannot be written
        """
        row = (
            outcome.revision,
            outcome.phase.value,
            outcome.reason,
            outcome.message,
            json.dumps(outcome.problems),
            at_wall,
            outcome.starts,
        )
        held = (
            (digest, outcome.revision, outcome.reason or "", outcome.message or "", at_wall)
            for digest in sorted(quarantine)
        )
        self._together(
            ("INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?, ?, ?)", row),
            *(("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?)", entry) for entry in held),
        )

    def outcome(self, revision: int | None = None) -> Outcome | None:
        """How far a revision has come; the newest where none is named.

        :raises OSError: it cannot be read
        """
        which, values = ("WHERE revision = ?", (revision,)) if revision is not None else ("", ())
        rows = self._execute(
            f"SELECT revision, phase, reason, message, problems, starts FROM revisions {which} "
            "ORDER BY revision DESC LIMIT 1",
            values,
        )
        if not rows:
            return None
        row = rows[0]
        return Outcome(row[0], Phase(row[1]), row[2], row[3], tuple(json.loads(row[4])), row[5])

    def phase(self, revision: int) -> Phase | None:
        """:raises OSError: it cannot be read"""
        outcome = self.outcome(revision)
        return outcome.phase if outcome else None

    def under_way(self) -> Outcome | None:
        """The update that was cut before it came to an end, the one that may be live before others.

        :raises OSError: it cannot be read
        """
        ends = ", ".join(f"'{phase.value}'" for phase in TERMINAL)
        rows = self._execute(
            f"SELECT revision FROM revisions WHERE phase NOT IN ({ends}) ORDER BY "
            f"phase IN ('{Phase.SWAPPING.value}', '{Phase.PROBATION.value}', '{Phase.ROLLING_BACK.value}') DESC, "
            "revision DESC LIMIT 1"
        )
        return self.outcome(rows[0][0]) if rows else None

    def waiting(self, revision: int) -> list[int]:
        """Other revisions that have not come to an end, newest first."""
        ends = ", ".join(f"'{phase.value}'" for phase in TERMINAL)
        rows = self._execute(
            f"SELECT revision FROM revisions WHERE phase NOT IN ({ends}) AND revision != ? ORDER BY revision DESC",
            (revision,),
        )
        return [n for (n,) in rows]

    def unfinished(self) -> Document | None:
        """The document of the update under way."""
        outcome = self.under_way()
        return self.document(outcome.revision) if outcome else None

    def started(self, revision: int) -> None:
        """Count one more start of the device in this phase.

        :raises OSError: it cannot be written
        """
        self._execute("UPDATE revisions SET starts = starts + 1 WHERE revision = ?", (revision,))

    # --- what runs ----------------------------------------------------------------------------------------------------

    def aim(self, revision: int) -> None:
        """Make ready what `point` needs: to this revision, and back.

        :raises OSError: no room
        """
        self._current.aim(revision)

    def point(self, revision: int) -> None:
        """Have `current` name this revision: one rename, durable when this returns.

        :raises OSError: the disk fails; no room, where nobody has aimed
        """
        self._current.point(revision)

    def point_nowhere(self) -> None:
        """Nothing has been committed yet.

        :raises OSError: the disk fails
        """
        self._current.point_nowhere()

    def commit(self, revision: int, at_wall: float) -> None:
        """The end of a good update: it is one of the committed revisions, in one transaction.

        :raises OSError: no room
        """
        self._together(
            ("INSERT INTO committed (revision) VALUES (?)", (revision,)),
            (
                "UPDATE revisions SET phase = ?, reason = NULL, message = NULL, problems = '[]', starts = 0, at_wall = ? "
                "WHERE revision = ?",
                (Phase.COMMITTED.value, at_wall, revision),
            ),
        )

    # --- quarantine ---------------------------------------------------------------------------------------------------

    def quarantined(self) -> list[Quarantined]:
        """:raises OSError: it cannot be read"""
        rows = self._execute(
            "SELECT digest, revision, reason, message, at_wall FROM quarantine ORDER BY at_wall, digest"
        )
        return [Quarantined(*row) for row in rows]

    def clear_quarantine(self, digests: Iterable[str] | None = None) -> list[str]:
        """Let these digests in again, or all; a beginning of a digest will do where it is the only one. Those that were cleared.

        :raises OSError: it cannot be written
        """
        held = [entry.digest for entry in self.quarantined()]
        if digests is None:
            chosen = held
        else:
            chosen = [found for asked in digests if (found := _only(asked, held)) is not None]
        self._together(*(("DELETE FROM quarantine WHERE digest = ?", (digest,)) for digest in chosen))
        return chosen

    # --- the disk -----------------------------------------------------------------------------------------------------

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as e:
            raise OSError(f"journal {self._dir / 'journal.db'}: {e}") from e

    def _together(self, *statements: tuple[str, tuple[object, ...]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for statement, values in statements:
                    self._db.execute(statement, values)
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as e:
            raise OSError(f"journal {self._dir / 'journal.db'}: {e}") from e

    def _path(self, revision: int) -> Path:
        return self._revisions / f"{revision}.json"

    def _read(self, path: Path) -> Document | None:
        try:
            body = path.read_bytes()
            return Document(int(json.loads(body)["revision"]), body)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as e:
            log.error("a kept revision cannot be read", extra={"path": str(path), "cause": str(e)})
            return None


def _only(asked: str, held: list[str]) -> str | None:
    """The one digest that begins so, with or without `sha256:`."""
    found = [
        digest for digest in held if digest.startswith(asked) or digest.partition(":")[2].startswith(asked)
    ]
    return found[0] if len(found) == 1 else None
