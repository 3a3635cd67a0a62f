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

    What a task does not speak of is None, never empty: masks is () where a segmentation model saw nothing, and None from a
    detector. Whole-image answers (classes, semantic, embedding) have no detections.

    image_wh: width and height of the image in pixels.
    labels: class names by class id.
    boxes: (N, 4) float32, x1 y1 x2 y2, clipped to the image; for oriented boxes the outer box, not clipped.
    scores: (N,) float32, 0 to 1.
    class_ids: (N,) int32.
    masks: N run-length masks in COCO's compressed form, `{"size": [h, w] of the image, "counts": str}`; `runtime.masks` reads them.
    keypoints: (N, K, 3) float32, x, y, score, clipped to the image; names by `ModelSpec.keypoint_names`.
    oriented: (N, 5) float32, centre x, centre y, width, height, angle in radians from the x axis to the width's side, clockwise
        on the picture; not clipped. Texts have them too, the width along the line of writing.
    texts: N strings. Their scores are the reader's confidence.
    classes: (C,) float32 score of every class of the whole image: probabilities that sum to 1 (classification), or each by itself
        (multi-label).
    semantic: (H, W) uint8 class map of the image.
    embedding: (D,) float32, of length 1.
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

    def top(self, count: int = 5) -> tuple[tuple[int, str, float], ...]:
        """The best classes of the whole image, best first: id, name, score; empty where the model gives none."""
        if self.classes is None:
            return ()
        order = np.argsort(-self.classes, kind="stable")[:count]
        return tuple((int(i), self.label(int(i)), float(self.classes[i])) for i in order)

    @property
    def corners(self) -> Floats | None:
        """(N, 4, 2) x y of the oriented boxes' corners, clockwise on the picture, the first being top left of an unturned box."""
        return None if self.oriented is None else corners_of(self.oriented)

    def bitmaps(self) -> npt.NDArray[np.bool_] | None:
        """(N, H, W) bool, the masks one by one as pictures; memory for each whole image."""
        from runtime.masks import decode_all

        width, height = self.image_wh
        return None if self.masks is None else decode_all(self.masks, (height, width))

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


def corners_of(oriented: Floats) -> Floats:
    """(N, 4, 2) corners of boxes (N, 5) centre x, centre y, width, height, angle."""
    centre, half = oriented[:, None, 0:2], oriented[:, 2:4] / 2
    cos, sin = np.cos(oriented[:, 4]), np.sin(oriented[:, 4])
    along = np.stack([half[:, 0] * cos, half[:, 0] * sin], axis=1)[:, None]
    across = np.stack([-half[:, 1] * sin, half[:, 1] * cos], axis=1)[:, None]
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    corners = centre + signs[:, 0:1] * along + signs[:, 1:2] * across
    return np.asarray(corners, np.float32)


@dataclass(frozen=True)
class NoAnswer:
    """The model could not tell: never the same as nothing there. `reason` is the cause that blind time is booked under."""

    reason: Reason
    message: str = ""


Answer: TypeAlias = Result | NoAnswer
"""Three-valued: detections, nothing there (`len(result) == 0`), or no answer with its cause."""
