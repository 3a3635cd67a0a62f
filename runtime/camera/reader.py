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

from runtime.camera.source import Pace, Source, kind_of, pace_of
from runtime.errors import RuntimeFault
from runtime.results import Image
from wire.local import CameraSource, CameraState
from wire.reasons import Reason
from wire.source import Kind

BUFFERED_FRAMES = 3
"""Decoded frames held for a pipeline that takes every frame."""
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 15.0
DEFAULT_FPS = 25.0
"""The rate of a file that does not say."""

Open = Callable[[CameraSource], Source]


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
        """:raises SourceRefused: the source is of no known form"""
        self._camera = camera
        self._open_source = open_source
        self._live = pace_of(camera) is Pace.LIVE
        self._paced = pace_of(camera) is not Pace.FILE
        self._kind = kind_of(camera)
        self._changed = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._states: deque[CameraState] = deque(maxlen=64)
        self._skipped: dict[str, int] = {}
        self._seq = 0
        self._stopping = False
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

    def news(self) -> tuple[list[CameraState], dict[str, int], int]:
        """Changes of state and frames skipped by policy since the last call, and the number of source frames so far."""
        with self._changed:
            states, skipped = list(self._states), self._skipped
            self._states.clear()
            self._skipped = {}
            return states, skipped, self._seq

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
            self._tell(CameraState("opening"))
            try:
                source = self._open_source(self._camera)
            except RuntimeFault as e:
                self._tell(CameraState("lost", e.reason.value, str(e)))
                self._pause(retry_s * random.uniform(0.8, 1.2))
                retry_s = min(retry_s * 2, LAST_RETRY_S)
                continue
            try:
                before = self._seq
                self._read(source)
            finally:
                source.close()
            if self._stopping:
                return
            if self._kind is Kind.FILE and not self._camera.loop:
                self._tell(CameraState("ended", Reason.CAMERA_ENDED.value, "the file has come to its end"))
                return
            if self._kind is Kind.FILE and self._seq > before:
                retry_s = FIRST_RETRY_S
                continue
            retry_s = FIRST_RETRY_S if self._seq > before else min(retry_s * 2, LAST_RETRY_S)
            self._tell(CameraState("lost", Reason.CAMERA_LOST.value, "the stream broke off"))
            self._pause(retry_s * random.uniform(0.8, 1.2))

    def _read(self, source: Source) -> None:
        seen = source.properties
        limit = _RateLimit(self._camera.fps)
        period_s = 1.0 / (seen.fps or DEFAULT_FPS)
        schedule = _Schedule(period_s) if self._paced and self._kind is Kind.FILE else None
        told = False
        while not self._stopping and source.advance():
            due_mono = schedule.next(self._pause) if schedule else time.monotonic()
            if not told:
                self._tell(CameraState("streaming", "", "", seen.width_px, seen.height_px, seen.fps))
                told = True
            seq, self._seq = self._seq, self._seq + 1
            if not limit.admits(due_mono):
                self._skip("fps-limit")
                continue
            image = source.image()
            if image is None:
                self._skip("undecodable")
                continue
            self._hand_over(Frame(seq, image, due_mono, time.time() - (time.monotonic() - due_mono)))

    def _hand_over(self, frame: Frame) -> None:
        with self._changed:
            if self._live and self._frames:
                self._frames.clear()
                self._skipped["latest-frame-wins"] = self._skipped.get("latest-frame-wins", 0) + 1
            while not self._live and len(self._frames) >= BUFFERED_FRAMES and not self._stopping:
                self._changed.wait(0.5)
            self._frames.append(frame)
        os.eventfd_write(self._wake_fd, 1)

    def _skip(self, policy: str) -> None:
        with self._changed:
            self._skipped[policy] = self._skipped.get(policy, 0) + 1

    def _tell(self, state: CameraState) -> None:
        with self._changed:
            self._states.append(state)
        os.eventfd_write(self._wake_fd, 1)

    def _pause(self, seconds: float) -> None:
        deadline_mono = time.monotonic() + seconds
        with self._changed:
            while not self._stopping and (left_s := deadline_mono - time.monotonic()) > 0:
                self._changed.wait(left_s)


class _Schedule:
    """When each frame of a file is due. Falling behind by more than a second starts the schedule anew."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._due_mono = time.monotonic()

    def next(self, pause: Callable[[float], None]) -> float:
        """Wait until the next frame is due; the time at which it was."""
        late_s = time.monotonic() - self._due_mono
        if late_s < 0:
            pause(-late_s)
        elif late_s > 1.0:
            self._due_mono += late_s
        due_mono = self._due_mono
        self._due_mono += self._period_s
        return due_mono


class _RateLimit:
    """Lets at most `fps` frames a second pass, spread evenly; 0 lets all pass."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / fps if fps > 0 else 0.0
        self._due_mono = 0.0

    def admits(self, at_mono: float) -> bool:
        # A quarter of a period of tolerance keeps a camera at exactly the limit from losing every other frame to jitter.
        if at_mono + self._period_s * 0.25 < self._due_mono:
            return False
        on_grid_mono = self._due_mono + self._period_s
        self._due_mono = on_grid_mono if on_grid_mono > at_mono else at_mono + self._period_s
        return True
