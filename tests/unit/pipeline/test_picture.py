"""Faults of a picture, planted in made ones: what is told, when, and what is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.camera.picture import Examiner, look
from runtime.results import Image
from wire.camera import PictureChecks
from wire.local import PictureState

LASTS_S = 5.0
CHECKS = PictureChecks(
    frozen_s=LASTS_S, black_s=LASTS_S, bright_s=LASTS_S, covered_s=LASTS_S, blurred_s=LASTS_S, moved_s=LASTS_S
)
cv2.setRNGSeed(5)


def scene(seed: int = 1, width: int = 320, height: int = 180) -> Image:
    """A still room: rectangles of many greys."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, np.uint8)
    for _ in range(40):
        x, y = rng.integers(0, width), rng.integers(0, height)
        w, h = rng.integers(8, width // 4), rng.integers(8, height // 4)
        shade = tuple(int(v) for v in rng.integers(20, 230, 3))
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), shade, -1)
    return image


def noisy(image: Image, levels: float = 4.0) -> Image:
    """What a sensor makes of it: no pixel is twice the same."""
    noise = np.empty(image.shape, np.float32)
    cv2.randn(noise, (0.0, 0.0, 0.0), (levels, levels, levels))
    return cv2.add(image, noise, dtype=cv2.CV_8U)


class Watching:
    """An examiner fed once a second; `told` is (second, reasons)."""

    def __init__(self) -> None:
        self._examiner = Examiner(CHECKS)
        self.at = 0.0
        self.told: list[tuple[float, list[str]]] = []
        self.state: PictureState | None = None

    def see(self, image: Image) -> None:
        if (news := self._examiner.examine(look(image), self.at)) is not None:
            self.state = news
            self.told.append((self.at, [fault.reason for fault in news.faults]))
        self.at += 1.0

    def settled(self, image: Image) -> Watching:
        for _ in range(15):
            self.see(noisy(image))
        assert self.told == [], "a good picture has no fault"
        return self


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("black", "picture-black"),
        ("bright", "picture-bright"),
        ("covered", "picture-covered"),
        ("blurred", "picture-blurred"),
        ("moved", "picture-moved"),
        ("frozen", "picture-frozen"),
    ],
)
def test_a_fault_is_told_after_its_time_and_lifted_when_it_is_over(name: str, reason: str) -> None:
    room = scene()
    blurred = cv2.GaussianBlur(room, (0, 0), 6)
    kept = noisy(room)
    pictures = {
        "black": lambda: noisy(np.full_like(room, 4), 2.0),
        "bright": lambda: noisy(np.full_like(room, 254), 1.0),
        "covered": lambda: cv2.GaussianBlur(noisy(np.full_like(room, 100)), (0, 0), 3),
        "blurred": lambda: noisy(blurred, 2.5),
        "moved": lambda: noisy(scene(seed=9)),
        "frozen": lambda: kept,
    }
    watching = Watching().settled(room)
    began = watching.at
    for _ in range(12):
        watching.see(pictures[name]())
    assert [told[1] for told in watching.told] == [[reason]]
    assert began + LASTS_S - 1 <= watching.told[0][0] <= began + LASTS_S + 1
    assert watching.state is not None
    assert began - 1 <= watching.state.faults[0].since_mono <= began + 1
    for _ in range(4):
        watching.see(noisy(room))
    assert watching.told[-1][1] == []


def test_a_picture_of_which_only_the_clock_runs_is_frozen() -> None:
    still = noisy(scene())
    watching = Watching()
    for second in range(12):
        image = still.copy()
        cv2.rectangle(image, (200, 2), (318, 20), (0, 0, 0), -1)
        cv2.putText(image, f"12:00:{second:02}", (202, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        watching.see(image)
    assert watching.told[-1][1] == ["picture-frozen"]


def test_something_small_that_moves_through_a_noiseless_picture_is_no_clock() -> None:
    still = scene()
    watching = Watching()
    for second in range(12):
        image = still.copy()
        cv2.rectangle(image, (20 * second, 80), (20 * second + 24, 110), (255, 255, 255), -1)
        watching.see(image)
    assert watching.told == []


def test_another_size_is_told_at_once_and_lifted_with_the_old_one() -> None:
    watching = Watching().settled(scene())
    watching.see(noisy(cv2.resize(scene(), (160, 90))))
    assert watching.told[-1][1] == ["picture-size"]
    for _ in range(3):
        watching.see(noisy(scene()))
    assert watching.told[-1][1] == []


def test_a_passing_lorry_is_no_moved_camera() -> None:
    watching = Watching().settled(scene())
    for second in range(20):
        image = scene()
        left = -200 + second * 30
        cv2.rectangle(image, (left, 20), (left + 200, 170), (60, 60, 200), -1)
        watching.see(noisy(image))
    assert watching.told == []


def test_checks_that_are_off_tell_nothing() -> None:
    off = PictureChecks(frozen_s=0, black_s=0, bright_s=0, covered_s=0, blurred_s=0, moved_s=0)
    examiner = Examiner(off)
    assert all(examiner.examine(look(np.zeros((90, 160, 3), np.uint8)), at) is None for at in range(200))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 1.6), st.integers(64, 200))
def test_light_that_changes_is_no_fault(seed: int, gain: float, height: int) -> None:
    """Whatever room it is, at whatever size."""
    room = scene(seed, height * 16 // 9, height)
    watching = Watching().settled(room)
    lit = np.clip(room * (0.5 + gain / 2), 5, 240).astype(np.uint8)
    for _ in range(10):
        watching.see(noisy(lit))
    assert watching.told == []
