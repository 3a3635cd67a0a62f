"""What a model says about one image: one value class for every task.

Owns no model, no image. Coordinates are pixels of the image the model was asked about, x to the right, y down, origin at
the outer corner of the top-left pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from wire.reasons import Reason

Floats: TypeAlias = npt.NDArray[np.float32]
Ints: TypeAlias = npt.NDArray[np.int32]
Image: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, BGR unless said otherwise."""


def _floats(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


def _ints() -> Ints:
    return np.zeros(0, np.int32)


@dataclass(frozen=True, eq=False)
class Result:
    """The answer of one model about one image. N detections, sorted by falling score; arrays must not be written to.

    image_wh: width and height of the image in pixels.
    labels: class names by class id.
    boxes: (N, 4) float32, x1 y1 x2 y2, clipped to the image; for oriented boxes the outer box.
    scores: (N,) float32, 0 to 1.
    class_ids: (N,) int32.
    masks: N run-length masks in COCO's compressed form (column-major, `size` h, w of the image), or None.
    keypoints: (N, K, 3) float32, x, y, score, or None.
    oriented: (N, 5) float32, centre x, centre y, width, height, angle in radians (clockwise), or None.
    texts: N strings, or None.
    classes: (C,) float32 scores of every class of the whole image (classification, multi-label), or None.
    semantic: (H, W) uint8 class map of the image, or None.
    embedding: (D,) float32, or None.
    """

    image_wh: tuple[int, int]
    labels: tuple[str, ...] = ()
    boxes: Floats = field(default_factory=lambda: _floats(0, 4))
    scores: Floats = field(default_factory=lambda: _floats(0))
    class_ids: Ints = field(default_factory=_ints)
    masks: tuple[Mapping[str, Any], ...] | None = None
    keypoints: Floats | None = None
    oriented: Floats | None = None
    texts: tuple[str, ...] | None = None
    classes: Floats | None = None
    semantic: npt.NDArray[np.uint8] | None = None
    embedding: Floats | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each detection's class; `class_7` where the labels do not reach."""
        return tuple(self.label(int(i)) for i in self.class_ids)

    def label(self, class_id: int) -> str:
        return self.labels[class_id] if 0 <= class_id < len(self.labels) else f"class_{class_id}"

    def select(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Result:
        """The detections of a mask or an index array, everything else as it is."""
        index = np.flatnonzero(keep) if keep.dtype == np.bool_ else keep
        return Result(
            self.image_wh,
            self.labels,
            self.boxes[index],
            self.scores[index],
            self.class_ids[index],
            None if self.masks is None else tuple(self.masks[int(i)] for i in index),
            None if self.keypoints is None else self.keypoints[index],
            None if self.oriented is None else self.oriented[index],
            None if self.texts is None else tuple(self.texts[int(i)] for i in index),
            self.classes,
            self.semantic,
            self.embedding,
        )


@dataclass(frozen=True)
class NoAnswer:
    """The model could not tell: never the same as nothing there. `reason` is the cause that blind time is booked under."""

    reason: Reason
    message: str = ""


Answer: TypeAlias = Result | NoAnswer
"""Three-valued: detections, nothing there (`len(result) == 0`), or no answer with its cause."""
