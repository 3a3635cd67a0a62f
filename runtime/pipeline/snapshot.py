"""The newest frame with its result, drawn and written as JPEG when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from runtime.camera.reader import Frame
from runtime.draw import annotate
from runtime.errors import Degraded
from wire.reasons import Reason

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Seen:
    """A frame and the predictions of each step of the workflow on it."""

    frame: Frame
    predictions: Mapping[str, Any]


def write(seen: Seen, directory: str, *, annotated: bool, max_width_px: int) -> Path:
    """Write the JPEG, atomically, and return its path.

    :raises Degraded: it cannot be encoded or written
    """
    image = seen.frame.image
    if annotated:
        image = image.copy()
        for prediction in seen.predictions.values():
            image = annotate(image, prediction)
    height, width = image.shape[:2]
    if width > max_width_px:
        image = cv2.resize(
            image, (max_width_px, round(height * max_width_px / width)), interpolation=cv2.INTER_AREA
        )
    ok, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not ok:
        raise Degraded(Reason.INTERNAL, f"frame {seen.frame.seq} cannot be encoded as JPEG")
    path = Path(directory) / "snapshot.jpg"
    part = path.with_suffix(".part")
    try:
        part.write_bytes(encoded.tobytes())
        os.replace(part, path)
    except OSError as e:
        raise Degraded(Reason.DISK_FULL, f"snapshot cannot be written to {path}: {e}") from e
    return path
