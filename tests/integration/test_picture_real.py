"""Real recordings of quiet scenes have no fault, however short the time a fault has to last."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from runtime.camera.picture import Examiner, look
from wire.camera import PictureChecks

CHECKS = PictureChecks(frozen_s=3, black_s=2, bright_s=2, covered_s=5, blurred_s=20, moved_s=20)


@pytest.mark.parametrize("name", ["one-by-one-person-detection.mp4", "bottle-detection.mp4", "vtest.avi"])
@pytest.mark.parametrize("every_s", [0.3, 1.0])
def test_a_quiet_scene_is_no_fault(assets: Path, name: str, every_s: float) -> None:
    capture = cv2.VideoCapture(str(assets / "video" / name))
    fps = capture.get(cv2.CAP_PROP_FPS)
    examiner, number, told = Examiner(CHECKS), 0, []
    while capture.grab():
        if number % max(1, int(fps * every_s)) == 0:
            told.append(examiner.examine(look(capture.retrieve()[1]), number / fps))
        number += 1
    assert number > 400
    assert not [state for state in told if state is not None]
