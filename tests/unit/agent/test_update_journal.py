"""The journal: what is remembered across a restart, what is kept, what is quarantined."""

from __future__ import annotations

import errno
import json
import sqlite3
from pathlib import Path

import pytest

from agent.files import SystemDisk
from agent.update.journal import Document, Journal, Outcome
from wire.phase import Phase


def document(revision: int, *models: str) -> Document:
    body = {"revision": revision, "models": {f"m{i}": {"digest": digest} for i, digest in enumerate(models)}}
    return Document(revision, json.dumps(body).encode())


def committed(journal: Journal, *revisions: int) -> None:
    for revision in revisions:
        journal.accept(document(revision), 0.0)
        journal.point(revision)
        journal.commit(revision, 0.0)


def test_it_remembers_across_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert (journal.highest(), journal.current(), journal.outcome()) == (0, None, None)
    journal.accept(document(7), 1.0)
    journal.note(Outcome(7, Phase.FETCHING), 2.0)
    journal.close()
    again = Journal(tmp_path)
    assert (again.highest(), again.unfinished()) == (7, document(7))
    again.point(7)
    again.commit(7, 3.0)
    assert again.unfinished() is None
    assert again.current() == document(7)
    again.close()


def test_it_keeps_two_committed_revisions_and_forgets_the_rest(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    committed(journal, 1, 2, 3)
    journal.accept(document(4), 0.0)
    journal.note(Outcome(4, Phase.REJECTED, "expired", "m", ({"path": "x"},)), 0.0)
    journal.forget()
    assert sorted(path.stem for path in (tmp_path / "revisions").glob("*.json")) == ["2", "3", "4"]
    assert [kept.revision for kept in journal.kept()][:2] == [3, 2]
    outcome = journal.outcome()
    assert outcome is not None
    assert outcome.problems == ({"path": "x"},)
    journal.close()


def test_a_current_that_cannot_be_read_gives_way_to_the_newest_committed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    committed(journal, 1, 2)
    (tmp_path / "revisions/2.json").write_bytes(b'{"revision": ')
    assert journal.current() == document(1)
    journal.close()


def test_what_may_be_live_is_under_way_before_what_is_newer(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for revision, phase in ((1, Phase.PROBATION), (2, Phase.OFFERED), (3, Phase.OFFERED)):
        journal.accept(document(revision), 0.0)
        journal.note(Outcome(revision, phase), 0.0)
    under_way = journal.under_way()
    assert under_way is not None
    assert (under_way.revision, journal.waiting(1)) == (1, [3, 2])
    journal.close()


def test_starts_are_counted_until_the_next_row(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.accept(document(1), 0.0)
    journal.started(1)
    journal.started(1)
    assert journal.under_way() == Outcome(1, Phase.OFFERED, starts=2)
    journal.note(Outcome(1, Phase.PROBATION), 0.0)
    assert journal.under_way() == Outcome(1, Phase.PROBATION, starts=0)
    journal.close()


def test_a_quarantine_lasts_until_it_is_cleared(tmp_path: Path) -> None:
    one, two = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    journal = Journal(tmp_path)
    journal.note(Outcome(5, Phase.ROLLING_BACK, "probation-failed", "gate x"), 9.0, quarantine=[one, two])
    journal.close()
    again = Journal(tmp_path)
    assert [(entry.digest, entry.revision, entry.message) for entry in again.quarantined()] == [
        (one, 5, "gate x"),
        (two, 5, "gate x"),
    ]
    assert again.clear_quarantine(["1111", "nothing"]) == [one]
    assert again.clear_quarantine(None) == [two]
    assert again.quarantined() == []
    again.close()


def test_a_journal_of_the_version_before_is_read(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    db.executescript(
        "CREATE TABLE revisions (revision INTEGER PRIMARY KEY, phase TEXT NOT NULL, reason TEXT, message TEXT, "
        "problems TEXT NOT NULL, at_wall REAL NOT NULL); "
        "CREATE TABLE committed (n INTEGER PRIMARY KEY AUTOINCREMENT, revision INTEGER NOT NULL); "
        "INSERT INTO revisions VALUES (3, 'COMMITTED', NULL, NULL, '[]', 1.0); INSERT INTO committed (revision) VALUES (3);"
    )
    db.close()
    journal = Journal(tmp_path)
    assert journal.outcome() == Outcome(3, Phase.COMMITTED)
    committed(journal, 4)
    assert journal.points_to() == 4
    journal.close()


def test_a_journal_that_cannot_be_read_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    with pytest.raises(OSError, match="journal"):
        journal.highest()


def test_once_aimed_the_switch_and_the_way_back_are_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a disk without room for another name takes them too."""
    disk = SystemDisk()
    journal = Journal(tmp_path, disk)
    for revision in (1, 2):
        journal.accept(Document(revision, json.dumps({"revision": revision}).encode()), 1.0)
    journal.point(1)
    journal.aim(2)

    def no_room(link: Path, target: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "symlink", no_room)
    journal.point(2)
    assert journal.points_to() == 2
    journal.point(1)
    assert journal.points_to() == 1
    with pytest.raises(OSError, match="No space"):
        journal.point(2)
    journal.close()
