"""What a camera's care asks of each picture: masks painted over it, and now and then a look at its state."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from runtime.camera.picture import Examiner, look
from runtime.results import Image
from wire.camera import Care
from wire.local import PictureState

Corners = npt.NDArray[np.int32]


class Inspection:
    """Used by the reader's thread. `every_s`: how often `look` is to be called."""

    def __init__(self, care: Care, *, one_size: bool) -> None:
        self.every_s = care.checks.every_s
        self._examiner = Examiner(care.checks, one_size=one_size)
        self._regions = care.privacy.masks
        self._corners: list[Corners] = []
        self._size_wh = (0, 0)
        self.brightness: float | None = None
        """Mean grey of the last picture looked at, from 0 to 1."""

    def opened(self) -> None:
        """The stream has been opened anew; its size may be another."""
        self._size_wh = (0, 0)
        self.brightness = None

    def look(self, image: Image, at_mono: float) -> PictureState | None:
        """The faults of the picture, where they are others than before. The picture has not been masked yet."""
        seen = look(image)
        self.brightness = round(float(seen.coarse.mean()) / 255.0, 3)
        return self._examiner.examine(seen, at_mono)

    def mask(self, image: Image) -> None:
        """Paint the masked regions black, in place."""
        if not self._regions:
            return
        size_wh = (image.shape[1], image.shape[0])
        if size_wh != self._size_wh:
            self._size_wh = size_wh
            self._corners = [corners(region, size_wh) for region in self._regions]
        cv2.fillPoly(image, self._corners, (0, 0, 0))


def corners(region: list[list[float]], size_wh: tuple[int, int]) -> Corners:
    """A region's corners in pixels, from shares of width and height."""
    points: Corners = np.round(np.array(region, np.float64) * np.array(size_wh)).astype(np.int32)
    return points
