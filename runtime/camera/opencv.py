"""Files, network streams and USB cameras through OpenCV's FFmpeg and V4L2 back ends."""

from __future__ import annotations

import os

import cv2

from runtime.camera.buffers import Buffers
from runtime.camera.probe import explain
from runtime.camera.source import PlainSource, Properties, Source, file_path, kind_of
from runtime.errors import SourceRefused, Transient
from runtime.results import Image
from wire.local import CameraSource
from wire.reasons import Reason
from wire.redact import redact
from wire.source import Kind

FFMPEG_FATAL = "8"
"""AV_LOG_FATAL of libavutil/log.h."""
DECODE_THREADS = 1
"""One decoding thread a camera: more do not help at camera rates, and steal time from the engine."""
SOFTWARE = "software"


def open_with_opencv(camera: CameraSource) -> Source:
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
    capture = _capture(camera, kind)
    if not capture.isOpened():
        capture.release()
        cause = explain(camera.source, camera.care.deadlines.open_s) if kind is Kind.STREAM else None
        reason, words = cause or (Reason.CAMERA_UNREACHABLE, "check address, cable and password")
        raise Transient(reason, f"camera {camera.name!r}: {redact(camera.source)} cannot be opened; {words}")
    return OpenCvSource(capture)


def _capture(camera: CameraSource, kind: Kind) -> cv2.VideoCapture:
    # What went wrong is told once, as the camera's state; the libraries would repeat it on every try.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_FATAL)
    if kind is Kind.DEVICE:
        text = camera.source.strip()
        return cv2.VideoCapture(int(text) if text.isdigit() else text, cv2.CAP_V4L2)
    if kind is Kind.STREAM:
        transport = str(camera.options.get("rtsp_transport", "tcp"))
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{transport}"
    parameters = [
        cv2.CAP_PROP_N_THREADS, int(camera.options.get("decode_threads", DECODE_THREADS)),
    ]  # fmt: skip
    if kind is Kind.STREAM:
        deadlines = camera.care.deadlines
        parameters += [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(deadlines.open_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(deadlines.read_s * 1000),
        ]  # fmt: skip
    target = camera.source if kind is Kind.STREAM else str(file_path(camera))
    return cv2.VideoCapture(target, cv2.CAP_FFMPEG, parameters)


class OpenCvSource(PlainSource):
    """An opened `cv2.VideoCapture`."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._buffers = Buffers()
        fps = float(capture.get(cv2.CAP_PROP_FPS))
        self._properties = Properties(
            int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps if 0.0 < fps <= 1000.0 else 0.0,
            SOFTWARE,
        )
        self._shape: tuple[int, ...] = (self._properties.height_px, self._properties.width_px, 3)

    @property
    def properties(self) -> Properties:
        return self._properties

    def advance(self) -> bool:
        return bool(self._capture.grab())

    def image(self) -> Image | None:
        # A picture of another size than the buffer's gets an array of its own.
        ok, image = self._capture.retrieve(self._buffers.free(self._shape))
        if not ok:
            return None
        picture: Image = image
        self._shape = picture.shape
        return picture

    def position_s(self) -> float | None:
        """The packet's time stamp: of RTP for a network stream, whose zero is the stream's beginning. OpenCV gives no NTP time."""
        position_ms = float(self._capture.get(cv2.CAP_PROP_POS_MSEC))
        return position_ms / 1000.0 if position_ms > 0.0 else None

    def close(self) -> None:
        self._capture.release()
