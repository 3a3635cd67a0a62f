"""The synthetic conveyor: the same frame for the same seed, and a truth that is where the caps' pixels are."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest

from examples.bottle_caps.cap import CLASSES, DIAMETER_PX, SPRITE_PX, draw_look, sprite
from examples.bottle_caps.dataset import (
    GAIN,
    HELD_OUT_SEEDS,
    TRAINING_SEEDS,
    labels_of,
    letterbox,
)
from examples.bottle_caps.scene import DECK, HEIGHT_PX, WIDTH_PX, Scene

SEED = 7


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(SEED)


def test_a_frame_is_the_same_whatever_was_asked_for_before(scene: Scene) -> None:
    for k in (37, 3):
        scene.frame(k)
    image, truth = scene.frame(41)
    fresh_image, fresh_truth = Scene(SEED).frame(41)
    assert np.array_equal(image, fresh_image)
    assert truth == fresh_truth


def test_another_seed_is_another_belt(scene: Scene) -> None:
    mine, _ = scene.frame(0)
    theirs, _ = Scene(SEED + 1).frame(0)
    assert np.abs(mine.astype(int) - theirs).mean() > 3


def test_a_frame_is_a_picture_of_its_own(scene: Scene) -> None:
    image, truth = scene.frame(5)
    assert truth == scene.truth(5)
    assert image.shape == (HEIGHT_PX, WIDTH_PX, 3)
    assert image.dtype == np.uint8
    before = image.copy()
    scene.frame(6)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("k", [0, 37, 121])
def test_boxes_lie_where_the_caps_differ_from_the_empty_belt(scene: Scene, k: int) -> None:
    image, truth = scene.frame(k)
    changed = np.abs(image.astype(int) - scene.empty(k)).max(axis=2) > 20
    explained = np.zeros_like(changed)
    for cap in truth:
        x1, y1, x2, y2 = (round(v) for v in cap.box)
        assert changed[y1:y2, x1:x2].mean() > 0.6, cap
        explained[max(y1 - 12, 0) : y2 + 16, max(x1 - 12, 0) : x2 + 16] = True
    assert truth
    shadowless = cv2.erode((changed & ~explained).astype(np.uint8), np.ones((3, 3), np.uint8))
    inner = shadowless[:, 60 : WIDTH_PX - 60]
    assert inner.sum() == 0


def test_the_edge_of_a_box_is_the_edge_of_the_cap(scene: Scene) -> None:
    image, truth = scene.frame(37)
    changed = np.abs(image.astype(int) - scene.empty(37)).max(axis=2) > 45
    for cap in (c for c in truth if c.visible == 1.0):
        x1, y1, x2, y2 = (round(v) for v in cap.box)
        window = changed[y1 - 8 : y2 + 1, x1 - 8 : x2 + 1]
        columns, rows = np.flatnonzero(window.any(axis=0)), np.flatnonzero(window.any(axis=1))
        assert abs(int(columns[0]) - 8) <= 5, cap
        assert abs(int(rows[0]) - 8) <= 5, cap


def test_a_cap_keeps_its_number_and_class_and_rides_to_the_right(scene: Scene) -> None:
    paths: dict[int, list[float]] = {}
    names: dict[int, set[str]] = {}
    for k in range(0, 80, 4):
        for cap in scene.truth(k):
            paths.setdefault(cap.cap_id, []).append((cap.box[0] + cap.box[2]) / 2)
            names.setdefault(cap.cap_id, set()).add(cap.name)
    assert all(len(name) == 1 for name in names.values())
    assert all(np.all(np.diff(path) > 0) for path in paths.values())


def test_a_cap_is_in_sight_for_three_to_five_seconds(scene: Scene) -> None:
    seen: Counter[int] = Counter()
    for k in range(110):
        seen.update(cap.cap_id for cap in scene.truth(k))
    whole = {cap for cap in seen if 12 <= cap <= 18}
    assert whole
    assert all(3 * 15 <= seen[cap] <= 5 * 15 for cap in whole)


def test_every_deck_holds_every_class(scene: Scene) -> None:
    for first in (0, 2 * len(DECK), 20 * len(DECK)):
        dealt = [scene.kind_of(cap_id) for cap_id in range(first, first + 2 * len(DECK), 2)]
        assert sorted(dealt) == sorted(DECK)
    assert set(DECK) == set(CLASSES)


def test_a_missing_liner_is_seen_from_below_and_a_print_from_above() -> None:
    rng = np.random.default_rng(1)
    sides = {kind: {draw_look(kind, rng).underside for _ in range(40)} for kind in CLASSES}
    assert sides["no_liner"] == {True}
    assert sides["good"] == {True, False}
    assert all(sides[kind] == {False} for kind in ("scratched", "dented", "misprinted"))


@pytest.mark.parametrize("kind", [name for name in CLASSES if name != "good"])
def test_a_defect_changes_the_look_of_the_cap(kind: str) -> None:
    from dataclasses import replace

    look = draw_look(kind, np.random.default_rng(5))
    flawed, sound = sprite(look), sprite(replace(look, kind="good"))
    assert flawed.shape == (SPRITE_PX, SPRITE_PX, 4)
    face = sound[..., 3] > 0.98
    off = np.abs(flawed[..., :3] - sound[..., :3]).max(axis=2)[face]
    assert (off > 40).mean() > 0.04
    assert face.sum() > 0.7 * np.pi / 4 * DIAMETER_PX**2


def test_labels_are_in_the_pixels_of_the_letterboxed_picture(scene: Scene) -> None:
    image, truth = scene.frame(37)
    rows = labels_of(truth)
    assert letterbox(image).shape == (192, 320, 3)
    assert [CLASSES[int(row[0])] for row in rows if row[0] >= 0] == [cap.name for cap in truth]
    assert rows[0, 1:5] == pytest.approx(np.array(truth[0].box) * GAIN)


def test_no_scene_is_both_for_training_and_held_out() -> None:
    assert not set(TRAINING_SEEDS) & set(HELD_OUT_SEEDS)
