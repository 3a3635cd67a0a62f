"""One crown cap as the camera sees it from above: a height map, a print, a fixed lamp. Knows no belt and no camera.

A cap is shaded once, at twice the belt's resolution, and kept as a small picture that the scene moves about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]

CLASSES = ("good", "scratched", "dented", "misprinted", "no_liner")
"""The class names, in the order of the detectors' outputs."""

DIAMETER_PX = 112.0
"""Mean diameter in pixels of the belt plane."""
SPRITE_PX = 168
"""Side of a sprite in pixels of the belt plane: the cap and its shadow."""
_FLUTES = 21
"""Corrugations of a crown cork's skirt (DIN 6099)."""
_OVERSAMPLING = 2
_DESIGN_PX = 384
_LAMP = np.array([-0.42, -0.55, 0.72], np.float32) / np.float32(np.linalg.norm([-0.42, -0.55, 0.72]))

_PAINTS: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...] = (
    ((36, 30, 178), (214, 232, 240)),
    ((158, 74, 18), (236, 238, 236)),
    ((58, 104, 22), (120, 206, 232)),
    ((44, 168, 226), (34, 32, 38)),
    ((40, 36, 34), (92, 188, 226)),
    ((206, 226, 234), (40, 30, 170)),
    ((24, 110, 232), (238, 240, 240)),
    ((138, 128, 20), (232, 240, 238)),
    ((58, 22, 104), (130, 204, 226)),
    ((196, 186, 178), (120, 52, 20)),
)
"""Paint and ink of a brand, BGR."""
_METALS = ((186, 190, 194), (118, 178, 206))
"""Bare tinplate and gold lacquer, BGR."""
_LINERS = ((232, 234, 234), (238, 228, 206), (214, 236, 222))
"""Sealing compound: milky, bluish, greenish, BGR."""


@dataclass(frozen=True)
class CapLook:
    """Everything that makes a cap look as it does. Lengths are in radii, angles in radians."""

    kind: str
    seed: int
    brand: int
    design: int
    metal: int
    liner: int
    rotation: float
    diameter_px: float
    underside: bool


def draw_look(kind: str, rng: np.random.Generator) -> CapLook:
    """A cap of a class with everything else at random. A missing liner shows only from below; print and its faults only from above."""
    underside = kind == "no_liner" or (kind == "good" and rng.random() < 0.4)
    return CapLook(
        kind,
        int(rng.integers(2**31)),
        int(rng.integers(len(_PAINTS))),
        int(rng.integers(len(_GLYPHS))),
        int(rng.integers(len(_METALS))),
        int(rng.integers(len(_LINERS))),
        float(rng.uniform(0, 2 * math.pi)),
        float(DIAMETER_PX * rng.uniform(0.93, 1.06)),
        underside,
    )


def sprite(look: CapLook) -> Floats:
    """The cap with its shadow: (SPRITE_PX, SPRITE_PX, 4) float32, BGR times alpha (0 to 255) and alpha (0 to 1)."""
    rng = np.random.default_rng(look.seed)
    disc = _Disc.of(look)
    dent = _dent(disc, rng) if look.kind == "dented" else None
    if look.underside:
        height, albedo, gloss = _underside(disc, look)
    else:
        height, albedo, gloss = _top(disc, look, rng)
    edge = disc.edge
    if dent is not None:
        height, edge = height - dent.depth, edge - dent.bite
    if look.kind == "scratched":
        height, albedo, gloss = _scratch(disc, height, albedo, gloss, look, rng)
    colour = _shade(height, albedo, gloss, disc.pixel)
    alpha = np.clip((edge - disc.r) / (1.5 * disc.pixel), 0, 1)
    return _with_shadow(colour, alpha.astype(np.float32))


@dataclass(frozen=True)
class _Disc:
    """Polar coordinates of a sprite's pixels in radii of the cap; `edge` is the scalloped outline by angle."""

    x: Floats
    y: Floats
    r: Floats
    angle: Floats
    edge: Floats
    pixel: float

    @classmethod
    def of(cls, look: CapLook) -> _Disc:
        side = SPRITE_PX * _OVERSAMPLING
        pixel = 2.0 / (look.diameter_px * _OVERSAMPLING)
        axis = ((np.arange(side, dtype=np.float32) + 0.5) - side / 2) * np.float32(pixel)
        x, y = np.meshgrid(axis, axis)
        r = np.sqrt(x * x + y * y)
        angle = np.arctan2(y, x) - np.float32(look.rotation)
        edge = (0.968 + 0.032 * np.cos(_FLUTES * angle)).astype(np.float32)
        return cls(x, y, r, angle, edge, pixel)

    def turned(self, angle: float, dx: float = 0.0, dy: float = 0.0) -> tuple[Floats, Floats]:
        """Coordinates in a frame turned by `angle` and moved by dx, dy."""
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        x, y = self.x - np.float32(dx), self.y - np.float32(dy)
        return c * x + s * y, c * y - s * x


def _step(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Floats = t * t * (3 - 2 * t)
    return smooth


def _colour(bgr: tuple[int, int, int]) -> Floats:
    return np.array(bgr, np.float32)


def _mix(below: Floats, above: Floats, weight: Floats) -> Floats:
    mixed: Floats = below + (above - below) * weight[..., None]
    return mixed


def _top(disc: _Disc, look: CapLook, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Height (radii), albedo and gloss of the printed side."""
    skirt = _step(0.74, 1.0, disc.r)
    flutes = skirt * np.cos(_FLUTES * disc.angle)
    height = 0.30 - 0.03 * disc.r**2 - 0.34 * skirt + 0.035 * flutes
    paint, ink = _PAINTS[look.brand]
    albedo = np.broadcast_to(_colour(paint), (*disc.r.shape, 3)).astype(np.float32)
    albedo = _print(disc, look, albedo, _colour(ink), rng)
    worn = _step(0.975, 1.0, disc.r / disc.edge)
    albedo = _mix(albedo, _colour(_METALS[0]), 0.75 * worn)
    gloss = np.full_like(disc.r, 0.55) + 0.35 * skirt
    return height, albedo, gloss


def _print(disc: _Disc, look: CapLook, albedo: Floats, ink: Floats, rng: np.random.Generator) -> Floats:
    glyph, ring = _design(look.design)
    if look.kind != "misprinted":
        albedo = _stamp(disc, albedo, ring, ink, look.rotation, 0.0, 0.0)
        return _stamp(disc, albedo, glyph, ink, look.rotation, 0.0, 0.0)
    away = rng.uniform(0, 2 * math.pi)
    far = rng.uniform(0.34, 0.50)
    dx, dy = far * math.cos(away), far * math.sin(away)
    bare = _step(0.0, 0.03, 0.80 - np.hypot(disc.x - 0.8 * dx, disc.y - 0.8 * dy))
    inside = 1 - _step(0.93, 0.97, disc.r)
    albedo = _mix(albedo, _colour((226, 230, 232)), 0.92 * (1 - bare) * inside)
    albedo = _stamp(disc, albedo, ring, ink, look.rotation, dx, dy)
    turn = look.rotation + rng.choice([-1, 1]) * rng.uniform(0.3, 0.7)
    return _stamp(disc, albedo, glyph, ink, turn, -0.6 * dx, -0.6 * dy)


def _stamp(
    disc: _Disc, albedo: Floats, mask: Floats, ink: Floats, turn: float, dx: float, dy: float
) -> Floats:
    """Ink where the design's mask is; nothing is printed on the skirt."""
    u, v = disc.turned(turn, dx, dy)
    scale = np.float32(_DESIGN_PX / 2)
    cover = cv2.remap(mask, (u + 1) * scale, (v + 1) * scale, cv2.INTER_LINEAR, borderValue=0)
    return _mix(albedo, ink, np.asarray(cover, np.float32) * (1 - _step(0.90, 0.95, disc.r)))


def _underside(disc: _Disc, look: CapLook) -> tuple[Floats, Floats, Floats]:
    """Height (radii), albedo and gloss of a cap that lies on its printed side."""
    wall = _step(0.66, 0.80, disc.r)
    rim = _step(0.86, 1.0, disc.r)
    height = 0.26 * wall - 0.10 * rim + 0.035 * _step(0.74, 0.95, disc.r) * np.cos(_FLUTES * disc.angle)
    metal = _colour(_METALS[look.metal])
    albedo = np.broadcast_to(metal, (*disc.r.shape, 3)).astype(np.float32)
    gloss = np.full_like(disc.r, 1.0)
    if look.kind == "no_liner":
        return _bare_floor(disc, height, albedo, gloss)
    liner = 1 - _step(0.655, 0.685, disc.r)
    albedo = _mix(albedo, _colour(_LINERS[look.liner]), liner)
    ridge = np.exp(-(((disc.r - 0.60) / 0.035) ** 2)) + 0.6 * np.exp(-(((disc.r - 0.30) / 0.03) ** 2))
    height = height + 0.032 * ridge.astype(np.float32)
    return height, albedo, (gloss - 0.75 * liner).astype(np.float32)


def _bare_floor(disc: _Disc, height: Floats, albedo: Floats, gloss: Floats) -> tuple[Floats, Floats, Floats]:
    """Turned metal: fine rings, and the two bright wedges that such rings throw back to a lamp."""
    floor = 1 - _step(0.64, 0.70, disc.r)
    lamp_angle = math.atan2(float(_LAMP[1]), float(_LAMP[0]))
    direction = np.arctan2(disc.y, disc.x)
    wedge = np.abs(np.cos(direction - np.float32(lamp_angle))) ** 6
    rings = 0.06 * np.cos(disc.r * np.float32(2 * math.pi * 14))
    level = 0.34 + 0.95 * wedge * _step(0.02, 0.12, disc.r) + rings
    albedo = albedo * (1 + (level - 1) * floor)[..., None]
    hub = np.exp(-((disc.r / 0.07) ** 2)).astype(np.float32)
    return height - 0.03 * hub, albedo.astype(np.float32), (gloss - 0.6 * floor).astype(np.float32)


@dataclass(frozen=True)
class _Dent:
    """`depth` lowers the height, `bite` flattens the outline; both in radii, by pixel."""

    depth: Floats
    bite: Floats


def _dent(disc: _Disc, rng: np.random.Generator) -> _Dent:
    """A blow from the side: a deep crease across the shoulder and a flattened edge."""
    at = rng.uniform(0, 2 * math.pi)
    u, v = disc.turned(at)
    reach, width = rng.uniform(0.50, 0.64), rng.uniform(0.32, 0.44)
    hollow = np.exp(-(((u - 0.85) / reach) ** 2) - ((v / width) ** 2))
    crease = np.exp(-(((u - 0.30 + 0.5 * v * v) / 0.06) ** 2) - ((v / (1.5 * width)) ** 2))
    chord = rng.uniform(0.66, 0.76)
    toward = np.clip(u / np.maximum(disc.r, 1e-6), 1e-3, 1)
    bite = np.maximum(disc.edge - np.float32(chord) / toward, 0)
    depth = 0.42 * hollow - 0.07 * crease
    return _Dent(depth.astype(np.float32), bite.astype(np.float32))


def _scratch(
    disc: _Disc, height: Floats, albedo: Floats, gloss: Floats, look: CapLook, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Three or four grooves down to the metal, roughly along each other, each slightly bent, with a dark burr beside it."""
    heading = rng.uniform(0, math.pi)
    count = int(rng.integers(3, 5))
    groove, burr = np.zeros_like(disc.r), np.zeros_like(disc.r)
    for offset in np.linspace(-0.36, 0.36, count) + rng.uniform(-0.12, 0.12, count):
        u, v = disc.turned(heading + rng.normal(0, 0.14))
        bend, width = rng.normal(0, 0.16), rng.uniform(0.032, 0.046)
        middle, half = rng.uniform(-0.15, 0.15), rng.uniform(0.50, 0.80)
        across = np.abs(v - np.float32(offset) - np.float32(bend) * u * u)
        ragged = 1 + 0.14 * np.sin(u * np.float32(rng.uniform(7, 15)) + np.float32(rng.uniform(0, 6)))
        across = across / (np.float32(width) * ragged)
        within = 1 - _step(half - 0.12, half, np.abs(u - np.float32(middle)))
        groove = np.maximum(groove, (1 - _step(0.6, 1.2, across)) * within)
        burr = np.maximum(burr, (1 - _step(1.4, 2.2, across)) * within)
    face = 1 - _step(0.92, 0.98, disc.r)
    groove, burr = groove * face, burr * face
    light_paint = float(np.mean(_PAINTS[look.brand][0])) > 170
    metal = _colour((52, 54, 56)) if light_paint else _colour((236, 240, 244))
    albedo = _mix(albedo, _colour((30, 30, 34)), 0.42 * burr)
    return height - 0.02 * groove, _mix(albedo, metal, 0.95 * groove), np.maximum(gloss, groove)


def _shade(height: Floats, albedo: Floats, gloss: Floats, pixel: float) -> Floats:
    """Lamp, sky and a strip light over the belt: (S, S, 3) float32, 0 to 255."""
    soft = cv2.GaussianBlur(np.ascontiguousarray(height, np.float32), (0, 0), 1.2)
    gx = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3) / np.float32(8 * pixel)
    gy = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3) / np.float32(8 * pixel)
    nz = 1 / np.sqrt(gx * gx + gy * gy + 1)
    nx, ny = -gx * nz, -gy * nz
    diffuse = np.maximum(nx * _LAMP[0] + ny * _LAMP[1] + nz * _LAMP[2], 0)
    half = _LAMP + np.array([0, 0, 1], np.float32)
    half = half / np.float32(np.linalg.norm(half))
    facing = np.maximum(nx * half[0] + ny * half[1] + nz * half[2], 0)
    shine = facing**28
    strip = np.exp(-(((ny + 0.30 + 0.25 * nx) / 0.11) ** 2))
    light = 0.36 + 0.82 * diffuse
    glare = gloss * (62 * shine + 74 * strip)
    colour = albedo * light[..., None] + glare[..., None]
    return np.asarray(np.clip(colour, 0, 255), np.float32)


def _with_shadow(colour: Floats, alpha: Floats) -> Floats:
    """Cap over its own shadow, at the belt's resolution."""
    side = alpha.shape[0]
    blur = 3.2 * _OVERSAMPLING
    move = np.array([[1, 0, 5.0 * _OVERSAMPLING], [0, 1, 6.5 * _OVERSAMPLING]], np.float32)
    cast = cv2.GaussianBlur(cv2.warpAffine(alpha, move, (side, side)), (0, 0), blur)
    contact = cv2.GaussianBlur(alpha, (0, 0), 1.6 * _OVERSAMPLING)
    dark = np.clip(np.maximum(0.62 * cast, 0.5 * contact), 0, 1)
    total = alpha + (1 - alpha) * dark
    stacked = np.dstack([colour * alpha[..., None], total]).astype(np.float32)
    small = cv2.resize(stacked, (SPRITE_PX, SPRITE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


def _star(points: int, inner: float, outer: float = 0.42) -> list[npt.NDArray[np.float64]]:
    angles = np.arange(2 * points) * math.pi / points - math.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return [np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)]


def _chevrons() -> list[npt.NDArray[np.float64]]:
    shape = np.array([[-0.36, 0.02], [0, -0.26], [0.36, 0.02], [0.36, 0.18], [0, -0.10], [-0.36, 0.18]])
    return [shape - np.array([0, 0.10]), shape + np.array([0, 0.17])]


def _rider() -> list[npt.NDArray[np.float64]]:
    """A wheel of six spokes."""
    spokes = []
    for k in range(6):
        c, s = math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)
        bar = np.array([[0.08, -0.045], [0.42, -0.085], [0.42, 0.085], [0.08, 0.045]])
        spokes.append(bar @ np.array([[c, s], [-s, c]]))
    return spokes


def _letter() -> list[npt.NDArray[np.float64]]:
    """The letter R, its bowl cut by the second outline."""
    outer = [[-0.24, 0.40], [-0.24, -0.40], [0.10, -0.40], [0.26, -0.28], [0.26, -0.04], [0.10, 0.08]]
    leg = [[0.30, 0.40], [0.10, 0.40], [-0.06, 0.10], [-0.06, 0.40]]
    bowl = [[-0.06, -0.25], [0.04, -0.25], [0.09, -0.20], [0.09, -0.12], [0.04, -0.06], [-0.06, -0.06]]
    return [np.array(outer + leg), np.array(bowl)]


_GLYPHS = (_star(5, 0.17), _star(8, 0.26), _chevrons(), _rider(), _letter())


@lru_cache(maxsize=len(_GLYPHS))
def _design(index: int) -> tuple[Floats, Floats]:
    """Masks (_DESIGN_PX, _DESIGN_PX) float32, 0 to 1, of a design's glyph and of its ring with lettering."""
    glyph = np.zeros((_DESIGN_PX, _DESIGN_PX), np.uint8)
    corners = [np.round((shape + 1) * _DESIGN_PX / 2 * 16).astype(np.int32) for shape in _GLYPHS[index]]
    cv2.fillPoly(glyph, corners, 255, cv2.LINE_AA, 4)
    return (glyph / np.float32(255)).astype(np.float32), _lettering()


def _lettering() -> Floats:
    """Two rings with words running round between them."""
    strip_width, strip_height = 1200, 96
    strip = np.zeros((strip_height, strip_width), np.uint8)
    cv2.putText(strip, "OUTRIDER * BOTTLERS *", (14, 78), cv2.FONT_HERSHEY_DUPLEX, 2.9, 255, 7, cv2.LINE_AA)
    axis = (np.arange(_DESIGN_PX, dtype=np.float32) + 0.5) * np.float32(2 / _DESIGN_PX) - 1
    x, y = np.meshgrid(axis, axis)
    r, angle = np.hypot(x, y), np.arctan2(y, x) % np.float32(2 * math.pi)
    across = (np.float32(0.69) - r) / np.float32(0.19) * strip_height
    words = cv2.remap(strip, angle / np.float32(2 * math.pi) * strip_width, across, cv2.INTER_LINEAR)
    rings = np.exp(-(((r - 0.745) / 0.018) ** 4)) + np.exp(-(((r - 0.475) / 0.014) ** 4))
    return np.asarray(np.clip(rings + words / np.float32(255), 0, 1), np.float32)
