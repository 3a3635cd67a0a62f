"""A disk that keeps account of what is durable, loses its power at the n-th call, and shows what is left.

It works on a real directory and keeps a model beside it: files with the bytes of their last sync, directories with the names of
theirs. `left` builds what a machine would find afterwards. SQLite's files are outside of it: they are taken as they are at the cut,
which holds for what was committed with synchronous=FULL.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from agent.files import SystemDisk

DATABASES = (".db", ".db-journal", ".db-wal", ".db-shm")


class PowerCut(BaseException):
    """No handler of errors sees it: a power cut runs no clean-up."""


class Left(Enum):
    """What of the things that were not synced a file system happened to have written: both ends of what may be."""

    NOTHING = "only what was synced"
    NAMES = "all names, the bytes of synced files only"
    EVERYTHING = "all that was written"


@dataclass(eq=False)
class File:
    durable: bytes = b""
    mode: int = 0o644


@dataclass(eq=False)
class Link:
    target: str


@dataclass(eq=False)
class Directory:
    names: dict[str, Any] = field(default_factory=dict)
    durable: dict[str, Any] = field(default_factory=dict)


class CutDisk:
    """Stands in for `agent.files.SystemDisk` below `root`. `cut_at` is the number of the call that does not happen any more."""

    def __init__(self, root: Path, cut_at: int | None = None) -> None:
        self._root = root
        self._real = SystemDisk()
        self._cut_at = cut_at
        self.calls: list[str] = []
        self.off = False
        self._tree = self._adopted(root)

    # --- the calls ----------------------------------------------------------------------------------------------------

    def open(self, path: Path, mode: int = 0o644, *, keep: bool = False) -> BinaryIO:
        self._call("open", path)
        folder = self._folder(path)
        if not isinstance(folder.names.get(path.name), File):
            folder.names[path.name] = File(mode=mode)
        elif not keep:
            folder.names[path.name].mode = mode
        return _Writing(path, self._real.open(path, mode, keep=keep), self._call)  # type: ignore[return-value]

    def sync(self, file: BinaryIO) -> None:
        path: Path = file.path  # type: ignore[attr-defined]
        self._call("sync", path)
        self._real.sync(file)
        self._folder(path).names[path.name].durable = path.read_bytes()

    def sync_directory(self, path: Path) -> None:
        self._call("sync_directory", path)
        directory = self._at(path)
        directory.durable = dict(directory.names)

    def make_directory(self, path: Path, mode: int = 0o755) -> None:
        self._call("make_directory", path)
        self._real.make_directory(path, mode)
        self._folder(path).names.setdefault(path.name, Directory())

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace", target)
        self._real.replace(source, target)
        self._folder(target).names[target.name] = self._folder(source).names.pop(source.name)

    def link(self, source: Path, target: Path) -> None:
        self._call("link", target)
        self._real.link(source, target)
        self._folder(target).names[target.name] = self._folder(source).names[source.name]

    def symlink(self, link: Path, target: str) -> None:
        self._call("symlink", link)
        self._real.symlink(link, target)
        self._folder(link).names[link.name] = Link(target)

    def remove(self, path: Path) -> None:
        self._call("remove", path)
        self._real.remove(path)
        self._folder(path).names.pop(path.name, None)

    def remove_tree(self, path: Path) -> None:
        self._call("remove_tree", path)
        self._real.remove_tree(path)
        self._folder(path).names.pop(path.name, None)

    def _call(self, name: str, path: Path) -> None:
        if self.off or len(self.calls) == self._cut_at:
            self.off = True
            raise PowerCut(f"before {name} {path}")
        self.calls.append(f"{name} {path.relative_to(self._root)}")

    # --- what is left -------------------------------------------------------------------------------------------------

    def left(self, target: Path, how: Left = Left.NOTHING) -> Path:
        """Build in `target` what a machine finds after the cut."""
        self._lay(self._tree, self._root, target, how)
        return target

    def _lay(self, directory: Directory, source: Path, target: Path, how: Left) -> None:
        target.mkdir(parents=True, exist_ok=True)
        names = directory.durable if how is Left.NOTHING else directory.names
        for name, node in names.items():
            path = target / name
            if isinstance(node, Directory):
                self._lay(node, source / name, path, how)
            elif isinstance(node, Link):
                path.symlink_to(node.target)
            else:
                written = how is Left.EVERYTHING and (source / name).is_file()
                path.write_bytes((source / name).read_bytes() if written else node.durable)
                path.chmod(node.mode)
        for path in _databases(source):
            shutil.copyfile(path, target / path.name)

    # --- the model ----------------------------------------------------------------------------------------------------

    def _adopted(self, path: Path) -> Directory:
        """What was there before, taken as durable."""
        directory = Directory()
        for entry in path.iterdir():
            if entry.name.endswith(DATABASES):
                continue
            node: File | Link | Directory
            if entry.is_symlink():
                node = Link(os.readlink(entry))
            elif entry.is_dir():
                node = self._adopted(entry)
            else:
                node = File(entry.read_bytes(), entry.stat().st_mode & 0o777)
            directory.names[entry.name] = node
        directory.durable = dict(directory.names)
        return directory

    def _folder(self, path: Path) -> Directory:
        return self._at(path.parent)

    def _at(self, path: Path) -> Directory:
        node: Any = self._tree
        for part in path.relative_to(self._root).parts:
            node = node.names[part]
        assert isinstance(node, Directory), path
        return node


class _Writing:
    """A file whose writes are calls of the disk."""

    def __init__(self, path: Path, file: BinaryIO, call: Any) -> None:
        self.path = path
        self._file = file
        self._call = call

    def write(self, content: bytes) -> int:
        self._call("write", self.path)
        return self._file.write(content)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _databases(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.name.endswith(DATABASES) and path.is_file())
