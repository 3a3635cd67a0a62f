"""What this device has been told and what it runs, across every cut.

`revisions/<n>.json` holds a verified document; the symbolic link `current` names the one that runs and is the only truth of
it. `journal.db` (synchronous=FULL) holds each revision's phase and reason, and the highest revision seen, so that an old
document is refused after a restart too.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.files import DISK, Disk, link_atomic, make_directories, write_atomic
from wire.desired import Desired
from wire.doc import read
from wire.errors import Refused
from wire.reported import Phase

log = logging.getLogger(__name__)

KEPT_COMMITTED = 2
TERMINAL = frozenset({Phase.COMMITTED, Phase.REJECTED, Phase.ROLLED_BACK})
"""Phases that end an update; in any other one it is taken up again after a restart."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS revisions (
  revision INTEGER PRIMARY KEY, phase TEXT NOT NULL, reason TEXT, message TEXT, problems TEXT NOT NULL, at_wall REAL NOT NULL);
CREATE TABLE IF NOT EXISTS committed (n INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Outcome:
    """How far a revision has come."""

    revision: int
    phase: Phase
    reason: str | None = None
    message: str | None = None
    problems: tuple[dict[str, Any], ...] = ()


class Journal:
    """Blocking, small: a call is a few milliseconds and happens a few times in an update."""

    def __init__(self, state_dir: Path, disk: Disk = DISK) -> None:
        self._dir = state_dir
        self._disk = disk
        self._revisions = state_dir / "revisions"
        make_directories(self._revisions, disk=disk)
        self._db = sqlite3.connect(state_dir / "journal.db", isolation_level=None)
        self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        self._db.close()

    def highest(self) -> int:
        """The highest revision accepted so far; 0 before the first.

        :raises OSError: it cannot be read
        """
        ((found,),) = self._execute("SELECT coalesce(max(revision), 0) FROM revisions")
        return int(found)

    def accept(self, desired: Desired, at_wall: float) -> None:
        """Keep a verified document; from here on lower revisions are refused.

        :raises OSError: no room
        """
        self._write(desired)
        self.note(Outcome(desired.revision, Phase.OFFERED), at_wall)

    def note(self, outcome: Outcome, at_wall: float) -> None:
        """The row before each arrow of an update.

        :raises OSError: it cannot be written
        """
        self._execute(
            "INSERT OR REPLACE INTO revisions VALUES (?, ?, ?, ?, ?, ?)",
            (
                outcome.revision,
                outcome.phase.value,
                outcome.reason,
                outcome.message,
                json.dumps(outcome.problems),
                at_wall,
            ),
        )

    def outcome(self) -> Outcome | None:
        """How far the newest revision has come."""
        rows = self._execute(
            "SELECT revision, phase, reason, message, problems FROM revisions ORDER BY revision DESC LIMIT 1"
        )
        if not rows:
            return None
        row = rows[0]
        return Outcome(row[0], Phase(row[1]), row[2], row[3], tuple(json.loads(row[4])))

    def unfinished(self) -> Desired | None:
        """The newest document, where its update was cut before it came to an end."""
        outcome = self.outcome()
        if outcome is None or outcome.phase in TERMINAL:
            return None
        return self._read(self._path(outcome.revision))

    def current(self) -> Desired | None:
        """The document that runs; None before the first commit."""
        return self._read(self._dir / "current")

    def set_current(self, revision: int) -> None:
        """The commit: one rename, durable when this returns.

        :raises OSError: no room
        """
        self._execute("INSERT INTO committed (revision) VALUES (?)", (revision,))
        link_atomic(self._dir / "current", f"revisions/{revision}.json", disk=self._disk)

    def kept(self) -> list[Desired]:
        """The documents whose artifacts stay on the device: the committed ones, newest first, and one under way."""
        names = [n for (n,) in self._execute("SELECT revision FROM committed ORDER BY n DESC LIMIT 16")]
        distinct = list(dict.fromkeys(names))[:KEPT_COMMITTED]
        found = [self._read(self._path(revision)) for revision in distinct]
        return [document for document in (*found, self.current(), self.unfinished()) if document is not None]

    def forget(self) -> None:
        """Delete the documents that nothing needs."""
        needed = {document.revision for document in self.kept()} | {self.highest()}
        for path in self._revisions.glob("*.json"):
            if path.stem.isdigit() and int(path.stem) not in needed:
                self._disk.remove(path)

    def _execute(self, statement: str, values: tuple[object, ...] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as e:
            raise OSError(f"journal {self._dir / 'journal.db'}: {e}") from e

    def _path(self, revision: int) -> Path:
        return self._revisions / f"{revision}.json"

    def _write(self, desired: Desired) -> None:
        content = json.dumps(desired.to_json()).encode()
        write_atomic(self._path(desired.revision), content, 0o600, disk=self._disk)

    def _read(self, path: Path) -> Desired | None:
        try:
            return read(Desired, json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, Refused) as e:
            log.error("a kept revision cannot be read", extra={"path": str(path), "cause": str(e)})
            return None
