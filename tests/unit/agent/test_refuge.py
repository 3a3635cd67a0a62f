"""A state directory that takes no writing: the state goes on in memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from agent import refuge
from agent.config import Config
from agent.update.journal import Document, Journal

MODEL = "models/abc/model.onnx"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A device with a revision committed, a model, and events that wait."""
    config = Config(state_dir=tmp_path / "state", run_dir=tmp_path / "run")
    for path in (config.state_dir, config.run_dir, (config.state_dir / MODEL).parent):
        path.mkdir(parents=True, exist_ok=True)
    (config.state_dir / MODEL).write_bytes(b"weights")
    (config.state_dir / "outbox.db").write_bytes(b"events")
    journal = Journal(config.state_dir)
    journal.accept(Document(3, b'{"revision": 3}'), 1.0)
    journal.point(3)
    journal.commit(3, 1.0)
    journal.close()
    return config


@pytest.fixture
def read_only(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refused(path: Any, flags: int, *more: int) -> int:
        if Path(path).parent == config.state_dir and flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return opened(path, flags, *more)

    monkeypatch.setattr(refuge.os, "open", refused)


def test_a_disk_that_takes_writing_is_used(config: Config) -> None:
    assert refuge.sheltered(config) is config


@pytest.mark.usefixtures("read_only")
def test_what_is_committed_runs_from_memory_and_models_are_read_where_they_lie(config: Config) -> None:
    moved = refuge.sheltered(config)
    assert moved.state_dir.parent == config.run_dir
    journal = Journal(moved.state_dir)
    current = journal.current()
    journal.close()
    assert current is not None
    assert current.revision == 3
    assert (moved.state_dir / MODEL).read_bytes() == b"weights"
    assert (moved.state_dir / "models").is_symlink()
    assert not (moved.state_dir / "outbox.db").exists()
    assert moved.limits.outbox_bytes <= refuge.MEMORY_BYTES


@pytest.mark.usefixtures("read_only")
def test_what_was_decided_in_memory_holds_until_the_disk_is_back(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (refuge.sheltered(config).state_dir / "decided").touch()
    assert (refuge.sheltered(config).state_dir / "decided").exists()
    monkeypatch.undo()
    assert refuge.sheltered(config) is config
    assert not (config.run_dir / refuge.FOLDER).exists()
