"""Decoding by the system's GStreamer in a child process: hardware decoders, CSI cameras, and what OpenCV's wheel cannot open.

The frames come in shared slots and are used where they lie. A child that hangs or crashes costs a reconnection and nothing else:
every wait has a deadline, after which it is killed.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import select
import socket
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.camera.probe import explain
from runtime.camera.source import Pace, PlainSource, Properties, file_path, kind_of, pace_of
from runtime.errors import SourceRefused, Transient
from runtime.results import Image
from wire.local import CameraSource, Lines
from wire.reasons import Reason
from wire.redact import redact
from wire.source import Kind

SYSTEM_PYTHON = "/usr/bin/python3"
SCRIPT = Path(__file__).with_name("gstreamer_child.py")
PROBE = "import gi; gi.require_version('Gst', '1.0'); from gi.repository import Gst"
SLOTS = 6
SLOT_BYTES = 32 * 1024 * 1024
"""Of address space: a 4K frame takes 25 MB of it, and memory that is not written to is not there."""
DECODERS = ("auto", "software")
LATENCY_MS = 200
CLOSE_S = 1.0


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether the system's Python has GStreamer."""
    if not Path(SYSTEM_PYTHON).exists():
        return False
    done = subprocess.run([SYSTEM_PYTHON, "-I", "-c", PROBE], capture_output=True, timeout=20)
    return done.returncode == 0


def open_with_gstreamer(camera: CameraSource, decoder: str = "auto") -> GStreamerSource:
    """Open a camera; `decoder` is auto (hardware first), software, or the name of a GStreamer element.

    :raises SourceRefused: GStreamer is not here
    :raises Transient: the camera cannot be opened now
    """
    if not available():
        raise SourceRefused(
            Reason.CAMERA_DECODER,
            f"camera {camera.name!r}: the system's GStreamer is not here; install python3-gi and "
            "gstreamer1.0-plugins-good, or set options.decoder to opencv",
        )
    source = GStreamerSource(camera, decoder)
    try:
        source.wait_for_frame(time.monotonic() + camera.care.deadlines.open_s)
    except BaseException:
        source.close()
        raise
    return source


class GStreamerSource(PlainSource):
    """One child process. Used by one thread."""

    def __init__(self, camera: CameraSource, decoder: str) -> None:
        self._camera = camera
        self._decoder = decoder
        self._live = pace_of(camera) is Pace.LIVE
        self._lines = Lines()
        self._waiting: list[dict[str, Any]] = []
        self._frame: dict[str, Any] = {}
        self._told: dict[str, Any] = {}
        self._first = True
        job = _job(camera, decoder, live=self._live)
        memory_fd = os.memfd_create("outrider-frames", os.MFD_CLOEXEC)
        try:
            os.ftruncate(memory_fd, SLOTS * SLOT_BYTES)
            self._slots = _slots(memory_fd)
            self._held: set[int] = set()
            self._line, theirs = socket.socketpair()
            with theirs:
                self._child = subprocess.Popen(
                    [SYSTEM_PYTHON, "-I", str(SCRIPT), str(theirs.fileno()), str(memory_fd)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), memory_fd),
                )
        finally:
            os.close(memory_fd)
        self._send(json.dumps(job))

    @property
    def properties(self) -> Properties:
        told = self._told
        name = str(told.get("decoder") or "none")
        kind = "hardware" if told.get("hardware") else "software"
        size = (int(told.get("width", 0)), int(told.get("height", 0)))
        note = ""
        if self._decoder != "software" and not told.get("hardware"):
            note = f"no hardware decoder took the stream; it is decoded in software by {name}"
        return Properties(*size, float(told.get("fps", 0.0)), f"{kind}: {name}", note)

    def advance(self) -> bool:
        if self._first:
            self._first = False
            return True
        try:
            self.wait_for_frame(time.monotonic() + self._camera.care.deadlines.read_s)
        except Transient:
            return False
        return True

    def image(self) -> Image | None:
        frame = self._frame
        stride, height, width = frame["stride"], frame["height"], frame["width"]
        rows = self._slots[frame["slot"]][: stride * height].reshape(height, stride)
        picture: Image = rows[:, : width * 3].reshape(height, width, 3)
        return picture

    def position_s(self) -> float | None:
        position: float | None = self._frame.get("pts_s")
        return position

    def captured_wall(self) -> float | None:
        """The camera's own time of capture (NTP by RTCP), where it tells it."""
        wall: float | None = self._frame.get("ntp_wall_s")
        return wall

    def close(self) -> None:
        self._child.kill()
        self._line.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(CLOSE_S)

    def wait_for_frame(self, end_mono: float) -> None:
        """Wait for the next frame.

        :raises Transient: none came in time, or the child has ended
        """
        self._release()
        while True:
            while self._waiting:
                if self._take(self._waiting.pop(0)):
                    return
            left_s = end_mono - time.monotonic()
            if left_s <= 0 or not select.select([self._line], [], [], left_s)[0]:
                raise self._failure(Reason.CAMERA_STALLED, "no frame came in time")
            data = self._line.recv(65536)
            if not data:
                raise self._failure(Reason.CAMERA_LOST, f"the decoder's process ended ({self._child.poll()})")
            self._waiting += [json.loads(line) for line in self._lines.feed(data)]

    def _take(self, message: dict[str, Any]) -> bool:
        if message["kind"] == "caps":
            self._told = message
        elif message["kind"] == "frame":
            self._frame = message
            self._held.add(message["slot"])
            return True
        elif message["kind"] == "error":
            raise self._failure(Reason.CAMERA_UNREACHABLE, message["text"])
        else:
            raise self._failure(Reason.CAMERA_ENDED, "the stream has ended")
        return False

    def _release(self) -> None:
        """Give back the slots whose picture nobody holds any more."""
        for slot in list(self._held):
            # The list's own reference, and the argument's; a view holds another.
            if sys.getrefcount(self._slots[slot]) == 2:
                self._held.discard(slot)
                self._send(str(slot))

    def _send(self, line: str) -> None:
        # A child that is gone is found out by the next read.
        with contextlib.suppress(OSError):
            self._line.sendall(line.encode() + b"\n")

    def _failure(self, reason: Reason, words: str) -> Transient:
        if not self._told and kind_of(self._camera) is Kind.STREAM:
            cause = explain(self._camera.source, self._camera.care.deadlines.open_s)
            reason, words = cause or (reason, words)
        name, address = self._camera.name, redact(self._camera.source)
        return Transient(reason, f"camera {name!r}: {address}: {redact(words)}")


def _slots(memory_fd: int) -> list[npt.NDArray[np.uint8]]:
    memory = mmap.mmap(memory_fd, SLOTS * SLOT_BYTES)
    return [np.frombuffer(memory, np.uint8, SLOT_BYTES, i * SLOT_BYTES) for i in range(SLOTS)]


CSI = "csi://"
TAIL = "{convert} ! video/x-raw,format=BGR ! appsink name=sink emit-signals=true sync=false max-buffers=2"
CONVERT = "videoconvert"
CONVERT_ON_JETSON = "nvvidconv ! video/x-raw,format=BGRx ! videoconvert"
"""Out of the memory of the graphics processor, where its decoders and its cameras leave pictures."""


def launch_line(uri: str, *, jetson: bool) -> str:
    """The pipeline in GStreamer's language. A stream's address and a device's path are set as properties, not written here."""
    tail = TAIL.format(convert=CONVERT_ON_JETSON if jetson else CONVERT)
    if uri.startswith(CSI):
        return f"nvarguscamerasrc sensor-id={int(uri[len(CSI) :] or 0)} ! {tail}"
    if uri.startswith("/dev/video"):
        return f"v4l2src name=source ! decodebin ! {tail}"
    return f"uridecodebin name=source ! queue max-size-buffers=2 ! {tail}"


def _job(camera: CameraSource, decoder: str, *, live: bool) -> dict[str, Any]:
    kind = kind_of(camera)
    uri = camera.source.strip()
    if kind is Kind.FILE:
        uri = file_path(camera).absolute().as_uri()
    elif uri.startswith(CSI) and not (uri[len(CSI) :] or "0").isdigit():
        raise SourceRefused(
            Reason.CAMERA_SOURCE_INVALID, f"camera {camera.name!r}: {uri!r}; expected e.g. csi://0"
        )
    elif kind is Kind.DEVICE and uri.isdigit():
        uri = f"/dev/video{uri}"
    return {
        "uri": uri,
        "transport": str(camera.options.get("rtsp_transport", "tcp")),
        "decoder": decoder,
        "live": live,
        "latency_ms": int(camera.options.get("latency_ms", LATENCY_MS)),
        "open_s": camera.care.deadlines.open_s,
        "launch": launch_line(uri, jetson=False),
        "launch_on_jetson": launch_line(uri, jetson=True),
        "slots": SLOTS,
        "slot_bytes": SLOT_BYTES,
    }
