"""Every case of the conformance folder: definition and inputs in, the recorded outputs of the original engine out.

The folder is OUTRIDER_CONFORMANCE, default ../shared/conformance/workflows. Generated ids are not compared; numbers have a
tolerance; tracker ids are compared by the order in which they appear; drawn and resampled pictures by size and mean.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.errors import WorkflowRefused
from runtime.masks import area
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.inputs import metadata_from_json
from runtime.workflow.values import Detections, ImageValue
from wire.reasons import Reason

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("OUTRIDER_CONFORMANCE", ROOT.parent / "shared" / "conformance" / "workflows"))
OWN = Path(__file__).parent / "workflow_cases"
"""Further cases of the same form: definitions and inputs written here, outputs of the original engine (`generated_by`)."""
RECORDED = sorted(p for p in FOLDER.glob("*.json") if p.name != "INDEX.json") if FOLDER.is_dir() else []
CASES = RECORDED + sorted(OWN.glob("*.json"))

TOLERANCE = 2e-4
"""Relative; recorded numbers are rounded to six digits, trackers calculate in other orders."""
MEAN_TOLERANCE = 0.5
"""Of a drawn picture's mean, in grey values."""
TEXT_TOLERANCE = 4.5
"""The same where letters fill much of a small picture: releases of OpenCV draw them with different strokes."""
OPTIONAL_COLUMNS = {"width", "height"}
RESAMPLED = {"visualization", "classical_cv"}

FAILS = object()
QUIRKS: dict[str, list[Any]] = {
    "flow_empty_next_steps": [{"s": "1"}],
    "err_param_into_selector_only": [{"n": 2}, {"n": 1}, FAILS],
}
"""Cases where this engine goes another way on purpose (docs/workflows.md), with the result of each run here."""


def load(path: Path) -> dict[str, Any]:
    case: dict[str, Any] = json.loads(path.read_text())
    return case


def given(value: Any) -> Any:
    """An input of the case in the form the engine takes."""
    if isinstance(value, list):
        return [given(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$detections" in value:
        return inference_response(value["$detections"])
    if "$image" in value:
        metadata = metadata_from_json(value.get("video_metadata") or {})
        return ImageValue(picture(value["$image"]), metadata)
    return {key: given(entry) for key, entry in value.items()}


def inference_response(d: dict[str, Any]) -> dict[str, Any]:
    width, height = d["image_wh"]
    predictions = []
    for i, (x1, y1, x2, y2) in enumerate(d["xyxy"]):
        entry = {
            "x": (x1 + x2) / 2,
            "y": (y1 + y2) / 2,
            "width": x2 - x1,
            "height": y2 - y1,
            "confidence": d["confidence"][i],
            "class": d["class_name"][i],
            "class_id": d["class_id"][i],
            "detection_id": d["detection_id"][i],
            "parent_id": "image",
        }
        if d.get("tracker_id"):
            entry["tracker_id"] = d["tracker_id"][i]
        if d.get("polygon"):
            entry["points"] = [{"x": x, "y": y} for x, y in d["polygon"][i]]
        if d.get("keypoints"):
            entry["keypoints"] = [
                {"x": x, "y": y, "confidence": score, "class_id": k, "class": name}
                for k, (x, y, score, name) in enumerate(d["keypoints"][i])
            ]
        predictions.append(entry)
    return {"image": {"width": width, "height": height}, "predictions": predictions}


def picture(spec: dict[str, Any]) -> Any:
    width, height = spec["width"], spec["height"]
    y, x = np.mgrid[0:height, 0:width]
    if spec["pattern"] == "solid":
        image = np.empty((height, width, 3), np.uint8)
        image[:] = spec["color_bgr"]
    elif spec["pattern"] == "gradient":
        image = np.stack([x % 256, y % 256, (x + y) % 256], axis=2).astype(np.uint8)
    else:
        cell = spec.get("cell", 16)
        image = np.repeat((((x // cell + y // cell) % 2) * 255)[..., None], 3, axis=2).astype(np.uint8)
    for rect in spec.get("rects", []):
        x1, y1, x2, y2 = rect["xyxy"] if isinstance(rect, dict) else rect[:4]
        image[y1:y2, x1:x2] = rect["color_bgr"] if isinstance(rect, dict) else rect[4]
    return image


def keypoint_columns(detections: Detections) -> dict[str, Any]:
    """Keypoints as the original keeps them; the places of points that an object lacks hold zeros."""
    if detections.keypoints is None or detections.keypoint_names is None:
        return {}
    names = detections.keypoint_names
    return {
        "keypoints_xy": detections.keypoints[..., :2],
        "keypoints_confidence": detections.keypoints[..., 2],
        "keypoints_class_name": names,
        "keypoints_class_id": np.where(names != "", np.arange(names.shape[1])[None], 0),
    }


class Comparison:
    """Compares values of one case; tracker ids are given numbers by first appearance, over all runs."""

    def __init__(self, tags: list[str], mean_tolerance: float | None = None) -> None:
        self._relabel = "tracker" in tags
        self._resampled = bool(RESAMPLED & set(tags))
        by_tag = TEXT_TOLERANCE if "text" in tags else MEAN_TOLERANCE
        self._mean_tolerance = by_tag if mean_tolerance is None else mean_tolerance
        self._ids: dict[int, int] = {}

    def same(self, want: Any, got: Any, at: str) -> None:
        if isinstance(want, dict) and want.get("$volatile"):
            return
        if isinstance(want, dict) and "$detections" in want:
            assert isinstance(got, Detections), f"{at}: {type(got).__name__}, expected detections"
            self._detections(want["$detections"], got, at)
        elif isinstance(want, dict) and "$image" in want:
            assert isinstance(got, ImageValue), f"{at}: {type(got).__name__}, expected an image"
            self._image(want["$image"], got, at)
        elif isinstance(want, dict):
            assert isinstance(got, dict), f"{at}: {got!r}, expected an object"
            assert {str(k) for k in got} == set(want), f"{at}: keys {sorted(map(str, got))} != {sorted(want)}"
            for key, value in got.items():
                self.same(want[str(key)], value, f"{at}.{key}")
        elif isinstance(want, list):
            assert isinstance(got, (list, tuple, np.ndarray)), f"{at}: {got!r}, expected a list"
            assert len(got) == len(want), f"{at}: {len(got)} entries, expected {len(want)}"
            for i, (w, g) in enumerate(zip(want, got, strict=True)):
                self.same(w, g, f"{at}[{i}]")
        elif isinstance(want, float) and isinstance(got, (int, float, np.number)):
            assert math.isclose(want, got, rel_tol=TOLERANCE, abs_tol=TOLERANCE), f"{at}: {got} != {want}"
        else:
            got = got.item() if isinstance(got, np.generic) else got
            assert got == want, f"{at}: {got!r} != {want!r}"
            assert (got is True or got is False) == isinstance(want, bool), f"{at}: {got!r} != {want!r}"

    def _detections(self, want: dict[str, Any], got: Detections, at: str) -> None:
        assert len(got) == len(want["xyxy"]), f"{at}: {len(got)} detections, expected {len(want['xyxy'])}"
        np.testing.assert_allclose(
            got.xyxy, np.array(want["xyxy"]).reshape(-1, 4), rtol=1e-3 if self._relabel else 1e-5, err_msg=at
        )
        self.same(want["class_name"], got.class_name.tolist(), f"{at}.class_name")
        self.same(want["class_id"], got.class_id.tolist(), f"{at}.class_id")
        self.same(want["confidence"], got.confidence.tolist(), f"{at}.confidence")
        if want.get("tracker_id"):
            assert got.tracker_id is not None, f"{at}: no tracker ids"
            ids = got.tracker_id.tolist()
            self.same(want["tracker_id"], [self._label(i) for i in ids], f"{at}.tracker_id")
        if want.get("mask_area_px"):
            assert got.masks is not None, f"{at}: no masks"
            self.same(want["mask_area_px"], [area(mask) for mask in got.masks], f"{at}.mask_area_px")
        data = {"detection_id": got.detection_id, **keypoint_columns(got), **got.data}
        for name, values in want.get("data", {}).items():
            if name in data:
                self.same(values, data[name].tolist(), f"{at}.data.{name}")
            else:
                assert name in OPTIONAL_COLUMNS, f"{at}: no data {name!r}"

    def _label(self, tracker_id: int) -> int:
        if not self._relabel or tracker_id < 0:
            return tracker_id
        return self._ids.setdefault(tracker_id, len(self._ids) + 1)

    def _image(self, want: dict[str, Any], got: ImageValue, at: str) -> None:
        pixels = got.image if got.image.ndim == 3 else got.image[..., None]
        shape = (want["height"], want["width"], want["channels"])
        assert pixels.shape == shape, f"{at}: {pixels.shape} != {shape}"
        mean = pixels.reshape(-1, shape[2]).mean(axis=0)
        np.testing.assert_allclose(mean, want["mean"], atol=self._mean_tolerance, err_msg=at)
        assert list(got.placed.parent_xy) == want["parent_offset_xy"], f"{at}: {got.placed}"
        assert list(got.placed.root_xy) == want["root_offset_xy"], f"{at}: {got.placed}"
        if not self._resampled:
            digest = hashlib.sha256(np.ascontiguousarray(got.image).tobytes()).hexdigest()
            assert digest == want["sha256"], f"{at}: other pixels"


def executor_of(case: dict[str, Any]) -> Executor:
    """The compiled case; skipped, by name, where a block does not exist yet."""
    try:
        graph = compile_definition(case["workflow"])
    except WorkflowRefused as e:
        missing = [p.message for p in e.problems if p.reason is Reason.BLOCK_UNKNOWN]
        if missing:
            pytest.skip("; ".join(missing))
        raise
    return Executor(graph, {}, Surroundings(lambda: 1767225600.0, lambda: 0.0))


def test_the_folder_is_there() -> None:
    if not RECORDED:
        pytest.skip(f"no conformance cases in {FOLDER}; name the folder in OUTRIDER_CONFORMANCE")
    assert len(RECORDED) > 100


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_case_gives_what_the_original_engine_gave(path: Path) -> None:
    case = load(path)
    if "expected_compile_error" in case:
        with pytest.raises(WorkflowRefused) as refused:
            compile_definition(case["workflow"])
        blocks = case["expected_compile_error"].get("blocks", [])
        text = str(refused.value)
        assert all(b["block_id"].strip("$") in text for b in blocks)
        return
    executor = executor_of(case)
    comparison = Comparison(case["tags"])
    for i, run in enumerate(case["runs"]):
        outcome = executor.run({name: given(value) for name, value in run["inputs"].items()})
        if path.stem in QUIRKS:
            wanted = QUIRKS[path.stem][i]
            assert bool(outcome.errors) == (wanted is FAILS), f"run {i}: {outcome.errors}"
            assert wanted is FAILS or outcome.outputs == [wanted]
        elif "expected_error" in run:
            assert outcome.errors, f"run {i}: no error, outputs {outcome.outputs}"
        else:
            assert not outcome.errors, f"run {i}: {outcome.errors}"
            comparison.same(run["expected"], outcome.outputs, f"run {i}")
