"""Uploads that come in parts, as far as they have come, on this machine's disk. What is cut off goes on where it was.

A control plane beside this one knows nothing of them: a device that reaches another one begins again.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from fleet.errors import Refused
from wire.reasons import Reason

MOST_OF_DEVICE = 4
"""Uploads of one device under way; its oldest gives way."""
AGE_S = 86400.0


class Parts:
    """Thread-safe. Keys hold no slash and no dot."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def had(self, device: str, key: str) -> int:
        """How many bytes have come."""
        path = self._path(device, key)
        return path.stat().st_size if path.is_file() else 0

    def add(self, device: str, key: str, start: int, content: bytes, total: int) -> int:
        """Add what follows what is there; how many bytes are there afterwards. What does not follow is passed over.

        :raises Refused: more than the whole
        """
        if start + len(content) > total:
            raise Refused(
                Reason.INVALID_FIELD, f"bytes {start} to {start + len(content)} of an upload of {total} bytes"
            )
        with self._lock:
            there = self.had(device, key)
            if start != there:
                return there
            self._make_room(device, key)
            path = self._path(device, key)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.write(content)
            return there + len(content)

    def take(self, device: str, key: str) -> bytes:
        """The whole, which is forgotten here."""
        with self._lock:
            path = self._path(device, key)
            content = path.read_bytes()
            path.unlink()
            return content

    def forget_old(self) -> int:
        """Forget what nobody goes on with; how many."""
        if not self._folder.is_dir():
            return 0
        until_wall = time.time() - AGE_S  # of the file system's clock
        old = [path for path in self._folder.iterdir() if path.stat().st_mtime < until_wall]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def _path(self, device: str, key: str) -> Path:
        return self._folder / f"{device}~{key}"

    def _make_room(self, device: str, key: str) -> None:
        others = [path for path in self._folder.glob(f"{device}~*") if path != self._path(device, key)]
        for path in sorted(others, key=lambda path: path.stat().st_mtime)[: 1 - MOST_OF_DEVICE]:
            path.unlink(missing_ok=True)
