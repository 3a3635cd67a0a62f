"""A control plane's parts on a database of their own, with a clock that stands still and ids that count."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event

from fleet.config import TrustDays
from fleet.db import Database, migrate
from fleet.tuf.keys import KeyRing, from_raw
from fleet.tuf.repository import Repository, counts
from wire import dsse


@dataclass
class StillClock:
    now_wall: float = 1_000_000.0

    def wall(self) -> float:
        return self.now_wall

    def mono(self) -> float:
        return self.now_wall


@dataclass
class CountingIds:
    count: int = 0

    def unique(self) -> str:
        self.count += 1
        return f"id-{self.count}"

    def secret(self) -> str:
        self.count += 1
        return f"secret-{self.count:032}"


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def ids() -> CountingIds:
    return CountingIds()


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database without rows, to be copied."""
    path = tmp_path_factory.mktemp("db") / "empty.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def database(empty_database: Path, tmp_path: Path) -> Iterator[Database]:
    path = tmp_path / "fleet.db"
    shutil.copyfile(empty_database, path)
    opened = Database(f"sqlite:///{path}")
    event.listen(opened.engine, "connect", unsynced)
    yield opened
    opened.close()


def unsynced(connection: sqlite3.Connection, _record: object) -> None:
    """Nobody cuts the power of these tests."""
    connection.execute("PRAGMA synchronous=OFF")


@dataclass
class Founding:
    """Trust metadata and keys as a new control plane makes them: once for each number of keys, then copied."""

    root: Path
    empty: Path
    made: dict[tuple[int, int], tuple[Path, Ed25519PrivateKey]] = field(default_factory=dict)
    """By the number of keys for artifacts and how many of them must sign."""

    def into(
        self,
        database: Database,
        keys: Path,
        offline: Path,
        artifacts: tuple[int, int] = (1, 1),
    ) -> Ed25519PrivateKey:
        """Fill the database, which is empty, and the folders of keys; the key that signs desired states."""
        if artifacts not in self.made:
            self.made[artifacts] = self._make(artifacts)
        made, state = self.made[artifacts]
        shutil.copytree(made / "keys", keys, dirs_exist_ok=True)
        shutil.copytree(made / "offline", offline, dirs_exist_ok=True)
        with (
            closing(sqlite3.connect(made / "fleet.db")) as full,
            closing(sqlite3.connect(str(database.engine.url.database))) as bare,
        ):
            full.backup(bare)
        return state

    def _make(self, artifacts: tuple[int, int]) -> tuple[Path, Ed25519PrivateKey]:
        made = self.root / str(len(self.made))
        made.mkdir()
        shutil.copyfile(self.empty, made / "fleet.db")
        database, state = Database(f"sqlite:///{made / 'fleet.db'}"), Ed25519PrivateKey.generate()
        ring = KeyRing(made / "keys", made / "offline")
        repository = Repository(database, ring, StillClock(), TrustDays())
        repository.create(counts((1, 1), (1, 1), artifacts), from_raw(dsse.public_bytes(state)))
        database.close()
        return made, state


@pytest.fixture(scope="session")
def founding(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Founding:
    return Founding(tmp_path_factory.mktemp("founding"), empty_database)
