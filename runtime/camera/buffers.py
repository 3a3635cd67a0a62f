"""Picture buffers that are used again, so that decoding a frame neither asks the kernel for memory nor gives it back.

A 1080p frame is 6 MB, which the allocator maps and unmaps each time: every page is faulted in and zeroed anew.
"""

from __future__ import annotations

import sys

import numpy as np

from runtime.results import Image

MOST = 8
"""Buffers kept: frames waiting and under way, the one shown, the one being decoded, and a spare."""


class Buffers:
    """Hands out buffers that nobody holds any more, views of them included. One thread may call it."""

    def __init__(self) -> None:
        self._kept: list[Image] = []

    def free(self, shape: tuple[int, ...]) -> Image:
        """An array of this shape, uint8, of any content. It is the caller's until the last reference to it is gone."""
        for index in range(len(self._kept)):
            # The list's own reference, and the argument's.
            if sys.getrefcount(self._kept[index]) == 2:
                if self._kept[index].shape == shape:
                    return self._kept[index]
                del self._kept[index]
                break
        image = np.empty(shape, np.uint8)
        if len(self._kept) < MOST:
            self._kept.append(image)
        return image
