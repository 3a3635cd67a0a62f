"""The original engine on cases in the form of the conformance folder: run with the interpreter of an environment that holds it.

Reads `{"cases": [{workflow, runs: [{inputs}]}]}` from standard input, writes `[{runs: [{expected} | {expected_error}]} |
{expected_compile_error}]` to standard output. Nothing of Outrider is imported here.
"""

import datetime
import enum
import hashlib
import json
import os
import sys

os.environ.update(
    LOAD_ENTERPRISE_BLOCKS="True", TELEMETRY_OPT_OUT="True", ENABLE_TENSOR_DATA_REPRESENTATION="False"
)

import inference.core  # noqa: F401  (the engine wants its host to be imported first)
import numpy as np
import supervision as sv
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import (
    ImageParentMetadata,
    VideoMetadata,
    WorkflowImageData,
)

NAMES = (
    "model_manager",
    "api_key",
    "thread_pool_executor",
    "background_tasks",
    "step_execution_mode",
    "cache",
)
PARAMETERS = {f"workflows_core.{name}": None for name in NAMES} | {
    "workflows_core.allow_access_to_file_system": True,
    "workflows_core.allowed_write_directory": None,
    "workflows_core.disable_sinks": False,
    "workflows_core.allow_access_to_environmental_variables": False,
}
DIGITS = 6
LEFT_OUT = {
    *("parent_id", "parent_coordinates", "parent_dimensions", "parent_origin", "root_parent_id"),
    *("root_parent_coordinates", "root_parent_dimensions", "root_parent_origin", "image_dimensions"),
    *("prediction_type", "inference_id", "class_name", "scaling_relative_to_parent", "polygon"),
    *(
        "scaling_relative_to_root_parent",
        "scaling_relative_to_parent_xy",
        "scaling_relative_to_root_parent_xy",
    ),
}
"""Columns that tell where a picture comes from."""


def picture(spec):
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
        x1, y1, x2, y2 = rect["xyxy"]
        image[y1:y2, x1:x2] = rect["color_bgr"]
    return image


def given(value):
    if isinstance(value, list):
        return [given(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if "$detections" in value:
        return response(value["$detections"])
    if "$image" in value:
        facts = value.get("video_metadata")
        if facts is not None:
            facts = VideoMetadata(
                **{**facts, "frame_timestamp": datetime.datetime.fromisoformat(facts["frame_timestamp"])}
            )
        return WorkflowImageData(
            parent_metadata=ImageParentMetadata(parent_id="image"),
            numpy_image=picture(value["$image"]),
            video_metadata=facts,
        )
    return {key: given(entry) for key, entry in value.items()}


def response(d):
    width, height = d["image_wh"]
    origin = {"offset_x": 0, "offset_y": 0, "width": width, "height": height}
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
            "parent_origin": origin,
            "root_parent_id": "image",
            "root_parent_origin": origin,
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


def told(value, ids):
    """A value as the cases write it; `ids`: detection ids that were given, others are made up."""
    if isinstance(value, sv.Detections):
        return {"$detections": boxes(value, ids)}
    if isinstance(value, WorkflowImageData):
        return {"$image": pixels(value)}
    if isinstance(value, (np.ndarray, np.generic)):
        return told(value.tolist(), ids)
    if isinstance(value, dict):
        return {str(key): told(entry, ids) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(entry, ids) for entry in value]
    if isinstance(value, enum.Enum):
        return told(value.value, ids)
    if isinstance(value, float):
        return round(value, DIGITS)
    if value is None or isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, (datetime.datetime, datetime.timedelta)):
        return str(value)
    return {"$other": type(value).__name__}


def boxes(detections, ids):
    out = {
        "xyxy": told(detections.xyxy, ids),
        "class_name": told(detections.data.get("class_name", np.array([])), ids),
        "class_id": told(detections.class_id, ids) or [],
        "confidence": told(detections.confidence, ids) or [],
        "tracker_id": told(detections.tracker_id, ids),
    }
    if len(detections):
        out["data"] = {
            name: [
                told(v, ids) if name != "detection_id" or str(v) in ids else {"$volatile": True}
                for v in column
            ]
            for name, column in detections.data.items()
            if name not in LEFT_OUT
        }
    if detections.mask is not None:
        out["mask_area_px"] = [int(np.asarray(mask).sum()) for mask in detections.mask]
    return out


def pixels(image):
    shown = np.ascontiguousarray(image.numpy_image)
    channels = 1 if shown.ndim == 2 else shown.shape[2]
    root, parent = image.workflow_root_ancestor_metadata, image.parent_metadata

    def offset(metadata):
        at = metadata.origin_coordinates
        return [int(at.left_top_x), int(at.left_top_y)] if at is not None else [0, 0]

    return {
        "width": shown.shape[1],
        "height": shown.shape[0],
        "channels": channels,
        "sha256": hashlib.sha256(shown.tobytes()).hexdigest(),
        "mean": [round(float(m), DIGITS) for m in shown.reshape(-1, channels).mean(axis=0)],
        "parent_offset_xy": offset(parent),
        "root_offset_xy": offset(root),
    }


def ids_of(value, found):
    if isinstance(value, dict):
        found.update(value.get("detection_id") or [] if isinstance(value.get("detection_id"), list) else [])
        for entry in value.values():
            ids_of(entry, found)
    elif isinstance(value, list):
        for entry in value:
            ids_of(entry, found)
    return found


def error(e):
    found = {"type": type(e).__name__, "message": str(e)[:300]}
    inner = getattr(e, "inner_error", None)
    return found | ({"inner_type": type(inner).__name__, "inner_message": str(inner)[:300]} if inner else {})


def answer(case):
    try:
        engine = ExecutionEngine.init(workflow_definition=case["workflow"], init_parameters=dict(PARAMETERS))
    except Exception as e:
        return {"expected_compile_error": error(e)}
    ids = ids_of([run["inputs"] for run in case["runs"]], set())
    runs = []
    for run in case["runs"]:
        try:
            outputs = engine.run(runtime_parameters={k: given(v) for k, v in run["inputs"].items()})
            runs.append({"expected": told(outputs, ids)})
        except Exception as e:
            runs.append({"expected_error": error(e)})
    return {"runs": runs}


def main():
    out, sys.stdout = sys.stdout, sys.stderr
    cases = json.load(sys.stdin)["cases"]
    json.dump([answer(case) for case in cases], out)


if __name__ == "__main__":
    main()
