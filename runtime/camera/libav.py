"""Files and network streams through FFmpeg's libraries (PyAV): software decoding, one thread a camera.

Beside the picture it gives what OpenCV keeps to itself: the camera's own time of capture (NTP by RTCP), packets lost on the way,
changes of size, and packets that need not be decoded.
"""

from __future__ import annotations

import logging
import re
import struct
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import av
import cv2
import numpy as np
from av.logging import WARNING, Capture, set_level, set_skip_repeated
from av.video.reformatter import VideoReformatter

from runtime.camera.economy import HEAD_BYTES, is_reference, prefix_bytes
from runtime.camera.probe import explain
from runtime.camera.source import Loss, PlainSource, Properties, file_path, kind_of
from runtime.errors import SourceRefused, Transient
from runtime.results import Image
from wire.local import CameraSource
from wire.reasons import Reason
from wire.redact import redact
from wire.source import Kind

DECODE_THREADS = 1
"""One decoding thread a camera: more do not help at camera rates, and steal time from the engine."""
SOFTWARE = "software"
MAX_FPS = 1000.0
MAX_TIMES = 64
"""Pictures under way in the decoder whose time of capture is known."""
MISSED = re.compile(r"RTP: missed (\d+) packets")
REFERENCE_TIME = struct.Struct("<q")
"""AVProducerReferenceTime begins with microseconds since 1970."""
SENDER_REPORT = struct.Struct("<I4xQII")
"""AVRTCPSenderReport: source, NTP time, RTP time, packets sent so far."""
TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE, -90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, -180: cv2.ROTATE_180
}  # fmt: skip


def open_with_libav(camera: CameraSource) -> LibavSource:
    """Open a camera.

    :raises SourceRefused: the source cannot ever work (no such file)
    :raises Transient: it cannot be opened now; the reason tells why, as far as the network shows it
    """
    kind = kind_of(camera)
    if kind is Kind.FILE and (not file_path(camera).exists() or file_path(camera).is_dir()):
        raise SourceRefused(
            Reason.CAMERA_UNREACHABLE,
            f"camera {camera.name!r}: no file {str(file_path(camera))!r}; correct the path",
        )
    # The libraries name addresses, with passwords, in what they log; causes are told once, as the camera's state.
    logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
    try:
        return LibavSource(_container(camera, kind), _datagrams(camera))
    except (av.FFmpegError, OSError, IndexError, ValueError) as e:
        cause = explain(camera.source, camera.care.deadlines.open_s) if kind is Kind.STREAM else None
        reason, words = cause or (Reason.CAMERA_UNREACHABLE, "check address, cable and password")
        raise Transient(
            reason, f"camera {camera.name!r}: {redact(camera.source)} cannot be opened; {words}"
        ) from _bare(e)


def _bare(error: Exception) -> Exception:
    """The error without the address that it names."""
    return type(error)(*error.args[:2]) if isinstance(error, OSError) else Exception(type(error).__name__)


def _datagrams(camera: CameraSource) -> bool:
    return camera.source.lower().startswith("rtsp") and camera.options.get("rtsp_transport") == "udp"


def _container(camera: CameraSource, kind: Kind) -> Any:
    if kind is Kind.FILE:
        return av.open(str(file_path(camera)))
    options = {}
    if camera.source.lower().startswith("rtsp"):
        options = {
            "rtsp_transport": str(camera.options.get("rtsp_transport", "tcp")),
            "allowed_media_types": "video",
        }
    deadlines = camera.care.deadlines
    if _datagrams(camera):
        set_level(WARNING)
        set_skip_repeated(False)
    return av.open(camera.source.strip(), options=options, timeout=(deadlines.open_s, deadlines.read_s))


class LibavSource(PlainSource):
    """An opened container with one picture stream. `lossy`: what is lost on the way is to be counted."""

    def __init__(self, container: Any, lossy: bool) -> None:
        """:raises IndexError: there are no pictures in it"""
        self._container = container
        stream = self._stream = container.streams.video[0]
        context = self._context = stream.codec_context
        context.thread_type = "NONE"
        context.thread_count = DECODE_THREADS
        self._packets: Iterator[Any] = container.demux(stream)
        self._ready: deque[Any] = deque()
        self._frame: Any = None
        self._reformatter = VideoReformatter()
        self._times: OrderedDict[int, float] = OrderedDict()
        self._counter = LossCounter() if lossy else None
        self._prefix = prefix_bytes(context.name, context.extradata)
        self.spared = False
        fps = float(stream.average_rate or stream.guessed_rate or 0.0)
        self.properties = Properties(
            context.width, context.height, fps if 0.0 < fps <= MAX_FPS else 0.0, SOFTWARE
        )

    def advance(self) -> bool:
        self.spared, self._frame = False, None
        while not self._ready:
            packet = self._next()
            if packet is None:
                return False
            if packet.size and self._spares(packet):
                self.spared = True
                return True
            if not self._decode(packet) and packet.size:
                # The picture of this packet is lost, which is one frame without an image.
                return True
        self._frame = self._ready.popleft()
        return True

    def _next(self) -> Any:
        try:
            if self._counter is None:
                return next(self._packets, None)
            with Capture() as logs:
                packet = next(self._packets, None)
            self._counter.heard(message for _level, _name, message in logs)
        except (av.FFmpegError, OSError):
            return None
        if packet is not None and self._counter is not None and packet.has_sidedata("rtcp_sr"):
            self._counter.reported(bytes(packet.get_sidedata("rtcp_sr")))
        return packet

    def _spares(self, packet: Any) -> bool:
        if self.spare is None:
            return False
        head = bytes(memoryview(packet)[:HEAD_BYTES])
        reference = not packet.is_disposable and is_reference(self._context.name, head, self._prefix)
        return self.spare(bool(packet.is_keyframe), reference, bool(self._context.has_b_frames))

    def _decode(self, packet: Any) -> bool:
        """Take in the packet's pictures; False where it cannot be decoded."""
        if packet.pts is not None and packet.has_sidedata("prft"):
            (wall_us,) = REFERENCE_TIME.unpack_from(bytes(packet.get_sidedata("prft")))
            self._times[packet.pts] = wall_us / 1e6
            if len(self._times) > MAX_TIMES:
                self._times.popitem(last=False)
        try:
            if self._counter is None:
                self._ready += packet.decode()
            else:
                with Capture():
                    self._ready += packet.decode()
        except (av.FFmpegError, OSError):
            return False
        return True

    def image(self) -> Image | None:
        if self._frame is None:
            return None
        try:
            shown = self._reformatter.reformat(self._frame, format="bgr24")
        except (av.FFmpegError, OSError, ValueError):
            return None
        # A view: copying it once more costs as much as the conversion. The decoder may still refer to its own frame.
        picture = _view(shown.planes[0])
        turn = TURNS.get(int(self._frame.rotation))
        if turn is not None:
            return np.asarray(cv2.rotate(picture, turn), np.uint8)
        return picture.copy() if shown is self._frame else picture

    def position_s(self) -> float | None:
        """The frame's time stamp: of RTP for a network stream, whose zero is the stream's beginning."""
        time_s: float | None = self._frame.time if self._frame is not None else None
        return time_s

    def captured_wall(self) -> float | None:
        """The camera's own time of capture (NTP by RTCP), where it tells it."""
        pts = self._frame.pts if self._frame is not None else None
        return self._times.pop(pts, None) if pts is not None else None

    def loss(self) -> Loss | None:
        return self._counter.loss if self._counter is not None else None

    def close(self) -> None:
        self._frame = None
        self._ready.clear()
        self._container.close()


def _view(plane: Any) -> Image:
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    return rows[:, : plane.width * 3].reshape(plane.height, plane.width, 3)


class LossCounter:
    """Packets lost since the stream was opened, and their share between the sender's last two reports."""

    def __init__(self) -> None:
        self.loss = Loss(0, None)
        self._sent: int | None = None
        self._lost_then = 0

    def heard(self, messages: Iterator[str]) -> None:
        """What the library says while it reads."""
        missed = sum(int(found[1]) for message in messages if (found := MISSED.match(message)))
        if missed:
            self.loss = Loss(self.loss.packets + missed, self.loss.share)

    def reported(self, report: bytes) -> None:
        """A sender's report."""
        if len(report) < SENDER_REPORT.size:
            return
        sent = SENDER_REPORT.unpack_from(report)[3]
        if self._sent is not None and sent > self._sent:
            lost = self.loss.packets - self._lost_then
            self.loss = Loss(self.loss.packets, round(min(1.0, lost / (sent - self._sent)), 4))
        if sent != self._sent:
            self._sent, self._lost_then = sent, self.loss.packets
