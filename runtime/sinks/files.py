"""Files: lines appended to a log, or one file an entry; rotated by entries, size and age, the oldest deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from runtime.sinks.sender import Undelivered


@dataclass(frozen=True)
class Rotation:
    """When an appended file is closed and a new one begun, and what all files of one prefix may take together (0: no limit)."""

    max_entries: int = 1024
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 86400.0
    keep_bytes: int = 1024 * 1024 * 1024
    keep_age_s: float = 0.0


@dataclass(frozen=True)
class Entry:
    """`content` is called by the worker. `header`: the first line of each file. `append`: to the open file; else a file of its own."""

    directory: Path
    prefix: str
    suffix: str
    content: Callable[[], bytes]
    append: bool
    rotation: Rotation
    header: bytes = b""
    at_wall: float = 0.0


def inside(root: Path | None, directory: str) -> Path:
    """The directory below the root; without a root, any.

    :raises ValueError: it lies elsewhere
    """
    if "\0" in directory:
        raise ValueError("a directory has no NUL in its name")
    if root is None:
        return Path(directory).expanduser().absolute()
    base = root.resolve()
    path = (base / directory).resolve()
    if path != base and base not in path.parents:
        raise ValueError(
            f"{directory!r} lies outside the device's folder for files; name one without / or .."
        )
    return path


class FileSender:
    """One prefix in one directory at a time."""

    def __init__(self) -> None:
        self._open: IO[bytes] | None = None
        self._path = Path()
        self._key: tuple[Path, str, str] = (Path(), "", "")
        self._entries = 0
        self._bytes = 0
        self._since_wall = 0.0

    def send(self, body: Entry) -> str:
        """The path that was written."""
        try:
            content = body.content()
            path = self._append(body, content) if body.append else self._alone(body, content)
            self._tidy(body)
        except OSError as e:
            self.close()
            raise Undelivered(f"{body.directory}: {e.strerror or e}") from e
        return str(path)

    def _alone(self, body: Entry, content: bytes) -> Path:
        body.directory.mkdir(parents=True, exist_ok=True)
        path = _fresh(body)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)
        return path

    def _append(self, body: Entry, content: bytes) -> Path:
        key = (body.directory, body.prefix, body.suffix)
        if self._open is None or key != self._key or self._full(body, len(content)):
            self.close()
            self._begin(body, key)
        assert self._open is not None
        self._open.write(content)
        self._open.flush()
        self._entries += 1
        self._bytes += len(content)
        return self._path

    def _full(self, body: Entry, more_bytes: int) -> bool:
        rotation = body.rotation
        too_old = body.at_wall - self._since_wall > rotation.max_age_s
        return (
            self._entries >= rotation.max_entries or self._bytes + more_bytes > rotation.max_bytes or too_old
        )

    def _begin(self, body: Entry, key: tuple[Path, str, str]) -> None:
        body.directory.mkdir(parents=True, exist_ok=True)
        self._path = _fresh(body)
        self._open = self._path.open("xb")
        self._key, self._since_wall, self._entries = key, body.at_wall, 0
        self._open.write(body.header)
        self._bytes = len(body.header)

    def _tidy(self, body: Entry) -> None:
        """Delete the oldest files of the prefix beyond what may be kept; the names sort by time."""
        rotation = body.rotation
        if not rotation.keep_bytes and not rotation.keep_age_s:
            return
        found = sorted(body.directory.glob(f"{_glob(body.prefix)}_*.{body.suffix}"))
        sizes = {path: path.stat() for path in found}
        total = sum(stat.st_size for stat in sizes.values())
        for path in found[:-1]:
            old = rotation.keep_age_s and body.at_wall - sizes[path].st_mtime > rotation.keep_age_s
            if not old and not (rotation.keep_bytes and total > rotation.keep_bytes):
                break
            total -= sizes[path].st_size
            path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None


def _fresh(body: Entry) -> Path:
    """A name that is not taken: prefix, local time to the microsecond, and a number where two fall together."""
    stamp = datetime.fromtimestamp(body.at_wall).strftime("%Y_%m_%d_%H_%M_%S_%f")
    path = body.directory / f"{body.prefix}_{stamp}.{body.suffix}"
    number = 1
    while path.exists():
        path = body.directory / f"{body.prefix}_{stamp}_{number}.{body.suffix}"
        number += 1
    return path


def _glob(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)
