"""Decoded predictions of the models' own authors, against ours: exact path, by the SDK.

A case is `cases/<model>.json` of the folder OUTRIDER_DECODE_GOLDEN, schema golden-decode/1.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import outrider
from outrider.sdk import read_image
from runtime import masks
from runtime.model import session
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadOptions
from runtime.results import Result

FOLDER = Path(
    os.environ.get("OUTRIDER_DECODE_GOLDEN")
    or Path(__file__).parents[3] / "shared" / "conformance" / "decode"
)
CASES = sorted((FOLDER / "cases").glob("*.json"))
BOX_TOLERANCE_PX = {"ultralytics": 0.1, "rfdetr": 0.5}
"""By producer. RF-DETR resizes floats: another bilinear moves a box of these random weights by up to 0.03 px."""
SCORE_TOLERANCE = 5e-4
LEAST_MASK_IOU = {"onnxruntime-cpu": 0.995, "openvino": 0.98}
"""By engine: the predictions were made with ONNX Runtime, and another order of sums moves the edge of a small mask by a pixel."""
ANGLE_TOLERANCE = 1e-3
CHOSEN = "onnxruntime-cpu, candidates chosen in the graph"
"""As on a GPU."""
ENGINES = (
    "onnxruntime-cpu",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed"),
    ),
    CHOSEN,
)
"""Those that need no GPU; tests/gpu has the others."""


@dataclass
class Worst:
    """The largest differences over all images of a case."""

    box_px: float = 0.0
    score: float = 0.0
    point_px: float = 0.0
    angle: float = 0.0
    mask_iou: float = 1.0


@pytest.mark.skipif(not CASES, reason=f"no cases in {FOLDER}; OUTRIDER_DECODE_GOLDEN names the folder")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("path", CASES or [Path("none")], ids=lambda path: path.stem)
def test_predictions_are_those_of_the_authors_own_code(
    path: Path, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = json.loads(path.read_text(encoding="utf-8"))
    worst = Worst()
    if engine == CHOSEN:
        monkeypatch.setattr(session, "on_gpu", lambda name: True)
        engine = "onnxruntime-cpu"
    with _load(case, engine, tmp_path) as model:
        if session.on_gpu(engine) and not any("outrider_rows" in port for port in model.info["outputs"]):
            pytest.skip("its outputs are small, or chosen already")
        for image in case["images"]:
            picture = read_image(FOLDER / "images" / image["file"])
            if hashlib.sha256(picture.tobytes()).hexdigest() != image["decoded_bgr_u8_sha256"]:
                pytest.skip("this OpenCV decodes the pictures to other pixels than the reference had")
            result = model.predict(picture)
            if case["task"] == "classify":
                _compare_classes(result, image, worst)
            else:
                confidence = image.get("conf", case["params"].get("conf"))
                _compare(result.select(result.scores > confidence), image, worst)
    print(f"{path.stem} {engine}: {worst}")
    box_px = BOX_TOLERANCE_PX[next(p for p in case["producer"] if p in BOX_TOLERANCE_PX)]
    assert worst.box_px <= box_px
    assert worst.point_px <= box_px
    assert worst.angle <= ANGLE_TOLERANCE
    assert worst.score <= SCORE_TOLERANCE
    assert worst.mask_iou >= LEAST_MASK_IOU[engine]


def _load(case: dict[str, Any], engine: str, tmp_path: Path) -> outrider.Model:
    onnx, params = FOLDER / "models" / case["model"], case["params"]
    options = PackOptions(no_golden=True)
    package = pack(onnx, tmp_path / "pkg", options, LoadOptions(cache_dir=tmp_path)).directory
    confidences = [image.get("conf", params.get("conf")) for image in case["images"]]
    return outrider.load(
        package,
        engine=engine,
        score_threshold=None if None in confidences else min(confidences),
        iou_threshold=params.get("iou"),
        max_detections=params.get("max_det") or params.get("topk"),
        cache_dir=tmp_path,
    )


def _compare_classes(result: Result, image: dict[str, Any], worst: Worst) -> None:
    top = result.top(len(image["top5"]))
    assert [i for i, _, _ in top] == image["top5"], f"{image['file']}: other classes"
    for (_, _, score), expected in zip(top, image["top5_prob"], strict=True):
        worst.score = max(worst.score, abs(score - expected))


def _compare(result: Result, image: dict[str, Any], worst: Worst) -> None:
    """Detections are paired by class, then the nearest of box and score."""
    name = image["file"]
    assert sorted(result.class_ids.tolist()) == sorted(image["classes"]), f"{name}: other classes or count"
    free = set(range(len(result)))
    for k, (class_id, score, box) in enumerate(
        zip(image["classes"], image["scores"], image["boxes_xyxy"], strict=True)
    ):
        candidates = [i for i in free if result.class_ids[i] == class_id]
        off = {i: np.abs(result.boxes[i] - box).max() + abs(result.scores[i] - score) for i in candidates}
        best = min(candidates, key=off.__getitem__)
        free.remove(best)
        worst.box_px = max(worst.box_px, float(np.abs(result.boxes[best] - box).max()))
        worst.score = max(worst.score, abs(float(result.scores[best]) - score))
        _compare_extras(result, best, image, k, worst)


def _compare_extras(result: Result, i: int, image: dict[str, Any], k: int, worst: Worst) -> None:
    if "masks_native" in image:
        truth = {"size": image["masks_native"]["size_hw"], "counts": image["masks_native"]["rle"][k]}
        assert result.masks is not None
        mine, theirs = masks.decode(result.masks[i]), masks.decode(truth)
        worst.mask_iou = min(worst.mask_iou, float((mine & theirs).sum() / max(1, (mine | theirs).sum())))
    if "keypoints_xyv" in image:
        assert result.keypoints is not None
        off = np.abs(result.keypoints[i] - np.reshape(image["keypoints_xyv"][k], (-1, 3)))
        worst.point_px = max(worst.point_px, float(off[:, :2].max()))
        worst.score = max(worst.score, float(off[:, 2].max()) - 5e-4)  # written with three decimals
    if "boxes_xywhr" in image:
        assert result.oriented is not None
        off = np.abs(result.oriented[i] - image["boxes_xywhr"][k])
        worst.point_px = max(worst.point_px, float(off[:4].max()))
        worst.angle = max(worst.angle, float(off[4]))
        corners = np.reshape(image["corners_xyxyxyxy"][k], (4, 2))
        assert result.corners is not None
        apart = np.abs(result.corners[i][:, None] - corners[None]).max(axis=2).min(axis=1)
        worst.point_px = max(worst.point_px, float(apart.max()))
