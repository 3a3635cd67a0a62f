"""Stills written as a film that browsers and players show: VP8 in WebM, each picture at its own time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import Degraded
from runtime.pipeline.ring import Still
from wire.reasons import Reason

MEDIA_TYPE = "video/webm"
SUFFIX = ".webm"
MILLISECONDS = Fraction(1, 1000)
BITS_PER_PIXEL = 0.12
"""Of each picture: what shows a person of 40 pixels clearly at 640 by 360."""
FAST = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
MAX_BYTES = 16 * 1024 * 1024
"""Of a film. A longer one is broken off."""


@dataclass(frozen=True)
class Film:
    """What was written."""

    path: Path
    width_px: int
    height_px: int
    frames: int
    from_wall: float
    to_wall: float


def write(stills: Sequence[Still], path: Path, fps: float) -> Film:
    """Write the film, atomically. Pictures of another size than the first are scaled to it.

    :raises Degraded: there is nothing to show, or it cannot be written
    """
    first = _decoded(stills[0]) if stills else None
    if first is None:
        raise Degraded(Reason.CLIP_EMPTY, "no picture of this time is kept")
    size_wh = (first.shape[1] // 2 * 2, first.shape[0] // 2 * 2)
    part = path.with_name(path.name + ".part")
    try:
        frames = _encode(stills, part, size_wh, fps)
        os.replace(part, path)
    except (OSError, ValueError) as e:
        part.unlink(missing_ok=True)
        raise Degraded(Reason.DISK_FULL, f"a clip cannot be written to {path}: {e}") from e
    last = stills[min(frames, len(stills)) - 1]
    return Film(path, *size_wh, frames, stills[0].captured_wall, last.captured_wall)


def _encode(stills: Sequence[Still], path: Path, size_wh: tuple[int, int], fps: float) -> int:
    import av

    count = 0
    with av.open(str(path), "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=Fraction(max(1, round(fps))), options=FAST)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = int(size_wh[0] * size_wh[1] * max(1.0, fps) * BITS_PER_PIXEL)
        stream.codec_context.time_base = MILLISECONDS
        stream.codec_context.thread_count = 1
        last_ms = -1
        for still in stills:
            image = _decoded(still)
            if image is None:
                continue
            if (image.shape[1], image.shape[0]) != size_wh:
                image = cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="bgr24")
            last_ms = max(last_ms + 1, round((still.captured_mono - stills[0].captured_mono) * 1000))
            frame.pts, frame.time_base = last_ms, MILLISECONDS
            container.mux(stream.encode(frame))
            count += 1
            if path.exists() and path.stat().st_size > MAX_BYTES:
                break
        container.mux(stream.encode(None))
    return count


def _decoded(still: Still) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]] | None:
    image = cv2.imdecode(np.frombuffer(still.jpeg, np.uint8), cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)
