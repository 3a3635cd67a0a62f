"""Objects on disk by their content, `objects/sha256/<hex>`, and directories of hard links to them, `models/<hex>/`. Standard library.

A name is given only to what is whole and durable, and taken away in one step: what is there is right, after any cut.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.files import DISK, Disk, make_directories

READ_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Entry:
    """A file of a manifest."""

    path: str
    digest: str
    size: int


class Objects:
    """To be used by one process; the paths may be asked for at any time."""

    def __init__(self, state_dir: Path, disk: Disk = DISK) -> None:
        self._disk = disk
        self._objects = state_dir / "objects" / "sha256"
        self._models = state_dir / "models"
        for directory in (self._objects, self._models):
            make_directories(directory, disk=disk)

    def object_path(self, digest: str) -> Path:
        """Where the object is, or would be."""
        return self._objects / digest.removeprefix("sha256:")

    def model_path(self, digest: str) -> Path:
        """The checked-out package of a model or a release."""
        return self._models / digest.removeprefix("sha256:")

    def used_bytes(self) -> int:
        """The size of all objects. :raises OSError: the disk fails"""
        return sum(path.stat().st_size for path in self._objects.iterdir())

    def entries(self, digest: str) -> tuple[Entry, ...]:
        """The files of a manifest that is there.

        :raises OSError: it cannot be read
        :raises ValueError: it is none
        """
        try:
            files = json.loads(self.object_path(digest).read_bytes())["files"]
            return tuple(Entry(str(f["path"]), str(f["sha256"]), int(f["size"])) for f in files)
        except (KeyError, TypeError) as e:
            raise ValueError(f"{digest[:19]} is no manifest") from e

    def name(self, part: Path, digest: str) -> Path:
        """Give a whole part, already hashed, its name.

        :raises OSError: no room
        """
        target = self.object_path(digest)
        with self._disk.open(part, keep=True) as file:
            self._disk.sync(file)
        self._disk.replace(part, target)
        self._disk.sync_directory(target.parent)
        return target

    def check_out(self, digest: str, files: Sequence[Entry]) -> Path:
        """Make the directory of a manifest whose objects are all there.

        :raises OSError: no room
        """
        path = self.model_path(digest)
        part = path.with_name(path.name + ".part")
        try:
            self._disk.remove_tree(part)
            self._disk.make_directory(part)
            for entry in files:
                target = part / entry.path
                make_directories(target.parent, disk=self._disk)
                self._disk.link(self.object_path(entry.digest), target)
            for directory in {part, *(p for p in part.rglob("*") if p.is_dir())}:
                self._disk.sync_directory(directory)
            self._disk.replace(part, path)
            self._disk.sync_directory(path.parent)
        except OSError:
            self._disk.remove_tree(part)
            raise
        return path

    def collect(self, keep: Iterable[str]) -> int:
        """Delete every model and object that none of the digests needs; the number deleted. Parts of downloads go too."""
        needed = set(keep)
        models = {digest for digest in needed if self.model_path(digest).exists()}
        inside = {entry.digest for digest in models for entry in self.entries(digest)}
        inside |= {entry.digest for digest in needed - models for entry in self._begun(digest)}
        objects = {_hex(digest) for digest in needed | inside}
        kept = {_hex(digest) for digest in models}
        gone = 0
        for path in list(self._models.iterdir()):
            if path.name not in kept:
                self._take_away(path)
                gone += 1
        for path in list(self._objects.iterdir()):
            if path.name not in objects:
                self._disk.remove(path)
                gone += 1
        return gone

    def _begun(self, digest: str) -> tuple[Entry, ...]:
        """The files of a manifest whose objects are still on their way; none for what is no manifest."""
        try:
            return self.entries(digest)
        except (OSError, ValueError):
            return ()

    def _take_away(self, path: Path) -> None:
        """Half of a directory must never bear its name."""
        part = path
        if not path.name.endswith(".part"):
            part = path.with_name(path.name + ".part")
            self._disk.remove_tree(part)
            self._disk.replace(path, part)
        self._disk.remove_tree(part)


def digest_of_file(path: Path) -> str:
    """`sha256:…` of its bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
