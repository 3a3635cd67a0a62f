"""What is wrong with a picture that comes: frozen, black, over-exposed, covered, blurred, moved, of another size.

`look` reduces a frame to a thumbnail at a fraction of a millisecond; `Examiner` judges a row of looks. Both are pure: times are
arguments, in seconds of CLOCK_MONOTONIC. A fault is visible once it has lasted as long as `PictureChecks` says, and gone after
`CLEAR_LOOKS` looks without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.results import Floats, Image
from wire.camera import PictureChecks
from wire.local import PictureFault, PictureState
from wire.reasons import Reason

Grey = npt.NDArray[np.uint8]

GRID_WH = (64, 36)
TILE_PX = 128
TILES = (0.15, 0.5, 0.85)
"""Centres of the tiles in which sharpness is measured, as shares of width and height."""
SAME_LEVELS = 3
"""Grey levels by which a re-encoded frozen picture differs from itself at most, but for `SAME_SHARE` of the points.

The quietest of our recordings of still scenes differs by more than this at 7 % of the points from one second to the next."""
SAME_SHARE = 0.01
RECODED_SHARE = 0.15
RECODED_LEVELS = 24
"""A key frame of a frozen picture changes at most this share of the points visibly, and next to none by more than this."""
FREEZE_EVERY_S = 0.95
"""Pictures closer together than this are alike in a quiet scene too: encoders skip what hardly changes."""
ODD_LOOKS = 3
ANCHORS = 8
CLOCK_SHARE = 0.06
"""An overlay clock's box is at most this share of the picture, and within `CLOCK_BAND` of its upper or lower edge."""
CLOCK_BAND = 0.2
BLACK_LEVEL = 24
BRIGHT_LEVEL = 250
BRIGHT_SHARE = 0.6
EVEN_LEVELS = 6.0
EVEN_SHARPNESS = 6.0
"""Variance of the Laplacian below which a tile shows no detail at all (8-bit grey)."""
BLURRED_SHARE = 0.2
"""Of the sharpness this camera has had before."""
LEARNING_LOOKS = 10
SAME_VIEW = 0.5
SETTLED_VIEW = 0.8
"""Correlation of the edges of two looks."""
ADAPT = 0.02
CLEAR_LOOKS = 2
SIZE_S = 1e-6
"""A wrong size is visible at once: it cannot be a passing thing of the scene."""


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a frame.

    points: (36, 64) uint8 grey, single pixels of a grid, their noise included. coarse: (36, 64) uint8 grey, averaged.
    sharpness: largest variance of the Laplacian among the tiles. size_wh: of the frame in pixels.
    """

    points: Grey
    coarse: Grey
    sharpness: float
    size_wh: tuple[int, int]


def look(image: Image) -> Look:
    """Reduce a frame. image: (H, W, 3) uint8 BGR."""
    height, width = image.shape[:2]
    points = cv2.resize(image, GRID_WH, interpolation=cv2.INTER_NEAREST)
    stride = max(1, height // 135)
    thin = np.ascontiguousarray(image[::stride, ::stride])
    coarse = cv2.resize(thin, GRID_WH, interpolation=cv2.INTER_AREA)
    return Look(_grey(points), _grey(coarse), max(map(_sharpness, _tiles(image))), (width, height))


def _grey(image: Image) -> Grey:
    grey: Grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return grey


def _tiles(image: Image) -> list[Grey]:
    height, width = image.shape[:2]
    side = min(TILE_PX, height, width)
    corners = [(int((height - side) * y), int((width - side) * x)) for y in TILES for x in TILES]
    return [_grey(np.ascontiguousarray(image[y : y + side, x : x + side])) for y, x in corners]


def _sharpness(tile: Grey) -> float:
    """At half the size, where the sensor's noise has mostly gone and a lens out of focus still shows."""
    half = cv2.resize(tile, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(half, cv2.CV_32F).var())


def edges(coarse: Grey) -> Floats:
    """The outlines of a look, of mean 0 and length 1 (0 for an even picture): what stays when the light changes."""
    grey = coarse.astype(np.float32)
    size = np.hypot(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    size = np.log1p(size)
    size -= size.mean()
    length = float(np.linalg.norm(size))
    outlines: Floats = (size / length if length > 1e-3 else np.zeros_like(size)).astype(np.float32)
    return outlines


def same_picture(before: Grey, now: Grey) -> bool:
    """Whether nothing but the noise of encoding, and perhaps a clock at the edge, differs. Both (36, 64) uint8 grey."""
    changed = cv2.absdiff(before, now) > SAME_LEVELS
    allowed = int(SAME_SHARE * changed.size)
    if int(changed.sum()) <= allowed:
        return True
    rows, columns = np.nonzero(changed)
    height, width = changed.shape
    area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
    band = CLOCK_BAND * height
    return bool(area <= CLOCK_SHARE * height * width and (rows.max() < band or rows.min() >= height - band))


def recoded_picture(before: Grey, now: Grey) -> bool:
    """Whether an encoder that begins anew on the same picture explains the difference. Both (36, 64) uint8 grey."""
    difference = cv2.absdiff(before, now)
    visible, large = (difference > SAME_LEVELS).mean(), (difference > RECODED_LEVELS).mean()
    return bool(visible <= RECODED_SHARE and large <= SAME_SHARE)


class _Freeze:
    """Since when the picture has been one of a few that come again and again, as an encoder makes them of a frozen one."""

    def __init__(self) -> None:
        self.since_mono = 0.0
        self.looked_mono = -1e18
        self._anchors: list[Grey] = []
        self._odd = 0

    def holds(self, points: Grey, at_mono: float) -> bool:
        """Whether this picture may be the one before. points: (36, 64) uint8 grey."""
        self.looked_mono = at_mono
        if any(same_picture(anchor, points) for anchor in reversed(self._anchors)):
            self._odd = 0
            return True
        self._odd += 1
        if self._odd < ODD_LOOKS and self._anchors and recoded_picture(self._anchors[-1], points):
            self._anchors = [*self._anchors[-ANCHORS + 1 :], points]
            return True
        self.since_mono, self._anchors, self._odd = at_mono, [points], 0
        return False

    def over(self) -> None:
        """There is nothing to compare."""
        self._anchors, self._odd = [], 0


class _Symptom:
    """One fault in the making: since when, and for how many looks it has been gone."""

    def __init__(self, reason: Reason, lasts_s: float, *, blind: bool) -> None:
        self.reason = reason
        self.lasts_s = lasts_s
        self.blind = blind
        self.off = lasts_s == 0.0
        self.visible = False
        self.message = ""
        self._since_mono: float | None = None
        self._clear = 0

    def seen(self, message: str | None, at_mono: float, since_mono: float | None = None) -> None:
        """`message` where the symptom shows, None where it does not."""
        if self.off:
            return
        if message is None:
            self._clear += 1
            if self._clear >= CLEAR_LOOKS or not self.visible:
                self._since_mono, self.visible = None, False
            return
        self._clear = 0
        if self._since_mono is None:
            self._since_mono = at_mono if since_mono is None else since_mono
        if at_mono - self._since_mono + SIZE_S >= self.lasts_s and not self.visible:
            self.visible, self.message = True, message

    @property
    def fault(self) -> PictureFault:
        return PictureFault(self.reason.value, self.message, self._since_mono or 0.0, self.blind)


class Examiner:
    """Judges the looks of one camera, in order. What it has learned of the view holds across reconnections."""

    def __init__(self, checks: PictureChecks, *, one_size: bool = True) -> None:
        """`one_size`: the first picture's size is to stay, where the checks name none."""
        self._frozen = _Symptom(Reason.PICTURE_FROZEN, checks.frozen_s, blind=True)
        self._black = _Symptom(Reason.PICTURE_BLACK, checks.black_s, blind=True)
        self._bright = _Symptom(Reason.PICTURE_BRIGHT, checks.bright_s, blind=True)
        self._covered = _Symptom(Reason.PICTURE_COVERED, checks.covered_s, blind=True)
        self._blurred = _Symptom(Reason.PICTURE_BLURRED, checks.blurred_s, blind=False)
        self._moved = _Symptom(Reason.PICTURE_MOVED, checks.moved_s, blind=False)
        self._size = _Symptom(Reason.PICTURE_SIZE, SIZE_S, blind=False)
        self._one_size = one_size
        self._size_wh = (checks.width_px, checks.height_px)
        self._freeze = _Freeze()
        self._sharpest = 0.0
        self._view: Floats | None = None
        self._before: Floats | None = None
        self._learned = 0
        self._told: tuple[str, ...] = ()

    def examine(self, seen: Look, at_mono: float) -> PictureState | None:
        """The faults that are visible now, where they are others than before."""
        light = _light(seen)
        self._black.seen("the picture is black" if light == "black" else None, at_mono)
        self._bright.seen("the picture is over-exposed" if light == "bright" else None, at_mono)
        even = not light and _even(seen)
        self._covered.seen("the picture is one even surface" if even else None, at_mono)
        self._look_for_freeze(seen, at_mono, dull=bool(light) or even)
        self._look_at_size(seen, at_mono)
        if light or even:
            # Nothing can be said about sharpness and view while nothing is to be seen.
            self._blurred.seen(None, at_mono)
            self._moved.seen(None, at_mono)
        else:
            self._look_for_blur(seen, at_mono)
            self._look_at_view(seen, at_mono)
        return self._news()

    def _news(self) -> PictureState | None:
        all_ = (
            self._black,
            self._bright,
            self._covered,
            self._frozen,
            self._size,
            self._blurred,
            self._moved,
        )
        faults = [each.fault for each in all_ if each.visible]
        told = tuple(fault.reason for fault in faults)
        if told == self._told:
            return None
        self._told = told
        return PictureState(faults)

    def _look_for_freeze(self, seen: Look, at_mono: float, *, dull: bool) -> None:
        # A saturated or even picture has no noise, so that its standing still says nothing.
        if dull:
            self._freeze.over()
        elif at_mono - self._freeze.looked_mono < FREEZE_EVERY_S:
            return
        holds = not dull and self._freeze.holds(seen.points, at_mono)
        words = "the picture does not change, or only its clock does"
        self._frozen.seen(words if holds else None, at_mono, self._freeze.since_mono)

    def _look_at_size(self, seen: Look, at_mono: float) -> None:
        if self._size_wh == (0, 0) and self._one_size:
            self._size_wh = seen.size_wh
        pairs = zip(self._size_wh, seen.size_wh, strict=True)
        wrong = any(wanted not in (0, got) for wanted, got in pairs)
        words = "{} by {} pixels; {} by {} are expected".format(*seen.size_wh, *self._size_wh)
        self._size.seen(words if wrong else None, at_mono)

    def _look_for_blur(self, seen: Look, at_mono: float) -> None:
        soft = self._learned >= LEARNING_LOOKS and seen.sharpness < BLURRED_SHARE * self._sharpest
        if not soft:
            self._sharpest = max(self._sharpest, seen.sharpness)
        share = 100 * seen.sharpness / max(self._sharpest, 1e-6)
        words = f"the picture has {share:.0f} % of the sharpness it had"
        self._blurred.seen(words if soft else None, at_mono)

    def _look_at_view(self, seen: Look, at_mono: float) -> None:
        now = edges(seen.coarse)
        before, self._before = self._before, now
        if self._learned < LEARNING_LOOKS or self._view is None:
            self._learned += 1
            self._view = now if self._view is None else _nearer(self._view, now, 1.0 / self._learned)
            return
        likeness = _likeness(self._view, now)
        if likeness >= SAME_VIEW:
            self._view = _nearer(self._view, now, ADAPT)
            self._moved.seen(None, at_mono)
            return
        if before is None or _likeness(before, now) < SETTLED_VIEW:
            return
        self._moved.seen(f"the view is another than before (likeness {likeness:.2f})", at_mono)


def _light(seen: Look) -> str:
    if np.percentile(seen.points, 98) < BLACK_LEVEL:
        return "black"
    return "bright" if float((seen.points >= BRIGHT_LEVEL).mean()) > BRIGHT_SHARE else ""


def _even(seen: Look) -> bool:
    return float(seen.coarse.std()) < EVEN_LEVELS and seen.sharpness < EVEN_SHARPNESS


def _nearer(view: Floats, now: Floats, share: float) -> Floats:
    moved: Floats = (view + np.float32(share) * (now - view)).astype(np.float32)
    return moved


def _likeness(a: Floats, b: Floats) -> float:
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / length if length > 1e-6 else 0.0
