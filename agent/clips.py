"""Clips of the cameras on this device: bounded in bytes, the oldest give way; those that may go to the fleet wait to be uploaded.

Each is a film and a small document beside it, so that what is kept and what waits survives a restart.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from agent.errors import Degraded
from agent.files import write_atomic
from agent.uploads import Parcel
from wire import local
from wire.reasons import Reason

ID = re.compile(r"[0-9a-f]{32}")
SUFFIX = {"video/webm": ".webm"}


@dataclass(frozen=True)
class Clip:
    """`upload`: `no` (it stays here), `waits`, `done`, or `refused` by the control plane."""

    id: str
    camera: str
    media_type: str
    width: int
    height: int
    frames: int
    from_wall: float
    to_wall: float
    bytes: int
    event: bool = False
    upload: str = "no"


class ClipStore:
    """The folder. `adopt` and `settle` may block for the time of a few megabytes; the rest answers at once."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._clips: dict[str, Clip] = {}
        self.dropped = 0
        self.on_waiting: Callable[[], None] = lambda: None
        self._read()

    def all(self) -> list[Clip]:
        """Oldest first."""
        return sorted(self._clips.values(), key=lambda clip: clip.to_wall)

    def find(self, clip_id: str) -> Clip:
        """:raises Degraded: there is none of that id (any more)"""
        clip = self._clips.get(clip_id)
        if clip is None:
            raise Degraded(Reason.NOT_FOUND, f"no clip is called {clip_id[:40]!r}; the oldest give way")
        return clip

    def path(self, clip: Clip) -> Path:
        return self._folder / f"{clip.id}{SUFFIX.get(clip.media_type, '.bin')}"

    def next(self) -> Parcel | None:
        """The oldest that is to be uploaded."""
        clip = next((clip for clip in self.all() if clip.upload == "waits"), None)
        if clip is None:
            return None
        fields = ("camera", "from_wall", "to_wall", "frames", "width", "height")
        about = tuple((name, getattr(clip, name)) for name in fields)
        path = self.path(clip)
        return Parcel(clip.id, clip.camera, f"clips/{clip.id}", path, clip.bytes, clip.media_type, about)

    def adopt(self, camera: str, taken: local.ClipTaken) -> Clip:
        """Take over the file a pipeline has written.

        :raises Degraded: there is none, or no room for it
        """
        if not taken.path:
            raise Degraded(Reason(taken.reason or Reason.CLIP_EMPTY.value), taken.message)
        source = Path(taken.path)
        try:
            size = source.stat().st_size
            if size > self._max_bytes or ID.fullmatch(taken.rid) is None:
                raise Degraded(
                    Reason.TOO_LARGE, f"a clip of {size} bytes; at most {self._max_bytes} are kept"
                )
            clip = Clip(
                taken.rid,
                camera,
                taken.media_type,
                taken.width,
                taken.height,
                taken.frames,
                taken.from_wall,
                taken.to_wall,
                size,
                taken.event,
                "waits" if taken.purpose == "fleet" else "no",
            )
            self._make_room(size)
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            part = self._folder / f"{clip.id}.part"
            shutil.copyfile(source, part)
            os.replace(part, self.path(clip))
            self._write(clip)
        except OSError as e:
            raise Degraded(Reason.DISK_FULL, f"a clip cannot be kept in {self._folder}: {e}") from e
        finally:
            source.unlink(missing_ok=True)
        if clip.upload == "waits":
            self.on_waiting()
        return clip

    def settle(self, parcel: Parcel, outcome: str) -> None:
        """:raises OSError: it cannot be written"""
        if (clip := self._clips.get(parcel.id)) is not None:
            self._write(replace(clip, upload=outcome))

    def _write(self, clip: Clip) -> None:
        self._clips[clip.id] = clip
        write_atomic(
            self._folder / f"{clip.id}.json", json.dumps(asdict(clip)).encode(), 0o600, durable=False
        )

    def _make_room(self, size: int) -> None:
        """What has reached the fleet, or stays here, goes before what still waits."""
        by_worth = sorted(self._clips.values(), key=lambda clip: (clip.upload == "waits", clip.to_wall))
        total = sum(clip.bytes for clip in by_worth)
        for clip in by_worth:
            if total + size <= self._max_bytes:
                return
            total -= clip.bytes
            self.dropped += clip.upload == "waits"
            self._forget(clip)

    def _forget(self, clip: Clip) -> None:
        del self._clips[clip.id]
        self.path(clip).unlink(missing_ok=True)
        (self._folder / f"{clip.id}.json").unlink(missing_ok=True)

    def _read(self) -> None:
        if not self._folder.is_dir():
            return
        for path in self._folder.glob("*.json"):
            try:
                clip = Clip(**json.loads(path.read_bytes()))
            except (OSError, ValueError, TypeError):
                path.unlink(missing_ok=True)
                continue
            if self.path(clip).is_file():
                self._clips[clip.id] = clip
            else:
                path.unlink(missing_ok=True)
        known = {self.path(clip).name for clip in self._clips.values()}
        for path in self._folder.iterdir():
            if path.suffix != ".json" and path.name not in known:
                path.unlink(missing_ok=True)
