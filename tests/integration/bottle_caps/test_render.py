from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from examples.bottle_caps import render
from examples.bottle_caps.scene import FPS, HEIGHT_PX, WIDTH_PX, Scene


def test_a_clip_holds_the_frames_of_the_scene_and_its_truth(tmp_path: Path) -> None:
    clip, truth = tmp_path / "clip.mp4", tmp_path / "truth.json"
    wished = ["--out", str(clip), "--seconds", "0.2", "--seed", "3", "--start", "20", "--truth", str(truth)]
    assert render.main(wished) == 0
    capture = cv2.VideoCapture(str(clip))
    frames = [capture.read()[1] for _ in range(3)]
    assert (capture.get(cv2.CAP_PROP_FPS), capture.read()[0]) == (FPS, False)
    capture.release()
    scene = Scene(3)
    assert np.abs(frames[2].astype(int) - scene.frame(22)[0]).mean() < 6
    told = json.loads(truth.read_text())
    assert told["image_wh"] == [WIDTH_PX, HEIGHT_PX]
    assert [cap["id"] for cap in told["frames"][2]] == [cap.cap_id for cap in scene.truth(22)]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert render.main(["--out", str(tmp_path / "missing" / "clip.mp4"), "--seconds", "0.1"]) == 1
    assert "folder that exists" in capfd.readouterr().err
