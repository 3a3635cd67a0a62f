"""Mean intersection over union of class maps, pixel by pixel over the whole data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from outrider.evaluation.dataset import Picture
from outrider.evaluation.meter import Figures, percent
from runtime.errors import Refused
from runtime.results import Result
from wire.reasons import Reason

IGNORE = 255
"""The value of pixels that nobody judged, in PASCAL VOC, Cityscapes and others."""
_VALUES = 256


class MeanIoU:
    """A meter of class maps. `table[value]` is the model's class id of a mask's value, or -1 for what is not judged."""

    def __init__(
        self, labels: tuple[str, ...], table: npt.NDArray[np.int64], *, known: frozenset[int]
    ) -> None:
        """`known`: the values a mask may hold; another one is refused."""
        self._labels = labels
        self._table = table
        self._known = known
        self._confusion = np.zeros((len(labels), len(labels) + 1), np.int64)

    def add(self, picture: Picture, result: Result | None) -> None:
        """:raises Refused: the mask is no map of class ids, or not of the picture's size"""
        assert picture.mask is not None, "a data set of masks"
        values = read_mask(picture.mask)
        strange = set(np.unique(values).tolist()) - self._known
        if strange:
            raise Refused(
                Reason.DATASET_INVALID,
                f"{picture.mask}: values {sorted(strange)[:5]} are no class; expected 0 to {len(self._labels) - 1}, "
                f"or {IGNORE} for what is not judged; name others with --mask-labels",
            )
        truth = self._table[values]
        judged = truth >= 0
        columns = len(self._labels) + 1
        found: npt.NDArray[np.int64]
        if result is None or result.semantic is None:
            found = np.full(truth.shape, columns - 1, np.int64)
        else:
            found = result.semantic.astype(np.int64)
            found = np.where(found < len(self._labels), found, columns - 1)
        if found.shape != truth.shape:
            sizes = " x ".join(map(str, truth.shape[::-1])), " x ".join(map(str, found.shape[::-1]))
            raise Refused(
                Reason.DATASET_INVALID,
                f"{picture.mask}: {sizes[0]} pixels, the picture has {sizes[1]}; expected the same",
            )
        pairs = truth[judged] * columns + found[judged]
        self._confusion += np.bincount(pairs, minlength=self._confusion.size).reshape(self._confusion.shape)

    def figures(self) -> Figures:
        square = self._confusion[:, :-1]
        right = np.diag(square).astype(np.float64)
        truth = self._confusion.sum(axis=1)
        union = truth + square.sum(axis=0) - right
        total = int(truth.sum())
        rows: dict[str, dict[str, float | int | None]] = {
            name: {
                "pixels": int(truth[i]),
                "IoU": percent(float(right[i] / union[i])),
                "recall": percent(float(right[i] / truth[i])) if truth[i] else None,
            }
            for i, name in enumerate(self._labels)
            if union[i]
        }
        known = [float(row["IoU"]) for row in rows.values() if row["IoU"] is not None]
        main = {
            "mIoU": round(float(np.mean(known)), 2) if known else None,
            "pixel accuracy": percent(float(right.sum() / total)) if total else None,
        }
        return Figures(main, rows, {"confusion": self._confusion.tolist()})


def read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """A map of class ids, (H, W) uint8; a palette's colours are not looked at.

    :raises Refused: EXTRA_MISSING without Pillow; DATASET_INVALID: no picture, or one of colours
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as e:
        raise Refused(
            Reason.EXTRA_MISSING,
            "reading masks needs Pillow, which is not installed: pip install 'outrider[eval]'",
        ) from e
    try:
        with Image.open(path) as picture:
            values: npt.NDArray[Any] = np.array(picture)
    except (OSError, UnidentifiedImageError) as e:
        raise Refused(Reason.DATASET_INVALID, f"{path}: no picture that can be read: {e}") from e
    if values.ndim != 2:
        raise Refused(
            Reason.DATASET_INVALID,
            f"{path}: has {values.shape[-1]} channels; expected one, whose values are class ids",
        )
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    if values.max(initial=0) >= _VALUES or values.min(initial=0) < 0:
        raise Refused(
            Reason.DATASET_INVALID, f"{path}: values up to {values.max()}; expected at most {_VALUES - 1}"
        )
    return values.astype(np.uint8)


def table(ids: dict[int, int]) -> npt.NDArray[np.int64]:
    """Mask value → model class id as an array to index with; what is not in `ids` is not judged."""
    made = np.full(_VALUES, -1, np.int64)
    for value, class_id in ids.items():
        made[value] = class_id
    return made
