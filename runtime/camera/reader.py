"""The thread that reads one camera: opens it, paces it, keeps it open, and hands over frames.

Live: the newest frame wins, and what it replaces is counted. Files: every frame waits for its turn. A camera that is not
there is tried again with growing pauses; the thread ends only when it is told to, or when a file has come to its end.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from runtime.camera.economy import Economy
from runtime.camera.hours import Timetable
from runtime.camera.inspection import Inspection
from runtime.camera.pace import FPS_LIMIT, Drift, RateLimit, Schedule
from runtime.camera.source import Loss, Pace, Source, Spare, kind_of, pace_of
from runtime.errors import RuntimeFault
from runtime.results import Image
from wire.local import CameraSource, CameraState, PictureState
from wire.reasons import Reason
from wire.source import Kind

BUFFERED_FRAMES = 3
"""Decoded frames held for a pipeline that takes every frame."""
LATEST_WINS = "latest-frame-wins"
"""The policy under which a live frame that nothing took in time gives way to the next."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 15.0
PASSWORD_RETRY_S = 30.0
"""Cameras lock users out who try wrong passwords too often."""
DEFAULT_FPS = 25.0
"""The rate of a file that does not say."""
STALLED_SHARE = 0.9
"""A read that failed after this share of its deadline had nothing to read; a shorter one met the end of the stream."""
TIMETABLE_S = 1.0

Open = Callable[[CameraSource], Source]
News = CameraState | PictureState


@dataclass(frozen=True)
class Frame:
    """A source frame. `seq` numbers the source's frames from 0, also those that were skipped; the times are of capture."""

    seq: int
    image: Image
    captured_mono: float
    captured_wall: float


class CameraReader:
    """Reads one camera in a thread of its own. All methods but the thread's are called by the pipeline's main thread."""

    def __init__(self, camera: CameraSource, open_source: Open) -> None:
        """:raises SourceRefused: the source is of no known form, or a policy cannot be kept here"""
        self._camera = camera
        self._open_source = open_source
        self._live = pace_of(camera) is Pace.LIVE
        self._paced = pace_of(camera) is not Pace.FILE
        self._kind = kind_of(camera)
        self._timetable = Timetable(camera.care.hours)
        self._inspection = Inspection(camera.care, one_size=self._live)
        self._limit = RateLimit(camera.fps)
        self._economy = Economy(self._limit.period_s)
        self.drift = Drift()
        self.loss: Loss | None = None
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._news: deque[News] = deque(maxlen=64)
        self._skipped: dict[str, int] = {}
        self._seq = 0
        self._stopping = False
        self._call = ("", 0.0)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name=f"camera-{camera.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def fileno(self) -> int:
        """Readable when a frame or a change of state is waiting."""
        return self._wake_fd

    def take(self) -> Frame | None:
        """The next frame, or None when none is waiting."""
        with self._changed:
            if not self._frames:
                return None
            self._changed.notify_all()
            return self._frames.popleft()

    def clear(self) -> None:
        """Reset `fileno`; call before `take` and `news`."""
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass

    def news(self) -> tuple[list[News], dict[str, int], int]:
        """Changes of state and frames skipped by policy since the last call, and the number of source frames so far."""
        with self._changed:
            news, skipped = list(self._news), self._skipped
            self._news.clear()
            self._skipped = {}
            return news, skipped, self._seq

    @property
    def brightness(self) -> float | None:
        """Mean grey of the last picture looked at, from 0 to 1; None where there is none."""
        return self._inspection.brightness

    def relieve(self, share: float, reason: str) -> None:
        """Let at most this share of the frames pass, under the name of this policy; 1 for all."""
        self._limit = self._limit.relieved(share, reason)

    def blocked(self, at_mono: float) -> tuple[str, float]:
        """The call into the source that is under way (open, read, close) and for how many seconds; `("", 0)` where none is."""
        call, since_mono = self._call
        return (call, at_mono - since_mono) if call else ("", 0.0)

    def stop(self, deadline_s: float = 1.0) -> bool:
        """End the thread; False when it hangs in a native call, and only the end of the process can end it."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(deadline_s)
        return not self._thread.is_alive()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping:
            if not self._wait_for_hours():
                return
            self._tell(CameraState("opening"))
            before = self._seq
            lost = self._open_and_read()
            if self._stopping or (lost is not None and lost.state == "ended"):
                if lost is not None and not self._stopping:
                    self._tell(lost)
                return
            if self._seq > before:
                retry_s = FIRST_RETRY_S
            if lost is None:
                continue
            self._tell(lost)
            wait_s = PASSWORD_RETRY_S if lost.reason == Reason.CAMERA_PASSWORD.value else retry_s
            self._pause(wait_s * random.uniform(0.8, 1.2))
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    def _wait_for_hours(self) -> bool:
        """Wait until the camera is to be watched; False when told to stop meanwhile."""
        if not self._timetable.active(time.time()):
            self._tell(CameraState("off", Reason.CAMERA_OFF.value, Reason.CAMERA_OFF.text))
            while not self._stopping and not self._timetable.active(time.time()):
                self._pause(TIMETABLE_S)
        return not self._stopping

    def _open_and_read(self) -> CameraState | None:
        """One life of the source: why it was lost or has ended, None where it is simply to be opened again."""
        self._call = ("open", time.monotonic())
        try:
            source = self._open_source(self._camera)
        except RuntimeFault as e:
            return CameraState("lost", e.reason.value, str(e))
        finally:
            self._call = ("", 0.0)
        before = self._seq
        try:
            return self._lost(self._read(source), before)
        finally:
            self._call = ("close", time.monotonic())
            source.close()
            self._call = ("", 0.0)

    def _lost(self, waited_s: float, before: int) -> CameraState | None:
        """What to make of a source that gives no more, after a last read of `waited_s`."""
        if self._stopping or not self._timetable.active(time.time()):
            return None
        if self._kind is Kind.FILE and not self._camera.loop:
            return CameraState("ended", Reason.CAMERA_ENDED.value, "the file has come to its end")
        if self._kind is Kind.FILE and self._seq > before:
            return None
        if waited_s >= STALLED_SHARE * self._camera.care.deadlines.read_s:
            words = f"no frame for {waited_s:.1f} s, though the connection stands"
            return CameraState("lost", Reason.CAMERA_STALLED.value, words)
        return CameraState("lost", Reason.CAMERA_LOST.value, "the stream broke off")

    def _read(self, source: Source) -> float:
        """Read until the source gives no more, the hours are over, or the thread is to end; how long the last read took."""
        schedule = self._schedule(source)
        self._inspection.opened()
        self.drift.opened()
        source.spare = self._spare(schedule)
        told = False
        look_mono = 0.0
        while not self._stopping:
            began_mono = time.monotonic()
            self._call = ("read", began_mono)
            there = source.advance()
            self._call = ("", 0.0)
            if not there:
                return time.monotonic() - began_mono
            due_mono = schedule.next(self._pause) if schedule else time.monotonic()
            seq, self._seq = self._seq, self._seq + 1
            policy = FPS_LIMIT if source.spared else self._limit.refuses(due_mono)
            if policy and told:
                self._skip(policy)
                continue
            image = source.image()
            if image is None:
                self._skip("undecodable")
                continue
            if not told:
                self._tell_streaming(source)
                told = True
            if due_mono >= look_mono:
                look_mono = due_mono + self._inspection.every_s
                self.drift.at(source.position_s(), due_mono)
                self.loss = source.loss()
                if (change := self._inspection.look(image, due_mono)) is not None:
                    self._tell(change)
                if not self._timetable.active(time.time()):
                    self._skip("active-hours")
                    return 0.0
            self._inspection.mask(image)
            wall = source.captured_wall() or time.time() - (time.monotonic() - due_mono)
            self._hand_over(Frame(seq, image, due_mono, wall))
        return 0.0

    def _spare(self, schedule: Schedule | None) -> Spare | None:
        """Which packets the source need not decode, because the rate would not let their frames pass."""
        self._economy.opened()
        if not self._limit.period_s:
            return None

        def spares(key: bool, reference: bool, reordered: bool) -> bool:
            at_mono = schedule.due_mono if schedule else time.monotonic()
            due = self._limit.due(at_mono)
            return self._economy.spares(at_mono, key=key, reference=reference, due=due, reordered=reordered)

        return spares

    def _schedule(self, source: Source) -> Schedule | None:
        if not self._paced or self._kind is not Kind.FILE:
            return None
        return Schedule(1.0 / (source.properties.fps or DEFAULT_FPS))

    def _tell_streaming(self, source: Source) -> None:
        """Told with the first frame that could be decoded: an open connection proves nothing."""
        seen = source.properties
        reason = Reason.CAMERA_DECODER.value if seen.note else ""
        size = (seen.width_px, seen.height_px)
        state = CameraState("streaming", reason, seen.note, *size, seen.fps, seen.decoder)
        self._tell(state)

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            if self._live and self._frames:
                self._frames.clear()
                self._skipped[LATEST_WINS] = self._skipped.get(LATEST_WINS, 0) + 1
            while not self._live and len(self._frames) >= BUFFERED_FRAMES and not self._stopping:
                self._changed.wait(0.5)
            self._frames.append(frame)
        os.eventfd_write(self._wake_fd, 1)

    def _skip(self, policy: str) -> None:
        with self._changed:
            self._skipped[policy] = self._skipped.get(policy, 0) + 1

    def _tell(self, news: News) -> None:
        with self._changed:
            self._news.append(news)
        os.eventfd_write(self._wake_fd, 1)

    def _pause(self, seconds: float) -> None:
        deadline_mono = time.monotonic() + seconds
        with self._changed:
            while not self._stopping and (left_s := deadline_mono - time.monotonic()) > 0:
                self._changed.wait(left_s)
