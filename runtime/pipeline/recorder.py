"""Keeps the last seconds of the camera, as they may leave the process, and writes them as a clip when an event or a person asks.

One thread of low priority, a short queue: a picture it has no time for is left out, and the frames' results never wait for it.
Nothing is kept, and no thread runs, where the camera's `clips.seconds` is 0 or its policy lets no picture out.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Degraded, RuntimeFault
from runtime.pipeline import film
from runtime.pipeline.faces import Finder
from runtime.pipeline.privacy import check
from runtime.pipeline.ring import Ring, Still
from runtime.pipeline.snapshot import Seen
from runtime.pipeline.still import encode
from wire import local
from wire.camera import Clips, Privacy
from wire.reasons import Reason

JPEG_QUALITY = 80
WAITING = 2
"""Pictures that wait to be compressed."""
MAX_ORDERS = 4
GRACE_S = 0.7
"""A frame captured at the end of a clip gets its result this much later at most."""
TICK_S = 0.25
NICE = 10
OFF = "the camera keeps no clips; set clips.seconds"


@dataclass(frozen=True)
class Order:
    """A clip to be written once its time is over. `event`: it belongs to one."""

    rid: str
    from_mono: float
    to_mono: float
    purpose: str
    event: bool


class Recorder:
    """`see`, `order` and `take` are for the main thread; `tell` gets each answer, in the recorder's thread."""

    def __init__(self, clips: Clips, privacy: Privacy, run_dir: str) -> None:
        self._clips = clips
        self._privacy = privacy
        self._run_dir = Path(run_dir)
        self._ring = Ring(clips.seconds, clips.max_bytes)
        self._queue: queue.Queue[Seen] = queue.Queue(WAITING)
        self._orders: list[Order] = []
        self._lock = threading.Lock()
        self._next_mono = 0.0
        self._withheld = ""
        self._finder = Finder()
        self.tell: Callable[[local.Message], None] = lambda _message: None
        self.on = clips.seconds > 0 and privacy.pictures != "none"
        if self.on:
            threading.Thread(target=self._work, name="recorder", daemon=True).start()

    def see(self, seen: Seen) -> None:
        """A frame has its result."""
        at_mono = seen.frame.captured_mono
        if not self.on or at_mono < self._next_mono:
            return
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(seen)
            # A tenth of tolerance, as frames come with jitter.
            self._next_mono = at_mono + 0.9 / self._clips.fps

    def order(self, before_s: float, after_s: float) -> tuple[str, str]:
        """A clip around now, for an event: its id, or empty and why there is none."""
        at_mono = time.monotonic()
        purpose = "fleet" if self._privacy.pictures == "fleet" else "device"
        if why := self._why_not(purpose):
            return "", why
        rid = uuid.uuid4().hex
        reach_s = self._clips.seconds
        before_s, after_s = min(before_s, reach_s), min(after_s, reach_s)
        if before_s + after_s > reach_s:
            before_s = max(0.0, reach_s - after_s)
        taken = self._add(Order(rid, at_mono - before_s, at_mono + after_s, purpose, True))
        return (rid, "") if taken else ("", f"{MAX_ORDERS} clips are under way already")

    def take(self, message: local.TakeClip) -> None:
        """A clip of the last seconds, for a person; answered with `ClipTaken`."""
        if why := self._why_not(message.purpose):
            reason = Reason.CLIP_EMPTY if why == OFF else Reason.PICTURE_WITHHELD
            self.tell(local.ClipTaken(message.rid, message=why, reason=reason.value))
            return
        at_mono = time.monotonic()
        order = Order(message.rid, at_mono - message.seconds, at_mono, message.purpose, False)
        if not self._add(order):
            words = f"{MAX_ORDERS} clips are under way already"
            self.tell(local.ClipTaken(message.rid, message=words, reason=Reason.CLIP_EMPTY.value))

    def _why_not(self, purpose: str) -> str:
        try:
            check(self._privacy, purpose)
        except Degraded as e:
            return str(e)
        return "" if self.on else OFF

    def _add(self, order: Order) -> bool:
        with self._lock:
            if len(self._orders) >= MAX_ORDERS:
                return False
            self._orders.append(order)
            return True

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        while True:
            with contextlib.suppress(queue.Empty):
                self._keep(self._queue.get(timeout=TICK_S))
            for order in self._due():
                self.tell(self._film(order))

    def _keep(self, seen: Seen) -> None:
        try:
            still = encode(seen, self._privacy, self._finder, self._clips.width_px, JPEG_QUALITY)
        except RuntimeFault as e:
            # It fails closed: what must be hidden and cannot be is not kept at all.
            self._withheld = str(e)
            return
        self._withheld = ""
        self._ring.add(Still(seen.frame.captured_mono, seen.frame.captured_wall, still.jpeg))

    def _due(self) -> list[Order]:
        at_mono = time.monotonic()
        with self._lock:
            due = [o for o in self._orders if at_mono >= o.to_mono + (GRACE_S if o.event else 0.0)]
            self._orders = [order for order in self._orders if order not in due]
        return due

    def _film(self, order: Order) -> local.ClipTaken:
        stills = self._ring.between(order.from_mono, order.to_mono)
        try:
            if not stills and self._withheld:
                raise Degraded(Reason.PICTURE_WITHHELD, self._withheld)
            path = self._run_dir / f"clip-{order.rid}{film.SUFFIX}"
            made = film.write(stills, path, self._clips.fps)
        except RuntimeFault as e:
            return local.ClipTaken(
                order.rid, message=str(e), reason=e.reason.value, purpose=order.purpose, event=order.event
            )
        return local.ClipTaken(
            order.rid,
            str(made.path),
            film.MEDIA_TYPE,
            made.width_px,
            made.height_px,
            made.frames,
            round(made.from_wall, 3),
            round(made.to_wall, 3),
            purpose=order.purpose,
            event=order.event,
        )
