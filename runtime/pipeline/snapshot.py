"""The newest frame with its result, drawn and written as JPEG when somebody asks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.camera.reader import Frame
from runtime.draw import annotate
from runtime.errors import Degraded
from runtime.pipeline.faces import Finder
from runtime.pipeline.privacy import hide
from runtime.results import Image, Result
from runtime.workflow.values import Detections, ImageValue
from wire.camera import Privacy
from wire.local import ModelBinding
from wire.reasons import Reason

JPEG_QUALITY = 85


@dataclass(frozen=True)
class Seen:
    """A frame and what its workflow gave: `outputs` by name, `predictions` of its models by step. `faces`: the model that finds
    what is to be hidden beside that. `origin`: revision, workflow and models, as events tell them."""

    frame: Frame
    outputs: Mapping[str, Any]
    predictions: Mapping[str, Result]
    faces: ModelBinding | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)

    def picture(self) -> Image:
        """The picture the workflow drew where it drew one, else the frame with the detections that it put out."""
        drawn = [value.image for value in self.outputs.values() if isinstance(value, ImageValue)]
        if drawn and drawn[-1].ndim == 3:
            return drawn[-1]
        found = [value for value in self.outputs.values() if isinstance(value, Detections)]
        image = self.frame.image
        for result in map(_result, found) if found else self.predictions.values():
            image = annotate(image, result)
        return image


def _result(detections: Detections) -> Result:
    """Detections of a workflow as the drawing takes them; a tracked one shows its number."""
    names = [str(name) for name in detections.class_name]
    if detections.tracker_id is not None:
        names = [f"{name} #{number}" for name, number in zip(names, detections.tracker_id, strict=True)]
    return Result(
        image_wh=detections.image_wh,
        boxes=detections.xyxy.astype(np.float32),
        scores=detections.confidence.astype(np.float32),
        class_ids=detections.class_id.astype(np.int32),
        keypoints=detections.keypoints,
        texts=tuple(names),
    )


def write(
    seen: Seen, directory: str, privacy: Privacy, finder: Finder, *, annotated: bool, max_width_px: int
) -> Path:
    """Write the JPEG, atomically, and return its path.

    :raises Degraded: it cannot be encoded or written, or the privacy policy cannot be met
    """
    # Hidden last: what is drawn may come from other steps than what is to be hidden.
    faces = finder.find(seen.frame.image, seen.faces) if privacy.faces else None
    image = hide(seen.picture() if annotated else seen.frame.image, privacy, seen.predictions, faces=faces)
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
