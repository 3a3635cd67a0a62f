"""The flight recorder: the last hours of health, transitions and decisions in a small ring of files on disk.

Spares flash: figures are gathered in memory and written together once in a while; what is decided is written at once, without an
fsync, so that a SIGKILL loses none of it and a power cut the last seconds at most.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from agent.clock import Clock
from agent.update.journal import Outcome
from wire.health import Health

log = logging.getLogger(__name__)

SEGMENT_BYTES = 256 * 1024
SEGMENTS = 8
GATHER_S = 300.0
HEALTH_S = 60.0
MAX_ENTRY_BYTES = 16 * 1024
KEPT = 200
"""Lines that wait for a disk with room."""
SUFFIX = ".jsonl"


class Recorder:
    """For one process. The ring holds `segments` × `segment_bytes` at most; the oldest segment goes first."""

    def __init__(
        self, directory: Path, clock: Clock, *, segment_bytes: int = SEGMENT_BYTES, segments: int = SEGMENTS
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._segments = segments
        self._gathered: list[bytes] = []
        self._due_mono = clock.mono() + GATHER_S
        self._failed = False
        self._next_health_mono = 0.0

    def decided(self, kind: str, body: dict[str, Any]) -> None:
        """Something that explains what the device did: written at once, with what was gathered before it."""
        self._gathered.append(self._line(kind, body))
        self.flush()

    def figures(self, kind: str, body: dict[str, Any]) -> None:
        """Something to be seen in its course: written with the others in a few minutes."""
        self._gathered.append(self._line(kind, body))
        if self._clock.mono() >= self._due_mono:
            self.flush()

    def outcome(self, outcome: Outcome, before: str, answer: Any) -> None:
        """An arrow of an update."""
        told = asdict(answer) if is_dataclass(answer) and not isinstance(answer, type) else None
        body = {"revision": outcome.revision, "phase": outcome.phase.value, "over": before, "answer": told}
        self.decided("update", {**body, "reason": outcome.reason, "message": outcome.message})

    def health(self, health: Health) -> None:
        """The figures that explain a decision, once a minute at most."""
        if self._clock.mono() < self._next_health_mono:
            return
        self._next_health_mono = self._clock.mono() + HEALTH_S
        cameras = {
            name: {
                "state": c.state,
                "fps": c.fps,
                "p95_ms": c.latency_p95_ms,
                "results": c.results,
                "blind_s": c.blind_s,
            }
            for name, c in health.cameras.items()
        }
        models = {
            name: {
                "state": m.state,
                "p95_ms": m.infer_p95_ms,
                "errors": m.errors,
                "restarts": m.restarts,
                "rss": m.rss_bytes,
            }
            for name, m in health.models.items()
        }
        host = health.host.to_json() if health.host else {}
        self.figures(
            "health", {"revision": health.revision, "cameras": cameras, "models": models, "host": host}
        )

    def flush(self) -> None:
        """Write what was gathered; what a disk does not take is kept for the next time, the newest of it."""
        self._due_mono = self._clock.mono() + GATHER_S
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            while self._gathered:
                self._append(self._gathered[0])
                self._gathered.pop(0)
                self._failed = False
        except OSError as e:
            del self._gathered[:-KEPT]
            if not self._failed:
                log.warning("the flight recorder cannot write", extra={"cause": str(e)})
            self._failed = True

    def read(self) -> list[dict[str, Any]]:
        """Everything in the ring, oldest first, and what is not written yet."""
        return [*entries(self._directory), *(json.loads(line) for line in self._gathered)]

    def _line(self, kind: str, body: dict[str, Any]) -> bytes:
        entry = {"at": round(self._clock.wall(), 2), "mono": round(self._clock.mono(), 2), "kind": kind}
        line = json.dumps({**entry, **body}, default=str, separators=(",", ":")).encode() + b"\n"
        if len(line) <= min(MAX_ENTRY_BYTES, self._segment_bytes):
            return line
        return json.dumps({**entry, "cut_bytes": len(line)}).encode() + b"\n"

    def _append(self, line: bytes) -> None:
        files = _files(self._directory)
        newest = files[-1] if files else self._directory / f"{0:08}{SUFFIX}"
        if newest.exists() and newest.stat().st_size + len(line) > self._segment_bytes:
            newest = newest.with_name(f"{int(newest.stem) + 1:08}{SUFFIX}")
            files.append(newest)
        with newest.open("ab") as file:
            file.write(b"\n" + line if self._failed else line)  # after a line that may be half there
        for path in files[: -self._segments]:
            path.unlink(missing_ok=True)


def entries(directory: Path) -> Iterator[dict[str, Any]]:
    """What a ring holds, oldest first; a line that a cut broke is passed over."""
    for path in _files(directory):
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            continue
        for line in lines:
            try:
                yield dict(json.loads(line))
            except (ValueError, TypeError):
                continue


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if path.stem.isdigit())
