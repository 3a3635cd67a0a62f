"""Run-length masks in COCO's compressed form, in numpy alone: `{"size": [h, w], "counts": str}`, runs down the columns.

A mask is a few hundred bytes where its bitmap is a megabyte, so that it crosses processes and the network as it is. Source: the
coding of the COCO API (`maskApi.c`): runs of 0 and 1 in turn, from the fourth on as the difference to the run two before, five
bits a character from the lowest, `0x20` for "more follows", sign in the last bit, offset 48. Compared with pycocotools in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Rle: TypeAlias = Mapping[str, Any]
Bitmap: TypeAlias = npt.NDArray[np.bool_]
_Longs: TypeAlias = npt.NDArray[np.int64]

_MAX_CHARS = 13
"""Characters of a 64-bit run."""


def encode(
    window: npt.NDArray[Any], *, size_hw: tuple[int, int] | None = None, at_xy: tuple[int, int] = (0, 0)
) -> dict[str, Any]:
    """The run-length mask of a bitmap, or of a window of it.

    window: (h, w), non-zero is inside; fastest where its columns lie one behind the other in memory. size_hw: of the whole mask, where the window is a part of it. at_xy: the window's
    top-left corner in the mask, in which it must lie entirely.
    """
    height, width = size_hw or window.shape[:2]
    rows, columns = window.shape[:2]
    if at_xy[0] < 0 or at_xy[1] < 0 or at_xy[1] + rows > height or at_xy[0] + columns > width:
        raise ValueError(f"a window of {window.shape} at {at_xy} does not lie in a mask of {(height, width)}")
    starts, ends = _runs(window, height, at_xy)
    edges = np.empty(2 * len(starts), np.int64)
    edges[0::2], edges[1::2] = starts, ends
    counts = np.diff(edges, prepend=0, append=height * width)
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [int(height), int(width)], "counts": _compress(counts)}


def _runs(window: npt.NDArray[Any], height: int, at_xy: tuple[int, int]) -> tuple[_Longs, _Longs]:
    """First and behind-the-last place of each run of ones, in column-major places of the whole mask."""
    rows, columns = window.shape[:2]
    padded = np.zeros((columns, rows + 1), np.bool_)
    np.not_equal(window.T, 0, out=padded[:, :rows])
    flat = padded.ravel()
    change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat[0]:
        change = np.concatenate([[0], change])
    column, row = np.divmod(change, rows + 1)
    places = (column + at_xy[0]) * height + row + at_xy[1]
    starts, ends = places[0::2], places[1::2]
    if not len(starts):
        return starts, ends
    apart = starts[1:] != ends[:-1]  # a run may go on at the head of the next column
    return starts[np.r_[True, apart]], ends[np.r_[apart, True]]


def _compress(counts: _Longs) -> str:
    values = counts.copy()
    values[3:] -= counts[1:-2]
    chars = np.zeros((len(values), _MAX_CHARS), np.uint8)
    used = np.zeros((len(values), _MAX_CHARS), np.bool_)
    alive = np.ones(len(values), np.bool_)
    for place in range(_MAX_CHARS):
        low = values & 0x1F
        values = values >> 5
        more = np.where(low & 0x10, values != -1, values != 0)
        chars[:, place] = np.where(more, low | 0x20, low) + 48
        used[:, place] = alive
        alive = alive & more
        if not alive.any():
            break
    return chars[used].tobytes().decode("ascii")


def _counts(rle: Rle) -> _Longs:
    """The runs of a mask, uncompressed.

    :raises ValueError: the text is no such coding, or does not fill the mask
    """
    text = rle["counts"]
    raw = np.frombuffer(text.encode("ascii") if isinstance(text, str) else bytes(text), np.uint8)
    digits = raw.astype(np.int64) - 48
    if len(digits) == 0 or digits.min() < 0 or digits.max() > 0x3F or digits[-1] & 0x20:
        raise ValueError(f"{len(raw)} characters that are no run-length mask")
    last = np.flatnonzero((digits & 0x20) == 0)
    first = np.r_[0, last[:-1] + 1]
    length = last - first + 1
    if length.max() > _MAX_CHARS - 1:
        raise ValueError("a run of a mask that is too long")
    place = np.arange(len(digits)) - np.repeat(first, length)
    values = np.add.reduceat((digits & 0x1F) << (5 * place), first)
    values -= np.where(digits[last] & 0x10, np.int64(1) << (5 * length), 0)
    for parity in (0, 1):  # from the fourth run on each is the difference to the one two before
        chain = values[parity::2] if parity else values[2::2]
        np.cumsum(chain, out=chain)
    height, width = rle["size"]
    if (values < 0).any() or int(values.sum()) != height * width:
        raise ValueError(f"the runs of a mask cover {int(values.sum())} of {height} x {width} pixels")
    return values


def decode(rle: Rle) -> Bitmap:
    """The bitmap (H, W) bool of a mask, a new array (column-major).

    :raises ValueError: the text is no such coding
    """
    counts = _counts(rle)
    height, width = rle["size"]
    bits = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.asarray(bits.reshape(width, height).T, np.bool_)


def decode_all(masks: Sequence[Rle], size_hw: tuple[int, int]) -> Bitmap:
    """The bitmaps (N, H, W) bool of masks of one size."""
    out = np.zeros((len(masks), *size_hw), np.bool_)
    for bitmap, rle in zip(out, masks, strict=True):
        bitmap[:] = decode(rle)
    return out


def area(rle: Rle) -> int:
    """Pixels inside."""
    return int(_counts(rle)[1::2].sum())


def bounds(rle: Rle) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 of the pixels inside, the far sides exclusive; zeros where there are none."""
    counts = _counts(rle)
    height, _ = rle["size"]
    ends = np.cumsum(counts)
    starts, ends = (ends - counts)[1::2], ends[1::2]
    inside = starts < ends
    starts, ends = starts[inside], ends[inside] - 1
    if not len(starts):
        return (0, 0, 0, 0)
    first, last = starts // height, ends // height
    over = bool((first != last).any())  # a run over the end of a column touches both rims
    top = 0 if over else int((starts % height).min())
    bottom = height if over else int((ends % height).max()) + 1
    return int(first[0]), top, int(last[-1]) + 1, bottom
