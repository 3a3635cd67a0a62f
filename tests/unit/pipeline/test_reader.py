"""Reading a camera: what wins, what waits, what is counted. The source is scripted, the thread is real."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from runtime.camera.inspection import Inspection
from runtime.camera.pace import RateLimit
from runtime.camera.reader import CameraReader, Frame
from runtime.camera.source import PlainSource, Properties
from runtime.errors import Transient
from runtime.results import Image
from wire.camera import Care
from wire.local import CameraSource, CameraState
from wire.reasons import Reason

TIMEOUT_S = 10.0


class Scripted(PlainSource):
    """Frames as long as the script lasts; `gate` is asked before each."""

    def __init__(self, frames: int, gate: Callable[[int], None] = lambda _: None) -> None:
        self._left = frames
        self._gate = gate
        self._number = -1
        self.properties = Properties(8, 8, 1000.0)

    def advance(self) -> bool:
        self._number += 1
        self._gate(self._number)
        return self._number < self._left

    def image(self) -> Image:
        return np.full((8, 8, 3), self._number, np.uint8)


def camera(pace: str, source: str = "clip.mp4") -> CameraSource:
    return CameraSource("door", source, pace)


def drain(reader: CameraReader) -> tuple[list[Frame], list[CameraState], dict[str, int], int]:
    frames: list[Frame] = []
    states: list[CameraState] = []
    skipped: dict[str, int] = {}
    total = 0
    waiting = threading.Event()
    for _ in range(int(TIMEOUT_S * 100)):
        while (frame := reader.take()) is not None:
            frames.append(frame)
        news, passed, total = reader.news()
        states += news
        for policy, count in passed.items():
            skipped[policy] = skipped.get(policy, 0) + count
        if any(state.state == "ended" for state in states):
            return frames, states, skipped, total
        waiting.wait(0.01)
    raise AssertionError("the file did not end")


def test_every_frame_of_a_file_comes_once_and_in_order() -> None:
    reader = CameraReader(camera("file"), lambda _: Scripted(40))
    reader.start()
    frames, states, skipped, total = drain(reader)
    assert [frame.seq for frame in frames] == list(range(40))
    assert [int(frame.image[0, 0, 0]) for frame in frames] == list(range(40))
    assert (skipped, total) == ({}, 40)
    assert [state.state for state in states] == ["opening", "streaming", "ended"]
    assert reader.stop()


def test_on_a_live_source_the_newest_frame_wins_and_the_others_are_counted() -> None:
    all_read = threading.Event()
    hold = threading.Event()

    def gate(number: int) -> None:
        if number == 5:
            all_read.set()
            hold.wait(TIMEOUT_S)

    reader = CameraReader(camera("live", "rtsp://127.0.0.1/x"), lambda _: Scripted(9, gate))
    reader.start()
    assert all_read.wait(TIMEOUT_S)
    frame = reader.take()
    assert frame is not None
    assert frame.seq == 4
    assert reader.take() is None
    assert reader.news()[1] == {"latest-frame-wins": 4}
    hold.set()
    assert reader.stop()


def test_a_camera_that_is_not_there_is_tried_again_and_says_why() -> None:
    tries = threading.Semaphore(0)

    def fail(_: CameraSource) -> Scripted:
        tries.release()
        raise Transient(Reason.CAMERA_UNREACHABLE, "no route")

    reader = CameraReader(camera("live", "rtsp://127.0.0.1/x"), fail)
    reader.start()
    assert tries.acquire(timeout=TIMEOUT_S)
    assert tries.acquire(timeout=TIMEOUT_S)
    states = reader.news()[0]
    assert [s.state for s in states][:2] == ["opening", "lost"]
    assert states[1].reason == "camera-unreachable"
    assert reader.stop()


def test_a_rate_limit_spreads_evenly_and_keeps_a_camera_at_the_limit_whole() -> None:
    limit = RateLimit(10.0)
    assert sum(not limit.refuses(i / 30) for i in range(300)) == 100
    exact = RateLimit(10.0)
    jitter = (0.0, 0.01, -0.01)
    assert sum(not exact.refuses(i / 10 + jitter[i % 3]) for i in range(300)) == 300


def test_no_limit_lets_every_frame_pass() -> None:
    limit = RateLimit(0.0)
    assert not any(limit.refuses(i / 1000) for i in range(50))


def test_a_look_at_the_picture_tells_its_brightness_until_the_stream_is_opened_anew() -> None:
    inspection = Inspection(Care(), one_size=True)
    assert inspection.brightness is None
    inspection.look(np.full((90, 160, 3), 51, np.uint8), 1.0)
    assert inspection.brightness == 0.2
    inspection.opened()
    assert inspection.brightness is None
