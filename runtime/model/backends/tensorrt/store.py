"""Keeps built engines, and the timings that make the next build shorter. An engine is good for one machine only; the key says which."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from runtime.model.fuse import write_whole

MAX_KEPT = 24
"""Engines; the ones used longest ago go first. They are as large as their weights."""
_DIGITS = 32


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on. Without `weights` it is the key of all that a refit can make of each other.

    profiles: (smallest, usual, largest) batch of each; empty where the batch is fixed.
    """

    structure: str
    weights: str
    library: str
    version: str
    gpu: str
    capability: int
    driver: int
    profiles: tuple[tuple[int, int, int], ...]
    refittable: bool
    level: int

    @property
    def relatives(self) -> str:
        """The same for every version of the weights."""
        parts = {name: value for name, value in asdict(self).items() if name != "weights"}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_DIGITS]

    @property
    def name(self) -> str:
        return f"{self.relatives}-{self.weights[:_DIGITS]}.plan"


class EngineStore:
    """A folder of engines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: EngineKey) -> Path:
        return self.folder / key.name

    def load(self, key: EngineKey) -> bytes | None:
        """The engine, or None."""
        return _read(self.path(key))

    def relative(self, key: EngineKey) -> bytes | None:
        """The newest engine of the same structure with other weights, where refitting is possible."""
        if not key.refittable:
            return None
        others = [p for p in self.folder.glob(f"{key.relatives}-*.plan") if p.name != key.name]
        newest = max(others, key=lambda path: path.stat().st_mtime, default=None)
        return None if newest is None else _read(newest)

    def save(self, key: EngineKey, plan: bytes) -> None:
        """:raises OSError: the disk does not take it"""
        write_whole(self.path(key), plan)
        self.prune()

    def drop(self, key: EngineKey) -> None:
        self.path(key).unlink(missing_ok=True)

    def timings(self, key: EngineKey) -> Path:
        """The timing cache that engines of this machine share."""
        machine = f"{key.library} {key.version} {key.gpu} {key.capability} {key.driver}"
        return self.folder / f"timings-{hashlib.sha256(machine.encode()).hexdigest()[:16]}.cache"

    @contextlib.contextmanager
    def building(self, key: EngineKey) -> Iterator[None]:
        """Held by who builds: another process that wants the same engine waits and then finds it."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self.folder / f".{key.relatives}.lock"
        with lock.open("w") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def prune(self) -> None:
        """Let the oldest go."""
        with contextlib.suppress(OSError):
            entries = sorted(self.folder.glob("*.plan"), key=lambda p: p.stat().st_mtime, reverse=True)
            for entry in entries[MAX_KEPT:]:
                entry.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    try:
        content = path.read_bytes()
        path.touch()
    except OSError:
        return None
    return content or None
