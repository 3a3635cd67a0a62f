"""Updates of a tree of plain files: what is offered, and what must hold after any cut."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.objects import Objects, digest_of_file
from agent.update.journal import Document, Journal
from agent.update.slots import Slots
from agent.update.tree import faults
from wire.manifest import FileEntry, Manifest, digest_of
from wire.phase import TERMINAL, Phase

ENDS = {
    1: "COMMITTED",
    2: "COMMITTED",
    3: "ROLLED_BACK",
    4: "COMMITTED",
    5: "REJECTED",
    6: "ROLLED_BACK",
    7: "COMMITTED",
}
"""How the offered revisions end: 3 and 6 bring a workflow that is no JSON, 5 names what is not there."""
KILLED_ENDS = {"COMMITTED", "ROLLED_BACK", "REJECTED"}


class Offers:
    """Makes `source` and the documents in `directory`, once."""

    def __init__(self, directory: Path) -> None:
        self.source = directory / "source"
        self.source.mkdir(parents=True)
        one, two = self._package("one"), self._package("two")
        good, better, bad = self._object(b'{"a": 1}'), self._object(b'{"a": 2}'), self._object(b"{no json")
        worse = self._object(b"{neither")
        first, second = self._package("agent-1"), self._package("agent-2")
        states: dict[int, tuple[str, str, str]] = {
            1: (one, good, ""),
            2: (two, good, ""),
            3: (one, bad, ""),
            4: (two, better, first),
            5: ("sha256:" + "0" * 64, better, first),
            6: (two, worse, second),
            7: (one, better, first),
        }
        self.paths = []
        for revision, (model, workflow, agent) in states.items():
            body: dict[str, Any] = {
                "device": "d",
                "revision": revision,
                "models": {"m": {"digest": model}},
                "workflows": {"w": {"digest": workflow}},
                "cameras": {"door": {"source": f"/videos/{revision}.mp4"}},
                "settings": {"update": {"probation_deadline_s": 0.2}},
            }
            if agent:
                body["agent"] = {"digest": agent}
            path = directory / f"{revision}.json"
            path.write_text(json.dumps(body))
            self.paths.append(path)
        self.bad = {bad, worse}

    def _object(self, content: bytes) -> str:
        digest = digest_of(content)
        (self.source / digest.removeprefix("sha256:")).write_bytes(content)
        return digest

    def _package(self, tag: str) -> str:
        files = {"model.toml": f"name = '{tag}'".encode(), "sub/weights.onnx": tag.encode() * 9000}
        entries = [FileEntry(path=p, sha256=self._object(c), size=len(c)) for p, c in files.items()]
        return self._object(Manifest(files=tuple(entries)).encode())


def whole(state_dir: Path) -> None:
    """`current`, if there is one, names a document all of whose models and workflows are there with the right bytes.

    Holds at every moment, before anything is taken up again.
    """
    link = state_dir / "current"
    if not os.path.lexists(link):
        return
    body = json.loads(link.read_bytes())
    document = Document(int(body["revision"]), json.dumps({**body, "agent": None}).encode())
    wrong = [
        fault
        for fault in faults(Objects(state_dir), Slots(state_dir), document)
        if "no JSON" not in fault.words
    ]
    assert not wrong, wrong


def at_rest(state_dir: Path, *, may_be_empty: bool = True) -> int:
    """After the work was taken up to its end: what runs is committed and whole, and nothing is left to clean. The revision."""
    journal = Journal(state_dir)
    try:
        current = journal.current()
        assert current is not None or (may_be_empty and not journal.points_to())
        assert journal.under_way() is None
        assert all(
            phase in {p.value for p in TERMINAL} for (phase,) in _rows(journal, "SELECT phase FROM revisions")
        )
        slots, objects = Slots(state_dir), Objects(state_dir)
        if current is not None:
            assert journal.phase(current.revision) is Phase.COMMITTED
            assert not faults(objects, slots, current)
            assert slots.running_digest == (
                (current.json().get("agent") or {}).get("digest") or slots.running_digest
            )
        assert slots.pending() is None
        left = list(state_dir.rglob("*.part"))
        assert not left, left
        for path in (state_dir / "objects/sha256").iterdir():
            assert digest_of_file(path) == f"sha256:{path.name}"
        needed = {d.removeprefix("sha256:") for d in _needed(journal, objects)}
        assert {p.name for p in (state_dir / "objects/sha256").iterdir()} <= needed
        assert {p.name for p in (state_dir / "models").iterdir()} <= needed
        kept = {document.revision for document in journal.kept()} | {journal.highest()}
        assert {int(p.stem) for p in (state_dir / "revisions").iterdir()} <= kept
        return current.revision if current else 0
    finally:
        journal.close()


def _needed(journal: Journal, objects: Objects) -> set[str]:
    digests = {digest for document in journal.kept() for digest in document.digests}
    inside = {
        e.digest for digest in digests if objects.model_path(digest).exists() for e in objects.entries(digest)
    }
    return digests | inside


def _rows(journal: Journal, statement: str) -> list[Any]:
    return list(journal._execute(statement))


def counting(call: Callable[[str], None]) -> Callable[[Path], sqlite3.Connection]:
    """A connection for a journal that says each statement before it is carried out."""

    class Told(sqlite3.Connection):
        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if not statement.startswith(("SELECT", "PRAGMA")):
                call(statement)
            return super().execute(statement, *values)

    def connect(path: Path) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, factory=Told)
        db.execute("PRAGMA journal_mode=PERSIST")
        db.execute("PRAGMA synchronous=FULL")
        return db

    return connect
