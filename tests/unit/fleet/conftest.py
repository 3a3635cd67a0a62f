"""A control plane's parts on a database of their own, with a clock that stands still and ids that count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.db import Database, migrate


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
    path.write_bytes(empty_database.read_bytes())
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()
