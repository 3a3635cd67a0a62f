"""A journal that is damaged: recognised, put aside, and made anew from what else is on disk. Standard library only.

What is known without it: `current` names what runs, and what lies in `revisions/` was verified when it came. So what runs counts as
committed, older documents as what was committed before it, and newer ones as refused: who wants them offers them again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.files import Disk
from wire.phase import Phase
from wire.reasons import Reason

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
LOST = "the device's journal was damaged and has been made anew; offer this again"
THE_DISK = ("is full", "is locked", "unable to open", "disk I/O error", "out of memory", "interrupted")
"""What SQLite says of the disk and of others that use the file, not of what is in it."""
DIGEST = re.compile(r"^sha256:[0-9a-f]{64}$")
TABLES = ("revisions", "committed", "quarantine")

Connect = Callable[[Path], sqlite3.Connection]
Held = list[tuple[Any, ...]]


class Damaged(Exception):
    """The file is no journal any more; the message says how that was seen."""


def opened(
    path: Path, connect: Connect, prepare: Callable[[sqlite3.Connection], None], least: int
) -> sqlite3.Connection:
    """The journal, whole. `least` is a revision that it must know of.

    :raises Damaged: it is not
    """
    db: sqlite3.Connection | None = None
    try:
        db = connect(path)
        _tables_as_they_were(db)
        prepare(db)
        with contextlib.closing(sqlite3.connect(":memory:")) as model:
            prepare(model)
            _check(db, model, least)
    except sqlite3.OperationalError as e:
        if _is_damage(str(e), path):
            _close(db)
            raise Damaged(str(e)) from e
        if db is None:
            raise
        log.error("the journal cannot be prepared", extra={"cause": str(e)})
    except (sqlite3.DatabaseError, ValueError, TypeError, KeyError, OverflowError) as e:
        _close(db)
        raise Damaged(f"{type(e).__name__}: {e}") from e
    assert db is not None
    return db


def _is_damage(words: str, path: Path) -> bool:
    """A full or failing disk is not; a header that asks for another format, or to be left alone, is."""
    if "readonly" in words:
        return os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY
    return not any(known in words for known in THE_DISK)


def _tables_as_they_were(db: sqlite3.Connection) -> None:
    """Before missing tables are made: a name that a flipped bit has changed must not pass for one that is not there yet."""
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    strange, missing = names - {*TABLES, "sqlite_sequence"}, set(TABLES) - names
    if strange and missing:
        raise ValueError(f"it has tables {sorted(map(str, strange))} and lacks {sorted(missing)}")


def _check(db: sqlite3.Connection, model: sqlite3.Connection, least: int) -> None:
    ((verdict,),) = db.execute("PRAGMA integrity_check(1)").fetchall()
    if verdict != "ok":
        raise ValueError(str(verdict))
    for table in TABLES:
        asked = f"PRAGMA table_info({table})"
        if db.execute(asked).fetchall() != model.execute(asked).fetchall():
            raise ValueError(f"table {table} has other columns")
    highest = 0
    for revision, phase, problems, starts in db.execute(
        "SELECT revision, phase, problems, starts FROM revisions"
    ):
        Phase(phase)
        tuple(json.loads(problems))
        highest = max(highest, revision + 0 * starts)
    for (revision,) in db.execute("SELECT revision FROM committed"):
        highest = max(highest, revision)
    for row in db.execute("SELECT digest, reason, message FROM quarantine"):
        "".join(row)
    db.execute("UPDATE revisions SET starts = starts WHERE revision < 0")  # it can be written to
    if highest < least:
        raise ValueError(f"it knows of revision {highest}, and {least} runs")


def put_aside(path: Path, disk: Disk) -> Held:
    """Rename the file, for who wants to look at it, and give what of the quarantine can still be read.

    :raises OSError: the disk fails
    """
    held: Held = []
    with (
        contextlib.suppress(sqlite3.Error, ValueError, OverflowError),
        contextlib.closing(_reader(path)) as db,
    ):
        for row in db.execute("SELECT digest, revision, reason, message, at_wall FROM quarantine"):
            if DIGEST.match(str(row[0])) and isinstance(row[1], int) and isinstance(row[4], float):
                held.append((row[0], row[1], str(row[2]), str(row[3]), row[4]))
    for name in (f"{path.name}-journal", f"{path.name}-wal", f"{path.name}-shm"):
        disk.remove(path.with_name(name))
    if path.exists():
        disk.replace(path, path.with_name(path.name + DAMAGED))
        disk.sync_directory(path.parent)
    return held


def rows_from(documents: Iterable[int], current: int) -> tuple[Held, Held]:
    """The rows of the tables `revisions` and `committed`, as far as documents and `current` tell. Pure."""
    revisions: Held = []
    committed: Held = []
    for revision in sorted({*documents, *([current] if current else [])}):
        if current and revision <= current:
            committed.append((revision,))
            revisions.append((revision, Phase.COMMITTED.value, None, None, "[]", 0.0, 0))
        else:
            revisions.append((revision, Phase.REJECTED.value, Reason.INTERNAL.value, LOST, "[]", 0.0, 0))
    return revisions, committed


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)


def _close(db: sqlite3.Connection | None) -> None:
    if db is not None:
        with contextlib.suppress(sqlite3.Error):
            db.close()
