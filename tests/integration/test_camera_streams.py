"""What a real network stream tells beside its pictures: codecs, the camera's own time, packets lost, packets left undecoded."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.camera.opening import open_camera
from runtime.camera.reader import CameraReader, Frame
from tests.faults.camera_yard import Server as Yard
from tests.faults.camera_yard import programmes, why_not
from tests.faults.lossy_relay import LossyRelay
from tests.integration.test_rtsp_camera import Server
from wire.local import CameraSource, CameraState

ENCODERS = {
    "h264": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "25"],
    "h265": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "bframes=0:keyint=25:log-level=none"],
    "mjpeg": ["-c:v", "mjpeg", "-q:v", "5", "-huffman", "default", "-pix_fmt", "yuvj420p"],
}


@pytest.fixture(scope="module")
def video(assets: Path) -> Path:
    if reason := why_not():
        pytest.skip(reason)
    return assets / "video" / "one-by-one-person-detection.mp4"


def encoded(video: Path, into: Path, codec: str, *more: str, seconds: int = 20) -> Path:
    path = into / f"{codec}.{'avi' if codec == 'mjpeg' else 'mp4'}"
    command = ["ffmpeg", "-v", "error", "-y", "-ss", "6", "-t", str(seconds), "-i", str(video)]
    command += [
        "-vf",
        "scale=320:176,fps=25",
        "-an",
        "-pix_fmt",
        "yuv420p",
        *ENCODERS[codec],
        *more,
        str(path),
    ]
    subprocess.run(command, check=True)
    return path


class Watch:
    """A reader and what it has delivered; the last `most` frames are kept."""

    most = 1000

    def __init__(self, source: str, pace: str = "live", fps: float = 0.0, **options: Any) -> None:
        self.reader = CameraReader(CameraSource("gate", source, pace, fps, False, options), open_camera)
        self.frames: list[Frame] = []
        self.states: list[CameraState] = []
        self.skipped: dict[str, int] = {}
        self.total = 0
        self.count = 0
        self.reader.start()

    def until(self, done: Callable[[], bool], deadline_s: float = 30.0) -> None:
        end_mono = time.monotonic() + deadline_s
        while not done():
            assert time.monotonic() < end_mono, (self.states, self.total, self.skipped, self.reader.loss)
            while (frame := self.reader.take()) is not None:
                # GStreamer's frames lie in few slots, which a frame that is kept would hold.
                self.frames = [*self.frames[-self.most + 1 :], frame]
                self.count += 1
            news, skipped, self.total = self.reader.news()
            self.states += [each for each in news if isinstance(each, CameraState)]
            for policy, count in skipped.items():
                self.skipped[policy] = self.skipped.get(policy, 0) + count
            time.sleep(0.005)

    def ended(self) -> bool:
        return any(state.state == "ended" for state in self.states)


@pytest.mark.parametrize("decoder", ["libav", "opencv", "gstreamer"])
@pytest.mark.parametrize("codec", ["h265", "mjpeg"])
def test_every_codec_of_cameras_over_rtsp(video: Path, tmp_path: Path, codec: str, decoder: str) -> None:
    server = Server(encoded(video, tmp_path, codec), codec)
    server.start()
    watch = Watch(server.url, decoder=decoder)
    watch.most = 2
    try:
        watch.until(lambda: watch.count >= 20)
        assert watch.frames[-1].image.shape == (176, 320, 3)
        assert watch.frames[-1].image.std() > 10
        assert watch.reader.drift.ms is None or abs(watch.reader.drift.ms) < 2000
    finally:
        watch.frames.clear()
        assert watch.reader.stop(5.0)
        server.kill()


@pytest.fixture
def server(video: Path, tmp_path: Path) -> Iterator[Yard]:
    server = Yard(programmes(video, tmp_path))
    server.start()
    yield server
    server.kill()


def test_lost_packets_are_counted_and_the_cameras_own_time_is_taken(server: Yard) -> None:
    relay = LossyRelay(server.port)
    watch = Watch(f"rtsp://viewer:{server.word}@127.0.0.1:{relay.port}/b", rtsp_transport="udp")
    try:
        watch.until(lambda: watch.reader.loss is not None and len(watch.frames) > 10)
        loss = watch.reader.loss
        assert loss is not None
        assert loss.packets == 0
        relay.loss = 0.2
        watch.until(lambda: relay.dropped > 30)
        relay.loss = 0.0
        watch.until(lambda: (watch.reader.loss or loss).packets >= relay.dropped - 3)
        assert watch.reader.loss is not None
        assert watch.reader.loss.packets <= relay.dropped
        # The server reports every few seconds how much it has sent.
        watch.until(lambda: bool(watch.reader.loss and watch.reader.loss.share))
        share = watch.reader.loss.share
        assert share is not None
        assert 0.02 < share < 0.6
        # The server's clock is this machine's: its time of capture is before the arrival, by little.
        last = watch.frames[-1]
        arrived_wall = time.time() - (time.monotonic() - last.captured_mono)
        assert -0.5 < arrived_wall - last.captured_wall < 5.0
        assert watch.reader.drift.ms is not None
    finally:
        assert watch.reader.stop(5.0)
        relay.close()


def played(path: Path, fps: float, decoder: str = "libav") -> tuple[Watch, float]:
    """A whole file at its own pace, and the processor time a frame of it took, in seconds."""
    watch = Watch(str(path), "realtime", fps, decoder=decoder)
    began_s = time.process_time()
    watch.until(watch.ended, 60.0)
    while (frame := watch.reader.take()) is not None:
        watch.frames.append(frame)
    assert watch.total == len(watch.frames) + sum(watch.skipped.values())
    assert set(watch.skipped) <= {"fps-limit"}
    return watch, time.process_time() - began_s


def test_a_low_rate_decodes_key_frames_only_and_shows_the_right_ones(video: Path, tmp_path: Path) -> None:
    clip = encoded(video, tmp_path, "h264", seconds=12)
    capture = cv2.VideoCapture(str(clip))
    every = []
    while (read := capture.read())[0]:
        every.append(read[1])
    watch, _ = played(clip, 1.0)
    assert watch.total == len(every)
    assert len(watch.frames) == pytest.approx(12, abs=1)
    for frame in watch.frames:
        assert np.array_equal(frame.image, every[frame.seq]), frame.seq
    late = [frame.seq for frame in watch.frames if frame.seq > 100]
    assert late
    assert all(seq % 25 == 0 for seq in late)


def test_pictures_that_no_other_needs_are_left_out_and_the_rest_is_whole(video: Path, tmp_path: Path) -> None:
    clip = encoded(video, tmp_path, "h264", "-bf", "2", "-b_strategy", "0", seconds=6)
    capture = cv2.VideoCapture(str(clip))
    every = []
    while (read := capture.read())[0]:
        every.append(read[1])
    watch, _ = played(clip, 5.0)
    assert watch.total == len(every)
    assert len(watch.frames) == pytest.approx(30, abs=3)
    for frame in watch.frames:
        assert min(int(cv2.absdiff(frame.image, each).max()) for each in every) == 0, "a damaged picture"


def _turn(flat: Path, turned: Path, degrees: int) -> None:
    """Write the turn into the file; newer versions of ffmpeg take another option for it."""
    before = ["ffmpeg", "-v", "error", "-y"]
    after = ["-i", str(flat), "-c", "copy"]
    newer = [*before, "-display_rotation", str(degrees), *after, str(turned)]
    older = [*before, *after, "-metadata:s:v:0", f"rotate={degrees}", str(turned)]
    if subprocess.run(newer, capture_output=True).returncode:
        subprocess.run(older, check=True)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_film_of_a_turned_telephone_is_upright_as_opencv_shows_it(
    video: Path, tmp_path: Path, turn: int
) -> None:
    flat = encoded(video, tmp_path, "h264", seconds=1)
    turned = tmp_path / "turned.mp4"
    _turn(flat, turned, turn)
    wanted = cv2.VideoCapture(str(turned)).read()[1]
    assert wanted.shape[:2] == ((320, 176) if turn != 180 else (176, 320))
    source = open_camera(CameraSource("f", str(turned), "file"))
    assert source.advance()
    got = source.image()
    source.close()
    assert got is not None
    assert got.shape == wanted.shape
    assert np.array_equal(got, wanted)


def test_every_form_of_picture_comes_out_as_opencv_gives_it(video: Path, tmp_path: Path) -> None:
    for codec, more in (
        ("mjpeg", ()),
        ("h264", ("-pix_fmt", "yuv444p")),
        ("h264", ("-pix_fmt", "yuv420p10le")),
    ):
        clip = encoded(video, tmp_path, codec, *more, seconds=1)
        wanted = cv2.VideoCapture(str(clip)).read()[1]
        source = open_camera(CameraSource("f", str(clip), "file"))
        assert source.advance()
        got = source.image()
        assert got is not None
        assert float(cv2.absdiff(got, wanted).mean()) < 2.0, (codec, more)
        source.close()
