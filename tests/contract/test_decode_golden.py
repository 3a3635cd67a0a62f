"""Decoded predictions of the models' own authors, against ours: exact path, by the SDK.

A case is `cases/<model>.json` of the folder OUTRIDER_DECODE_GOLDEN, schema golden-decode/1. Cases of families that are not built
are skipped, each naming what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outrider
from outrider.sdk import read_image
from runtime.errors import ModelRefused
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Result
from wire.reasons import Reason

FOLDER = Path(
    os.environ.get("OUTRIDER_DECODE_GOLDEN")
    or Path(__file__).parents[3] / "shared" / "conformance" / "decode"
)
CASES = sorted((FOLDER / "cases").glob("*.json"))
BOX_TOLERANCE_PX = {"ultralytics": 0.1, "rfdetr": 0.5}
"""By producer. RF-DETR resizes floats: another bilinear moves a box of these random weights by up to 0.03 px."""
SCORE_TOLERANCE = 5e-4
ENGINES = (
    "onnxruntime-cpu",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed"),
    ),
)
"""Those that need no GPU; tests/gpu has the others."""


@pytest.mark.skipif(not CASES, reason=f"no cases in {FOLDER}; OUTRIDER_DECODE_GOLDEN names the folder")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", CASES or [Path("none")], ids=lambda path: path.stem)
def test_predictions_are_those_of_the_authors_own_code(path: Path, engine: str, tmp_path: Path) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    params = case["params"]
    package = _pack(FOLDER / "models" / case["model"], case["task"], tmp_path)
    confidences = [image.get("conf", params.get("conf")) for image in case["images"]]
    worst_box = worst_score = 0.0
    with outrider.load(
        package,
        engine=engine,
        score_threshold=min(confidences),
        iou_threshold=params.get("iou"),
        max_detections=params.get("max_det") or params.get("topk"),
        cache_dir=tmp_path,
    ) as model:
        for image, confidence in zip(case["images"], confidences, strict=True):
            picture = read_image(FOLDER / "images" / image["file"])
            if hashlib.sha256(picture.tobytes()).hexdigest() != image["decoded_bgr_u8_sha256"]:
                pytest.skip("this OpenCV decodes the pictures to other pixels than the reference had")
            result = model.predict(picture)
            box, score = _differences(result.select(result.scores > confidence), image)
            worst_box, worst_score = max(worst_box, box), max(worst_score, score)
    print(f"{path.stem} {engine}: worst box {worst_box:.5f} px, worst score {worst_score:.2e}")
    assert worst_box <= BOX_TOLERANCE_PX[next(p for p in case["producer"] if p in BOX_TOLERANCE_PX)]
    assert worst_score <= SCORE_TOLERANCE


def _pack(onnx: Path, task: str, tmp_path: Path) -> Path:
    try:
        return pack(
            onnx, tmp_path / "pkg", PackOptions(no_golden=True), LoadOptions(cache_dir=tmp_path)
        ).directory
    except ModelRefused as e:
        if e.reason is not Reason.FAMILY_UNKNOWN:
            raise
        pytest.skip(f"no family for {onnx.name} (task {task}) is built yet")


def _differences(result: Result, image: dict[str, Any]) -> tuple[float, float]:
    """The largest box and score difference; detections are paired by class, then the nearest of both."""
    name = image["file"]
    assert sorted(result.class_ids.tolist()) == sorted(image["classes"]), f"{name}: other classes or count"
    free = set(range(len(result)))
    worst_box = worst_score = 0.0
    for class_id, score, box in zip(image["classes"], image["scores"], image["boxes_xyxy"], strict=True):
        candidates = [i for i in free if result.class_ids[i] == class_id]
        off = {i: np.abs(result.boxes[i] - box).max() + abs(result.scores[i] - score) for i in candidates}
        best = min(candidates, key=off.__getitem__)
        free.remove(best)
        worst_box = max(worst_box, float(np.abs(result.boxes[best] - box).max()))
        worst_score = max(worst_score, abs(float(result.scores[best]) - score))
    return worst_box, worst_score
