"""Sources of every kind through the reader: HTTP MJPEG and snapshots, folders, made pictures, GStreamer's child process."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import psutil
import pytest

from runtime.camera import gstreamer
from runtime.camera.opening import open_camera
from runtime.camera.reader import CameraReader, Frame
from tests.faults.camera_yard import Server, programmes, why_not
from wire.camera import Care, Deadlines, PictureChecks, Privacy
from wire.local import CameraSource, CameraState, PictureState
from wire.source import Kind, kind_of

CARE = Care(Deadlines(3.0, 3.0, 2.0), PictureChecks(every_s=0.3))
VIDEO = "video/one-by-one-person-detection.mp4"


class Watch:
    """A reader and what it has delivered."""

    def __init__(self, source: str, pace: str = "live", care: Care = CARE, **options: Any) -> None:
        self.reader = CameraReader(CameraSource("gate", source, pace, 0.0, False, options, care), open_camera)
        self.frames: list[Frame] = []
        self.states: list[CameraState] = []
        self.pictures: list[PictureState] = []
        self.reader.start()

    def until(self, done: Callable[[], bool], deadline_s: float = 20.0) -> None:
        end_mono = time.monotonic() + deadline_s
        while not done():
            assert time.monotonic() < end_mono, self.states
            while (frame := self.reader.take()) is not None:
                self.frames = [*self.frames[-3:], frame]
            for each in self.reader.news()[0]:
                (self.states if isinstance(each, CameraState) else self.pictures).append(each)  # type: ignore[arg-type]
            time.sleep(0.01)

    def seen(self, state: str) -> list[CameraState]:
        return [each for each in self.states if each.state == state]


@pytest.fixture
def web(assets: Path) -> Iterator[str]:
    """A camera that speaks HTTP: /mjpeg streams, /still.jpg is a snapshot that wants a password."""
    capture = cv2.VideoCapture(str(assets / VIDEO))
    pictures = [cv2.imencode(".jpg", capture.read()[1])[1].tobytes() for _ in range(20)]
    wanted = "Basic " + base64.b64encode(b"viewer:hidden-word").decode()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_GET(self) -> None:
            if self.path == "/still.jpg":
                if self.headers.get("Authorization") != wanted:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="camera"')
                    self.end_headers()
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(pictures[0])
                return
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for number in range(400):
                    picture = pictures[number % len(pictures)]
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
                    self.wfile.write(head.encode() + picture + b"\r\n")
                    time.sleep(0.05)
            except OSError:
                return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_motion_jpeg_over_http(web: str) -> None:
    watch = Watch(f"http://{web}/mjpeg")
    watch.until(lambda: len(watch.frames) >= 4)
    assert watch.frames[-1].image.shape == (432, 768, 3)
    assert watch.reader.stop(5.0)


def test_snapshots_over_http_with_a_password(web: str) -> None:
    watch = Watch(f"snapshot+http://viewer:hidden-word@{web}/still.jpg")
    watch.until(lambda: len(watch.frames) >= 2)
    assert watch.frames[-1].image.shape == (432, 768, 3)
    assert watch.reader.stop(5.0)
    wrong = Watch(f"snapshot+http://viewer:wrong-word@{web}/still.jpg")
    wrong.until(lambda: bool(wrong.seen("lost")))
    assert wrong.seen("lost")[0].reason == "camera-password"
    assert "wrong-word" not in wrong.seen("lost")[0].message
    assert wrong.reader.stop(5.0)


def test_every_image_of_a_folder_is_a_frame(assets: Path) -> None:
    folder = assets / "images" / "coco_val_ccby" / "val2017"
    watch = Watch(str(folder), "file")
    watch.until(lambda: bool(watch.seen("ended")))
    while (frame := watch.reader.take()) is not None:
        watch.frames.append(frame)
    assert watch.frames[-1].seq == len(list(folder.glob("*.jpg"))) - 1
    assert watch.pictures == [], "images of a folder may have any size"


def test_a_made_picture_has_its_size_and_rate() -> None:
    watch = Watch("synthetic://320x180@20")
    watch.until(lambda: bool(watch.frames) and watch.frames[-1].seq >= 10)
    assert watch.frames[-1].image.shape == (180, 320, 3)
    assert watch.seen("streaming")[0].fps == 20.0
    assert watch.reader.stop(5.0)
    assert kind_of("synthetic://320x180@20") is Kind.STREAM
    assert kind_of("csi://0") is Kind.DEVICE


def test_a_mask_is_black_before_anything_sees_the_picture() -> None:
    left_half = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
    care = Care(checks=CARE.checks, privacy=Privacy(masks=[left_half]))
    watch = Watch("synthetic://320x180@20", care=care)
    watch.until(lambda: len(watch.frames) >= 2)
    image = watch.frames[-1].image
    assert image[:, :159].max() == 0
    assert image[:, 170:].mean() > 40
    assert watch.reader.stop(5.0)


# --- GStreamer's child process ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if reason := why_not():
        pytest.skip(reason)
    server = Server(programmes(assets / VIDEO, tmp_path_factory.mktemp("clips")))
    server.start()
    yield server
    server.kill()


def gst_children() -> list[int]:
    return [
        child.pid for child in psutil.Process().children() if "gstreamer_child" in " ".join(command_of(child))
    ]


def command_of(child: psutil.Process) -> list[str]:
    try:
        return list(child.cmdline())
    except psutil.Error:
        return []


def test_gstreamer_reads_a_network_camera_and_says_that_it_decodes_in_software(server: Server) -> None:
    watch = Watch(server.url("d"), decoder="gstreamer")
    watch.until(lambda: bool(watch.frames) and watch.frames[-1].seq >= 15)
    told = watch.seen("streaming")[0]
    assert told.decoder.startswith("software: ")
    assert told.reason == "camera-decoder"
    assert watch.frames[-1].image.shape == (180, 320, 3)
    assert watch.frames[-1].image.std() > 10
    (pid,) = gst_children()
    assert server.word.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    # A change of size in mid-stream is seen, and told.
    server.tell("d small")
    watch.until(lambda: watch.frames[-1].image.shape == (90, 160, 3))
    watch.until(lambda: bool(watch.pictures))
    assert watch.pictures[-1].faults[0].reason == "picture-size"
    server.tell("d live")
    watch.until(lambda: watch.pictures[-1].faults == [])
    # A crash of the decoder is a reconnection, no more.
    os.kill(pid, signal.SIGSEGV)
    watch.until(lambda: bool(watch.seen("lost")))
    seq = watch.frames[-1].seq
    watch.until(lambda: watch.frames[-1].seq > seq + 10)
    # A hanging one is killed when its deadline is over.
    (pid,) = gst_children()
    os.kill(pid, signal.SIGSTOP)
    lost = len(watch.seen("lost"))
    watch.until(lambda: len(watch.seen("lost")) > lost)
    watch.until(lambda: bool(gst_children()) and pid not in gst_children())
    seq = watch.frames[-1].seq
    watch.until(lambda: watch.frames[-1].seq > seq + 10)
    assert watch.reader.stop(5.0)
    assert gst_children() == []


def test_a_file_through_gstreamer_gives_the_frames_that_opencv_gives(assets: Path, tmp_path: Path) -> None:
    if reason := why_not():
        pytest.skip(reason)
    if not gstreamer.available():
        pytest.skip("the system's GStreamer is not here")
    clip = programmes(assets / VIDEO, tmp_path)["live"]
    capture = cv2.VideoCapture(str(clip))
    wanted = []
    while (read := capture.read())[0]:
        wanted.append(read[1])
    source = open_camera(CameraSource("f", str(clip), "file", options={"decoder": "gstreamer-software"}))
    got = []
    while source.advance():
        image = source.image()
        assert image is not None
        got.append(image.copy())
        del image
    source.close()
    assert len(got) == len(wanted)
    assert max(float(cv2.absdiff(a, b).mean()) for a, b in zip(got, wanted, strict=True)) < 3.0


def test_a_file_that_is_not_there_is_told(server: Server) -> None:
    watch = Watch(f"rtsp://viewer:{server.word}@127.0.0.1:{server.port}/none", decoder="gstreamer")
    watch.until(lambda: bool(watch.seen("lost")))
    assert watch.seen("lost")[0].reason == "camera-unreachable"
    assert server.word not in watch.seen("lost")[0].message
    assert watch.reader.stop(5.0)
