"""The agent's own two places, `agent/slots/a` and `b`, the link `agent/current` to the one that starts, and what guards a change.

A slot is whole once its RELEASE file names a digest; that file is written last and taken away first. Where it takes distributions from the
installation, its BASE file lists the directories that say which, in which version: without one of them it is whole no more. `pending` is written before the
link is changed and removed when the change is committed: what starts the agent (`agent.launcher`) counts in it and goes back.
Standard library only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.files import DISK, Disk, link_atomic, make_directories, sweep, write_atomic
from wire.phase import Phase

SLOTS = ("a", "b")
CURRENT = "current"
PENDING = "pending"
WENT_BACK = "went-back"
RELEASE = "RELEASE"
BASE = "BASE"
MAX_STARTS = 3


@dataclass(frozen=True)
class Pending:
    """A change that is not committed. `former` is a slot, or empty for the agent that was installed with the system;
    `former_revision` is what `current` of the state directory named, 0 for nothing."""

    revision: int
    former: str
    former_revision: int
    starts: int = 0


class Slots:
    """For one process at a time."""

    def __init__(self, state_dir: Path, disk: Disk = DISK) -> None:
        self._state_dir = state_dir
        self._root = state_dir / "agent"
        self._disk = disk

    @property
    def current(self) -> str:
        """The slot that starts; empty where it is the agent that was installed with the system."""
        try:
            name = Path(os.readlink(self._root / CURRENT)).name
        except OSError:
            return ""
        return name if name in SLOTS and self.digest(name) else ""

    @property
    def spare(self) -> str:
        """The slot that may be written to."""
        return SLOTS[1] if self.current == SLOTS[0] else SLOTS[0]

    def path(self, slot: str) -> Path:
        return self._root / "slots" / slot

    def digest(self, slot: str) -> str:
        """The release in a slot; empty where none is whole."""
        path = self.path(slot)
        try:
            digest = (path / RELEASE).read_text().strip()
            base = (path / BASE).read_text().splitlines() if (path / BASE).exists() else []
        except OSError:
            return ""
        return digest if all(os.path.isdir(line) for line in base) else ""

    def holding(self, digest: str) -> str:
        """The slot with this release; empty where none has it."""
        return next((slot for slot in SLOTS if self.digest(slot) == digest), "")

    @property
    def running_digest(self) -> str:
        """The release that starts; empty for the one installed with the system."""
        return self.digest(self.current) if self.current else ""

    def begin(self) -> str:
        """The spare slot, empty; whoever fills it makes that durable before `finish`.

        :raises OSError: no room
        """
        slot = self.spare
        self.empty(slot)
        make_directories(self.path(slot), disk=self._disk)
        return slot

    def finish(self, slot: str, digest: str) -> None:
        """The slot is whole. :raises OSError: no room"""
        write_atomic(self.path(slot) / RELEASE, digest.encode(), disk=self._disk)

    def empty(self, slot: str) -> None:
        """Throw away what is in a slot that does not run."""
        path = self.path(slot)
        if path.exists():
            self._disk.remove(path / RELEASE)
            self._disk.sync_directory(path)
            self._disk.remove_tree(path)

    def change(self, slot: str, revision: int, former_revision: int) -> None:
        """Have this slot start next, on trial; an empty name means the agent installed with the system.

        :raises OSError: no room
        """
        if slot == self.current:
            return
        self._write(PENDING, asdict(Pending(revision, self.current, former_revision)))
        self._point(slot)

    def pending(self) -> Pending | None:
        return read_pending(self._root)

    def go_back(self) -> bool:
        """Have the former slot start next; whether there was a change to take back."""
        pending = self.pending()
        if pending is None:
            return False
        self._point(pending.former)
        self._remove(PENDING)
        return True

    def sweep(self) -> None:
        """Delete what killed processes have left half-written. :raises OSError: the disk fails"""
        for directory in (self._root, *(self.path(slot) for slot in SLOTS)):
            sweep(directory, disk=self._disk)

    def tidy(self, phase_of: Callable[[int], Phase | None]) -> bool:
        """Let a change on trial follow the end of its revision; whether the former slot is to start next.

        :raises OSError: the disk fails
        """
        pending = self.pending()
        phase = phase_of(pending.revision) if pending else None
        if phase is Phase.COMMITTED:
            self._remove(PENDING)
        return phase in (Phase.REJECTED, Phase.ROLLED_BACK) and self.go_back()

    def went_back(self) -> int:
        """The revision whose agent did not start, as the launcher has it; 0 for none."""
        try:
            return int(json.loads((self._root / WENT_BACK).read_bytes())["revision"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def forget_went_back(self) -> None:
        """The journal has it. :raises OSError: the disk fails"""
        if (self._root / WENT_BACK).exists():
            self._remove(WENT_BACK)

    def _point(self, slot: str) -> None:
        if slot:
            link_atomic(self._root / CURRENT, f"slots/{slot}", disk=self._disk)
        elif os.path.lexists(self._root / CURRENT):
            self._remove(CURRENT)

    def _write(self, name: str, body: dict[str, Any]) -> None:
        make_directories(self._root, 0o755, disk=self._disk)
        write_atomic(self._root / name, json.dumps(body).encode(), disk=self._disk)

    def _remove(self, name: str) -> None:
        self._disk.remove(self._root / name)
        self._disk.sync_directory(self._root)


def read_pending(root: Path) -> Pending | None:
    """The change on trial; None where there is none, or it cannot be read."""
    try:
        body = json.loads((root / PENDING).read_bytes())
        return Pending(
            int(body["revision"]), str(body["former"]), int(body["former_revision"]), int(body["starts"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
