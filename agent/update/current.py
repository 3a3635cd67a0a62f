"""The symbolic link `current`: it names the revision that runs. One rename changes it, durably. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from agent.files import DISK, Disk, link_atomic

CURRENT = "current"
BACK, AHEAD = "former", "next"


class Current:
    """Of one state directory. Every method that writes raises OSError where the disk fails."""

    def __init__(self, directory: Path, disk: Disk = DISK) -> None:
        self._dir = directory
        self._disk = disk
        self.path = directory / CURRENT

    def names(self) -> int:
        """The revision that runs; 0 where it names none."""
        return self._read(CURRENT)

    def aim(self, revision: int) -> None:
        """Make the links of which one becomes `current` by its rename: to this revision, and back. From here on no room is needed."""
        before = self.names()
        if before and before != revision:
            link_atomic(self._dir / BACK, _target(before), disk=self._disk)
        link_atomic(self._dir / AHEAD, _target(revision), disk=self._disk)

    def point(self, revision: int) -> None:
        """Have it name this revision; needs room where nobody has aimed."""
        if self.names() == revision:
            return
        for link in (AHEAD, BACK):
            if self._read(link) == revision:
                self._disk.replace(self._dir / link, self.path)
                self._disk.sync_directory(self._dir)
                return
        link_atomic(self.path, _target(revision), disk=self._disk)

    def point_nowhere(self) -> None:
        self._disk.remove(self.path)
        self._disk.sync_directory(self._dir)

    def forget(self) -> None:
        """An update is over: what was made by `aim` goes."""
        for link in (BACK, AHEAD):
            if os.path.lexists(self._dir / link):
                self._disk.remove(self._dir / link)

    def _read(self, link: str) -> int:
        try:
            name = os.readlink(self._dir / link)
        except OSError:
            return 0
        stem = Path(name).stem
        return int(stem) if stem.isdigit() else 0


def _target(revision: int) -> str:
    return f"revisions/{revision}.json"
