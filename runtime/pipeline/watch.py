"""What becomes of the camera's news: told to the agent, booked as blind time, and a camera that hangs found out."""

from __future__ import annotations

import time

from runtime.camera.pace import FPS_LIMIT
from runtime.camera.reader import CameraReader
from runtime.link import Link
from runtime.pipeline.ledger import Ledger
from wire.local import CameraSource, CameraState, PictureState, Relieve
from wire.reasons import Reason

NO_FRAME_S = 5.0
"""A streaming camera without a frame, or with none that has a result, for this long is not watched, whatever it says."""
NO_POLICY = frozenset({FPS_LIMIT, "active-hours"})
"""Skips that the user has asked for."""
POLICY_S = 1.0
"""A policy that has skipped a frame within this time is at work."""
UNDECODABLE = "undecodable"


class CameraWatch:
    """Of the pipeline's main thread. `state` is the camera's own; `source_fps` its rate, 0 where it is not known."""

    def __init__(self, camera: CameraSource, reader: CameraReader, ledger: Ledger, link: Link) -> None:
        self.state = CameraState("opening")
        self._camera = camera
        self._reader = reader
        self._ledger = ledger
        self._link = link
        self._last_frame_mono = time.monotonic()
        self._last_policy = ""
        self._last_policy_mono = 0.0
        self._quiet_s = max(NO_FRAME_S, 2.0 / camera.fps if camera.fps else 0.0)

    def take_news(self) -> None:
        """Book and pass on what the reader has to tell."""
        news, skipped, total = self._reader.news()
        if total > self._ledger.frames:
            # Frames that a policy skips are a sign of life too.
            self._last_frame_mono = time.monotonic()
        if policies := [policy for policy in skipped if policy not in NO_POLICY]:
            self._last_policy, self._last_policy_mono = policies[-1], time.monotonic()
        self._ledger.frames_seen(total, skipped)
        for each in news:
            self._link.send(each)
            if isinstance(each, PictureState):
                self._veil(each)
            else:
                self._camera_is(each)

    def relieve(self, message: Relieve) -> None:
        """Lower the rate, or raise it again, as the agent says."""
        self._reader.relieve(message.share, message.reason)

    def check(self, at_mono: float, *, idle: bool) -> bool:
        """Once a second; `idle`: the loop waits for a frame. True where the reader hangs in a native call for good."""
        call, blocked_s = self._reader.blocked(at_mono)
        if call and blocked_s > self._deadline_s(call):
            words = f"the call to {call} the camera has not come back for {blocked_s:.0f} s"
            self._ledger.blind(Reason.CAMERA_HUNG, at_mono)
            self.state = CameraState("lost", Reason.CAMERA_HUNG.value, words)
            self._link.send(self.state)
            return True
        if self.state.state == "streaming" and idle:
            self._look_for_silence(at_mono)
        return False

    def _look_for_silence(self, at_mono: float) -> None:
        if at_mono - self._last_frame_mono > NO_FRAME_S:
            self._ledger.blind(Reason.CAMERA_STALLED, at_mono)
        elif at_mono - self._last_policy_mono < POLICY_S:
            last_mono = self._ledger.last_result_mono
            if last_mono and at_mono - last_mono > self._quiet_s:
                self._ledger.blind(_cause(self._last_policy), at_mono)

    def _deadline_s(self, call: str) -> float:
        deadlines = self._camera.care.deadlines
        # Opening has two deadlines of its own, one to connect and one to find the streams.
        own_s = {"open": 2 * deadlines.open_s, "read": deadlines.read_s}
        return own_s.get(call, 0.0) + deadlines.hang_s

    def _camera_is(self, state: CameraState) -> None:
        self.state = state
        at_mono = time.monotonic()
        if state.state == "off":
            self._ledger.off(at_mono)
            return
        self._ledger.on(at_mono)
        if state.state == "lost":
            self._ledger.blind(Reason(state.reason), at_mono)
        elif state.state == "ended":
            self._ledger.ended()

    def _veil(self, picture: PictureState) -> None:
        blind = [fault for fault in picture.faults if fault.blind]
        cause = Reason(blind[0].reason) if blind else None
        since_mono = min((fault.since_mono for fault in blind), default=0.0)
        self._ledger.veil(cause, since_mono, time.monotonic())


def _cause(policy: str) -> Reason:
    if policy == UNDECODABLE:
        return Reason.CAMERA_NONSENSE
    limits = (Reason.THERMAL_LIMIT, Reason.POWER_LIMIT, Reason.CPU_LIMIT)
    return next((reason for reason in limits if reason.value == policy), Reason.DROPPED_BY_POLICY)
