"""SQLite's log brought to the disk within a time. With synchronous=NORMAL SQLite itself does that only when it copies its log back."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


class WalSync:
    """For the one thread that writes the database. `committed` after each transaction, `sync` when `left_s` is over."""

    def __init__(self, database: Path, within_s: float, mono: Callable[[], float]) -> None:
        self._log_file = f"{database}-wal"
        self._within_s = within_s
        self._mono = mono
        self._due_mono: float | None = None

    def left_s(self) -> float | None:
        """How long what is committed may still wait; None where nothing waits."""
        return None if self._due_mono is None else max(0.0, self._due_mono - self._mono())

    def committed(self, changed: bool) -> None:
        """A transaction has ended, and `changed` something."""
        if changed and self._due_mono is None:
            self._due_mono = self._mono() + self._within_s
        if self.left_s() == 0.0:
            self.sync()

    def sync(self) -> None:
        self._due_mono = None
        try:
            file = os.open(self._log_file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fdatasync(file)
            finally:
                os.close(file)
        except OSError as e:
            log.warning("what was committed is not synced", extra={"file": self._log_file, "cause": str(e)})
