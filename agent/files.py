"""The one seam through which the agent writes: files that are whole or not there, and the few calls they are made of.

`Disk` is those calls; everything that must survive a power cut goes through one, so that a test can stand in for the disk and
cut between any two of them (`tests/fakes/power_cut.py`). SQLite's files are not written through it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO, Protocol


class Disk(Protocol):
    """What is done to a file system. Nothing is durable before its `sync`: a file's bytes, a directory's names.

    Each raises `OSError`: no room, no permission.
    """

    def open(self, path: Path, mode: int = 0o644, *, keep: bool = False) -> BinaryIO:
        """A file to write, made where it is not there; `keep` leaves what it holds, for going on with it."""

    def sync(self, file: BinaryIO) -> None:
        """Make the bytes written so far durable."""

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""

    def make_directory(self, path: Path, mode: int = 0o755) -> None:
        """Make one directory; nothing where it is there."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename in one step, over what is there."""

    def link(self, source: Path, target: Path) -> None:
        """Another name for the same file."""

    def symlink(self, link: Path, target: str) -> None:
        """A symbolic link."""

    def remove(self, path: Path) -> None:
        """Remove a file or link; nothing where there is none."""

    def remove_tree(self, path: Path) -> None:
        """Remove a directory with all that is in it, as far as it goes; raises nothing."""


class SystemDisk:
    """The machine's own."""

    def open(self, path: Path, mode: int = 0o644, *, keep: bool = False) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (0 if keep else os.O_TRUNC)
        descriptor = os.open(path, flags, mode)
        if not keep:
            os.fchmod(descriptor, mode)
        return os.fdopen(descriptor, "r+b")

    def sync(self, file: BinaryIO) -> None:
        file.flush()
        os.fsync(file.fileno())

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_directory(self, path: Path, mode: int = 0o755) -> None:
        path.mkdir(mode, exist_ok=True)

    def replace(self, source: Path, target: Path) -> None:
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target)

    def symlink(self, link: Path, target: str) -> None:
        os.symlink(target, link)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)


DISK = SystemDisk()


def write_atomic(
    path: Path, content: bytes, mode: int = 0o644, *, durable: bool = True, disk: Disk = DISK
) -> None:
    """Replace the file by one with this content and mode; after a power cut it is the old or the new one.

    `durable=False` leaves out the fsyncs, for files on a tmpfs or whose loss does no harm.

    :raises OSError: no room, no permission
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk.open(partial, mode) as file:
            file.write(content)
            if durable:
                disk.sync(file)
        disk.replace(partial, path)
    except BaseException:
        disk.remove(partial)
        raise
    if durable:
        disk.sync_directory(path.parent)


def link_atomic(link: Path, target: str, *, disk: Disk = DISK) -> None:
    """Make `link` a symbolic link to `target`, replacing what it was in one step, durably.

    :raises OSError: no room, no permission
    """
    partial = link.with_name(f".{link.name}.{os.getpid()}.part")
    disk.remove(partial)
    disk.symlink(partial, target)
    disk.replace(partial, link)
    disk.sync_directory(link.parent)


def make_directories(path: Path, mode: int = 0o755, *, disk: Disk = DISK) -> None:
    """Make a directory and those above it that are missing, durably: a name in a directory that is itself lost is lost.

    :raises OSError: no room, no permission
    """
    if path.is_dir():
        return
    make_directories(path.parent, mode, disk=disk)
    disk.make_directory(path, mode)
    disk.sync_directory(path.parent)


def sweep(directory: Path, *, disk: Disk = DISK) -> int:
    """Delete the half-made files that killed processes left in a directory; how many. For the one process that owns it."""
    left = [path for path in directory.glob(".*.part") if path.is_symlink() or path.is_file()]
    for path in left:
        disk.remove(path)
    return len(left)
