"""Pictures for re-training that wait to be uploaded: bounded on the disk for each camera, within what a day allows.

What was taken and sent of a day is written down, so that a restart begins no new day.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from agent.clock import Clock
from agent.files import write_atomic
from agent.uploads import Parcel
from wire.camera import Sampling
from wire.local import SampleTaken
from wire.picture import MEDIA_TYPE

log = logging.getLogger(__name__)

_NAME = re.compile(r"(\d{13})~([A-Za-z0-9._-]{1,64})~([0-9a-f]{32})")
"""When it was taken (ms), of which camera, its id."""
BOOK = "day.json"


@dataclass
class Day:
    """What a camera has taken and sent since midnight, UTC."""

    date: str = ""
    taken: dict[str, int] = field(default_factory=dict)
    sent_bytes: dict[str, int] = field(default_factory=dict)


class SampleStore:
    """The folder. `adopt` and `settle` may block for the time of a picture; the rest answers at once."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._waiting: dict[str, int] = {}
        self._limits: dict[str, Sampling] = {}
        self._day = Day()
        self._lock = threading.Lock()
        self.dropped = 0
        self.on_waiting: Callable[[], None] = lambda: None
        self._read()

    def __len__(self) -> int:
        return len(self._waiting)

    def adopt(self, camera: str, sampling: Sampling, taken: SampleTaken) -> bool:
        """Take over the file a pipeline has written; False where the day has had enough.

        :raises OSError: it cannot be kept
        """
        with self._lock:
            kept = self._adopt(camera, sampling, taken)
        if kept:
            self.on_waiting()
        return kept

    def _adopt(self, camera: str, sampling: Sampling, taken: SampleTaken) -> bool:
        source = Path(taken.path)
        self._limits[camera] = sampling
        day = self._today()
        try:
            if (
                day.taken.get(camera, 0) >= sampling.per_day
                or _NAME.fullmatch(f"{0:013}~{camera}~{taken.rid}") is None
            ):
                return False
            size = source.stat().st_size
            if size > sampling.disk_bytes:
                return False
            self._make_room(camera, sampling.disk_bytes - size)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = f"{int(self._clock.wall() * 1000):013}~{camera}~{taken.rid}"
            part = self._folder / f"{taken.rid}.part"
            shutil.copyfile(source, part)
            os.replace(part, self._folder / name)
            self._waiting[name] = size
            day.taken[camera] = day.taken.get(camera, 0) + 1
            self._write()
        finally:
            source.unlink(missing_ok=True)
        return True

    def next(self) -> Parcel | None:
        """The oldest of a camera that may send more today."""
        with self._lock:
            return self._next()

    def _next(self) -> Parcel | None:
        sent = self._today().sent_bytes
        for name in sorted(self._waiting):
            _, camera, key = name.split("~")
            limit = self._limits.get(camera, Sampling()).upload_bytes_day
            size = self._waiting[name]
            before = sent.get(camera, 0)
            if before + size <= limit or not before:  # one that alone is more goes as the first of a day
                return Parcel(key, camera, f"samples/{key}", self._folder / name, size, MEDIA_TYPE)
        return None

    def settle(self, parcel: Parcel, outcome: str) -> None:
        """It has been sent, or will never be."""
        with self._lock:
            self._settle(parcel, outcome)

    def _settle(self, parcel: Parcel, outcome: str) -> None:
        self._forget(parcel.path.name)
        if outcome == "done":
            sent = self._today().sent_bytes
            sent[parcel.camera] = sent.get(parcel.camera, 0) + parcel.size_bytes
            try:
                self._write()
            except OSError as e:
                log.warning("what was sent today is not written down", extra={"cause": str(e)})

    def _today(self) -> Day:
        date = datetime.fromtimestamp(self._clock.wall(), timezone.utc).date().isoformat()
        if self._day.date != date:
            self._day = Day(date)
        return self._day

    def _make_room(self, camera: str, most_bytes: int) -> None:
        """The oldest of the camera give way."""
        own = sorted(name for name in self._waiting if name.split("~")[1] == camera)
        total = sum(self._waiting[name] for name in own)
        for name in own:
            if total <= most_bytes:
                return
            total -= self._waiting[name]
            self.dropped += 1
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._waiting.pop(name, None)
        (self._folder / name).unlink(missing_ok=True)

    def _write(self) -> None:
        limits = {camera: asdict(sampling) for camera, sampling in self._limits.items()}
        content = json.dumps({"day": asdict(self._day), "limits": limits}).encode()
        write_atomic(self._folder / BOOK, content, 0o600, durable=False)

    def _read(self) -> None:
        if not self._folder.is_dir():
            return
        try:
            book = json.loads((self._folder / BOOK).read_bytes())
            self._day = Day(**book["day"])
            self._limits = {camera: Sampling(**fields) for camera, fields in book["limits"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._day, self._limits = Day(), {}
        for path in self._folder.iterdir():
            if _NAME.fullmatch(path.name):
                self._waiting[path.name] = path.stat().st_size
            elif path.name != BOOK:
                path.unlink(missing_ok=True)
