"""A network camera: frames of a real RTSP server, its loss, and its coming back."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.ports import free_port
from runtime.camera.opening import open_camera
from runtime.camera.reader import CameraReader, Frame
from wire.local import CameraSource, CameraState

SYSTEM_PYTHON = "/usr/bin/python3"
SERVER = Path(__file__).with_name("rtsp_server.py")
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


class Server:
    """The RTSP server as a child that can be ended and started again on its port."""

    def __init__(self, video: Path, codec: str = "h264") -> None:
        self._video = video
        self._codec = codec
        self.port = free_port()
        self.url = f"rtsp://viewer:hidden@127.0.0.1:{self.port}/camera"
        self._child: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = [SYSTEM_PYTHON, str(SERVER), str(self._video), str(self.port), self._codec]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._child.stdout is not None
        assert "rtsp://" in self._child.stdout.readline()

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


@pytest.fixture
def server(assets: Path) -> Iterator[Server]:
    if (
        not Path(SYSTEM_PYTHON).exists()
        or subprocess.run([SYSTEM_PYTHON, "-c", PROBE], capture_output=True).returncode
    ):
        pytest.skip("GStreamer's RTSP server is not installed (gir1.2-gst-rtsp-server-1.0)")
    server = Server(assets / "video" / "one-by-one-person-detection.mp4")
    yield server
    server.kill()


class Watch:
    """Collects what the reader delivers."""

    def __init__(self, reader: CameraReader) -> None:
        self._reader = reader
        self.frames: list[Frame] = []
        self.states: list[CameraState] = []

    def until(self, done: Callable[[], bool], what: str, deadline_s: float = 30.0) -> None:
        end_mono = time.monotonic() + deadline_s
        while not done():
            assert time.monotonic() < end_mono, f"{what}: not within {deadline_s} s; {self.states}"
            while (frame := self._reader.take()) is not None:
                self.frames.append(frame)
            self.states += self._reader.news()[0]
            time.sleep(0.01)

    def seen(self, state: str) -> int:
        return sum(each.state == state for each in self.states)


def test_a_network_camera_is_read_lost_and_found_again(server: Server) -> None:
    reader = CameraReader(CameraSource("gate", server.url, "live"), open_camera)
    watch = Watch(reader)
    reader.start()
    try:
        watch.until(lambda: watch.seen("lost") >= 1, "a camera that is not there yet is told")
        assert watch.states[1].reason == "camera-unreachable"
        assert "hidden" not in watch.states[1].message
        server.start()
        watch.until(lambda: len(watch.frames) >= 20, "frames")
        assert watch.frames[-1].image.shape == (432, 768, 3)
        seqs = [frame.seq for frame in watch.frames]
        assert seqs == sorted(set(seqs))
        before, lost = len(watch.frames), watch.seen("lost")
        server.kill()
        watch.until(lambda: watch.seen("lost") > lost, "the loss is told")
        server.start()
        watch.until(lambda: len(watch.frames) >= before + 20, "frames again")
        assert watch.frames[-1].seq > seqs[-1]
    finally:
        assert reader.stop(5.0)
