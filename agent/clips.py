"""Clips of the cameras on this device: bounded in bytes, the oldest give way; those that may go to the fleet are uploaded.

Each is a film and a small document beside it, so that what is kept and what waits survives a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import httpx

from agent.backoff import Backoff
from agent.download import bearer
from agent.errors import Degraded
from agent.files import write_atomic
from wire import local
from wire.reasons import Reason
from wire.redact import redact

log = logging.getLogger(__name__)

ID = re.compile(r"[0-9a-f]{32}")
SUFFIX = {"video/webm": ".webm"}
CHUNK_BYTES = 256 * 1024
IDLE_S = 60.0
UPLOAD_TIMEOUT_S = 60.0
REFUSED_CODES = frozenset({400, 403, 404, 409, 411, 413, 415, 422})
"""Answers after which the same upload will not be taken either."""


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
    """The folder. `adopt` and `mark` may block for the time of a few megabytes; the rest answers at once."""

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

    def waiting(self) -> Clip | None:
        """The oldest that is to be uploaded."""
        return next((clip for clip in self.all() if clip.upload == "waits"), None)

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

    def mark(self, clip: Clip, upload: str) -> None:
        """:raises OSError: it cannot be written"""
        if clip.id in self._clips:
            self._write(replace(clip, upload=upload))

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


class Uploads:
    """`run` sends what waits to the control plane, one after the other, for ever."""

    def __init__(
        self,
        store: ClipStore,
        client: httpx.AsyncClient,
        url: str,
        token: str,
        backoff: Callable[[], Backoff],
    ) -> None:
        self._store = store
        self._client = client
        self._address = f"{url.rstrip('/')}/api/v1/device/clips"
        self._token = token
        self._backoff = backoff
        self._wake = asyncio.Event()
        store.on_waiting = self._wake.set

    async def run(self) -> None:
        backoff = self._backoff()
        while True:
            clip = self._store.waiting()
            if clip is None:
                self._wake.clear()
                try:
                    await asyncio.wait_for(self._wake.wait(), IDLE_S)
                except asyncio.TimeoutError:
                    pass
                continue
            try:
                await self._send(clip)
                backoff = self._backoff()
            except (httpx.HTTPError, OSError) as e:
                delay_s = backoff.next_s()
                why = redact(str(e) or type(e).__name__)
                log.warning(
                    "clip cannot be uploaded",
                    extra={"clip": clip.id, "cause": why, "retry_s": round(delay_s, 1)},
                )
                await asyncio.sleep(delay_s)

    async def _send(self, clip: Clip) -> None:
        """:raises httpx.HTTPError, OSError: it may be tried again"""
        path = self._store.path(clip)
        if not path.is_file():
            self._store.mark(clip, "refused")
            return
        about: dict[str, str | float] = {
            "camera": clip.camera,
            "from_wall": clip.from_wall,
            "to_wall": clip.to_wall,
            "frames": clip.frames,
        }
        answer = await self._client.put(
            f"{self._address}/{clip.id}",
            params={**about, "width": clip.width, "height": clip.height},
            content=await asyncio.to_thread(path.read_bytes),
            headers={**bearer(self._token), "Content-Type": clip.media_type},
            timeout=UPLOAD_TIMEOUT_S,
        )
        if answer.status_code in REFUSED_CODES:
            log.error("clip is refused", extra={"clip": clip.id, "status": answer.status_code})
            await asyncio.to_thread(self._store.mark, clip, "refused")
            return
        answer.raise_for_status()
        await asyncio.to_thread(self._store.mark, clip, "done")
        log.info("clip uploaded", extra={"clip": clip.id, "camera": clip.camera, "bytes": clip.bytes})
