"""A damaged journal never keeps a device from what it runs: it is recognised, put aside, and made anew."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.update.journal import Document, Journal, Outcome
from wire.phase import TERMINAL, Phase

HELD = "sha256:" + "9" * 64
AGES = {1: Phase.COMMITTED, 2: Phase.COMMITTED, 3: Phase.FETCHING}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two committed revisions, the second runs, a third is on its way, one digest in quarantine."""
    journal = Journal(tmp_path)
    for revision, phase in AGES.items():
        body = json.dumps({"device": "d", "revision": revision, "models": {}}).encode()
        journal.accept(Document(revision, body), 1.0)
        if phase is Phase.COMMITTED:
            journal.point(revision)
            journal.commit(revision, 1.0)
        else:
            journal.note(Outcome(revision, phase), 1.0, quarantine=[HELD])
    journal.close()
    return tmp_path


def damage(path: Path, change: Callable[[bytearray], object]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def is_whole(state_dir: Path) -> Journal:
    """What an agent does with it at its start and in an update."""
    journal = Journal(state_dir)
    current, former = journal.current(), journal.former(2)
    assert (current and current.revision, former and former.revision) == (2, 1)
    outcome = journal.outcome()
    assert outcome is not None
    assert journal.highest() >= 2
    assert [document.revision for document in journal.kept()][:2] == [2, 1]
    journal.under_way()
    journal.quarantined()
    journal.accept(Document(9, b'{"revision": 9}'), 1.0)
    journal.note(Outcome(9, Phase.REJECTED), 1.0)
    journal.forget()
    assert journal.highest() == 9
    return journal


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.clear(),
        lambda content: content.__setitem__(slice(0, 16), b"no SQLite at all"),
        lambda content: content.__delitem__(slice(len(content) // 2, None)),
        lambda content: content.__delitem__(slice(100, None)),
        lambda content: content.__setitem__(slice(100, len(content)), bytes(len(content) - 100)),
        lambda content: content.__setitem__(slice(18, 20), b"\x09\x09"),
        lambda content: content.__setitem__(slice(44, 48), b"\0\0\0\xff"),
        lambda content: content.__setitem__(
            slice(0, len(content)), content.replace(b"COMMITTED", b"COMMITTEE")
        ),
        lambda content: content.__setitem__(
            slice(0, len(content)), content.replace(b"revisions", b"revisiens")
        ),
    ],
    ids=["empty", "no-magic", "half", "header-only", "zeroes", "version", "format", "a-word", "a-table"],
)
def test_a_damaged_journal_is_put_aside_and_made_anew(
    made: Path, change: Callable[[bytearray], object]
) -> None:
    before = (made / "journal.db").read_bytes()
    damage(made / "journal.db", change)
    journal = is_whole(made)
    assert (made / "journal.db.damaged").read_bytes() != before
    outcome = journal.outcome(3)
    assert outcome is not None
    assert (outcome.phase, outcome.reason) == (Phase.REJECTED, "internal")
    assert "made anew" in (outcome.message or "")
    journal.close()


def test_what_of_the_quarantine_can_be_read_is_kept(made: Path) -> None:
    damage(
        made / "journal.db", lambda c: c.__setitem__(slice(0, len(c)), c.replace(b"FETCHING", b"FETCHINX"))
    )
    journal = Journal(made)
    assert [entry.digest for entry in journal.quarantined()] == [HELD]
    journal.close()


def test_a_whole_journal_and_a_new_one_are_left_as_they_are(made: Path, tmp_path: Path) -> None:
    journal = Journal(made)
    assert [journal.phase(revision) for revision in AGES] == list(AGES.values())
    journal.close()
    Journal(tmp_path / "new").close()
    assert not list(tmp_path.rglob("*.damaged"))


def test_no_flipped_bytes_anywhere_keep_an_agent_from_starting(made: Path) -> None:
    whole = (made / "journal.db").read_bytes()
    link = (made / "current").readlink()
    used = [at for at, byte in enumerate(whole) if byte] + list(range(100))
    dice = random.Random(7)
    for _ in range(40):
        content = bytearray(whole)
        for at in dice.sample(used, dice.choice((1, 1, 4, 64))):
            content[at] ^= dice.randrange(1, 256)
        for path in [*made.glob("journal.db*"), *(made / "revisions").glob("9.json")]:
            path.unlink()
        for revision in AGES:
            body = json.dumps({"device": "d", "revision": revision, "models": {}})
            (made / "revisions" / f"{revision}.json").write_text(body)
        (made / "journal.db").write_bytes(content)
        try:
            journal = Journal(made)
            current = journal.current()
            assert current is not None
            assert current.revision == 2
            under_way = journal.under_way()
            assert under_way is None or under_way.phase not in TERMINAL
            journal.accept(Document(9, b'{"revision": 9}'), 1.0)
            journal.close()
        except (sqlite3.Error, ValueError, OSError) as e:
            raise AssertionError(f"{type(e).__name__}: {e}") from e
    assert (made / "current").readlink() == link
