"""Files that are whole or not there: written beside, fsynced, renamed."""

from __future__ import annotations

import os
from pathlib import Path


def write_atomic(path: Path, content: bytes, mode: int = 0o644, *, durable: bool = True) -> None:
    """Replace the file by one with this content and mode; after a power cut it is the old or the new one.

    `durable=False` leaves out the fsyncs, for files on a tmpfs or whose loss does no harm.

    :raises OSError: no room, no permission
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if durable:
        sync_directory(path.parent)


def link_atomic(link: Path, target: str) -> None:
    """Make `link` a symbolic link to `target`, replacing what it was in one step, durably.

    :raises OSError: no room, no permission
    """
    partial = link.with_name(f".{link.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    os.symlink(target, partial)
    os.replace(partial, link)
    sync_directory(link.parent)


def sync_directory(path: Path) -> None:
    """Make renames within the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
