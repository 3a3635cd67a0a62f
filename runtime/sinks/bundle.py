"""An event as one archive, `payload.json` and `images/`, that appears under its name all at once and never replaces another."""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.sinks.sender import Undelivered

MAX_BYTES = 25 * 1024 * 1024
"""What takes bundles in refuses larger ones."""
NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK})
"""A file system that has no hard links, such as that of a memory stick."""
WRITTEN = "Vision event bundle written successfully"


@dataclass(frozen=True)
class Bundle:
    """`images`: member name → what makes its content, called by the worker."""

    path: Path
    payload: Mapping[str, Any]
    images: Mapping[str, Callable[[], bytes]]
    at_wall: float


class BundleSender:
    """Writes bundles."""

    def send(self, body: Bundle) -> str:
        """The path that was written."""
        content = packed(body)
        if len(content) > MAX_BYTES:
            raise Undelivered(
                f"the bundle has {len(content):,} bytes, more than the {MAX_BYTES:,} (25 MiB) that are taken in: "
                "send fewer or smaller pictures",
                again=False,
            )
        try:
            body.path.parent.mkdir(parents=True, exist_ok=True)
            publish(body.path, content)
        except FileExistsError as e:
            raise Undelivered(
                f"{body.path} exists: a file_name must be another one for each event", again=False
            ) from e
        except OSError as e:
            raise Undelivered(f"{body.path}: {e.strerror or e}") from e
        return str(body.path)

    def close(self) -> None:
        """Nothing to let go."""


def packed(body: Bundle) -> bytes:
    """The archive."""
    members = {"payload.json": json.dumps(body.payload, indent=2, allow_nan=False).encode()}
    members |= {name: content() for name, content in body.images.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime = len(content), int(body.at_wall)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def publish(path: Path, content: bytes) -> None:
    """Write beside, under a name with a dot in front, then give it its own name. Both survive a power cut.

    :raises FileExistsError: there is one of that name
    """
    part = path.with_name(f".tmp_{secrets.token_hex(4)}_{path.name}")
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _name(part, path)
    finally:
        part.unlink(missing_ok=True)
    folder_fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder_fd)
    finally:
        os.close(folder_fd)


def _name(part: Path, path: Path) -> None:
    try:
        os.link(part, path)
    except OSError as e:
        if e.errno not in NO_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, "exists", str(path)) from e
        os.replace(part, path)
