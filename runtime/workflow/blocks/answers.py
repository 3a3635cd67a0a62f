"""Texts of language models read as predictions: what they say is data from outside, so every shape of it must be survived."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

from runtime.workflow.block import Block
from runtime.workflow.fields import (
    BOOLEAN,
    CLASSIFICATION,
    INFERENCE_ID,
    LIST,
    OBJECT_DETECTION,
    STRING,
    Choice,
    Either,
    Field,
    ListOf,
    Nothing,
    Text,
    gives,
    image,
    kinds,
    need,
)
from runtime.workflow.values import ROOT_ID, Detections, ImageValue, objects

_FENCED_JSON = re.compile(r"```json([\s\S]*?)```", re.IGNORECASE)
_FENCED = re.compile(r"```[a-zA-Z0-9_+-]*[ \t]*\r?\n?([\s\S]*?)```")
_FENCE_LINE = re.compile(r"^[ \t]*```[a-zA-Z0-9_+-]*[ \t]*$", re.MULTILINE)
MAX_ANSWER_CHARS = 1_000_000
MAX_ENTRIES = 4096
GRID = 1000
"""Some models give boxes on a grid of so many lines, whatever the picture's size."""


def json_in(text: Any) -> Any:
    """The first object or list in an answer: in a fence, the whole text, several after one another, or the outermost brackets;
    None where there is none."""
    if not isinstance(text, str) or len(text) > MAX_ANSWER_CHARS:
        return None
    for candidate in _candidates(text):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, (dict, list)):
            return found
    return _several(_FENCE_LINE.sub("", text))


def _candidates(text: str) -> Iterator[str]:
    for pattern in (_FENCED_JSON, _FENCED):
        if match := pattern.search(text):
            yield match[1]
    yield text
    plain = _FENCE_LINE.sub("", text)
    yield plain
    if _several(plain) is None:
        for first, last in ("[]", "{}"):
            yield plain[plain.find(first) : plain.rfind(last) + 1]


def _several(text: str) -> list[Any] | None:
    """Objects and lists one after another, with commas or blanks between them and perhaps a bracket too many behind."""
    decoder, entries, at, any_value = json.JSONDecoder(), [], 0, False
    while found := re.compile(r"[\s,]*(?=[{\[])").match(text, at):
        try:
            value, at = decoder.raw_decode(text, found.end())
        except (ValueError, RecursionError):
            return None
        entries += value if isinstance(value, list) else [value]
        any_value = True
    return entries if any_value and re.fullmatch(r"[\s,]*\]?[\s,]*", text[at:]) else None


def share(value: Any) -> float:
    """A confidence, brought into 0 to 1."""
    number = float(value)
    return min(max(number, 0.0), 1.0) if math.isfinite(number) else 0.0


class VlmAsClassifierV1(Block):
    """`{"class_name", "confidence"}`, or `{"predicted_classes": [{"class", "confidence"}]}`, becomes a classification."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/vlm_as_classifier@v1",)
    title = "VLM as classifier"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        Field("vlm_output", kinds("language_model_output")),
        need("classes", ListOf(Text(256)), LIST),
    )
    outputs = gives(
        error_status=kinds(BOOLEAN), predictions=kinds(CLASSIFICATION), inference_id=kinds(STRING)
    )

    def run(self, image: ImageValue, vlm_output: Any, classes: list[str]) -> tuple[Any, ...]:
        inference_id = str(self.around.ids.take(1)[0])
        try:
            said = classification(json_in(vlm_output), classes)
        except (AttributeError, KeyError, TypeError, ValueError):
            said = None
        if said is None:
            return True, None, inference_id
        width, height = image.wh
        about = {"image": {"width": width, "height": height}, **said}
        parent = image.origin.parent_id if image.origin is not None else ROOT_ID
        return False, {**about, "inference_id": inference_id, "parent_id": parent}, inference_id


def classification(payload: Any, classes: list[str]) -> dict[str, Any] | None:
    """The prediction that an answer holds: of one class, or of several; None where it is neither."""
    if isinstance(payload, list) and payload:
        named = [{"class": _label(e, None), "confidence": e.get("confidence", 1.0)} for e in payload]
        if any(entry["class"] is None for entry in named):
            return None
        payload = {"predicted_classes": named}
    numbers = {name: i for i, name in enumerate(classes)}
    if isinstance(payload, dict) and "class_name" in payload and "confidence" in payload:
        return _one_class(payload, numbers)
    if isinstance(payload, dict) and "predicted_classes" in payload:
        return _many_classes(payload["predicted_classes"], numbers)
    return None


def _one_class(payload: dict[str, Any], numbers: dict[str, int]) -> dict[str, Any]:
    top, confidence = payload["class_name"], share(payload["confidence"])
    unknown = {} if top in numbers else {top: -1}
    entries = [
        {"class": name, "class_id": number, "confidence": confidence if name == top else 0.0}
        for name, number in (unknown | numbers).items()
    ]
    return {"predictions": entries, "top": top, "confidence": confidence}


def _many_classes(entries: list[Any], numbers: dict[str, int]) -> dict[str, Any]:
    said: dict[str, float] = {}
    for entry in entries[:MAX_ENTRIES]:
        said[entry["class"]] = max(said.get(entry["class"], 0.0), share(entry["confidence"]))
    known = numbers | {name: -1 for name in said if name not in numbers}
    told = {n: {"confidence": said.get(n, 0.0), "class_id": number} for n, number in known.items()}
    return {"predictions": told, "predicted_classes": list(said)}


def _label(entry: dict[str, Any], otherwise: Any = "unknown") -> Any:
    for key in ("class_name", "label", "class"):
        if entry.get(key) is not None:
            return str(entry[key])
    return otherwise


class VlmAsClassifierV2(VlmAsClassifierV1):
    types = ("roboflow_core/vlm_as_classifier@v2",)
    outputs = gives(
        error_status=kinds(BOOLEAN), predictions=kinds(CLASSIFICATION), inference_id=kinds(INFERENCE_ID)
    )


Box = tuple[float, float, float, float]


def _gemini_box(entry: dict[str, Any]) -> Box:
    """x1 y1 x2 y2 as shares of the picture; `box_2d` names y first."""
    if "box_2d" in entry:
        y1, x1, y2, x2 = (float(v) / GRID for v in entry["box_2d"])
        return x1, y1, x2, y2
    return _shares(entry)


def _shares(entry: dict[str, Any]) -> Box:
    x1, y1, x2, y2 = (float(entry[name]) for name in ("x_min", "y_min", "x_max", "y_max"))
    return x1, y1, x2, y2


def _grid_box(entry: dict[str, Any]) -> Box:
    x1, y1, x2, y2 = (
        min(max(float(v) / GRID, 0.0), 1.0) for v in entry["box_2d" if "box_2d" in entry else "bbox_2d"]
    )
    return x1, y1, x2, y2


_READERS: dict[str, Callable[[dict[str, Any]], Box]] = {
    "google-gemini": _gemini_box,
    "anthropic-claude": _shares,
    "openai": _shares,
    "qwen": _grid_box,
    "zai": _grid_box,
    "zai-flash": _grid_box,
}
"""How each model names a box."""


class VlmAsDetectorV1(Block):
    """Boxes named in an answer become detections. What cannot be read sets `error_status`."""

    types: ClassVar[tuple[str, ...]] = ("roboflow_core/vlm_as_detector@v1",)
    title = "VLM as detector"
    fields: ClassVar[tuple[Field, ...]] = (
        image(),
        Field("vlm_output", kinds("language_model_output")),
        need("classes", Either((Nothing(), ListOf(Text(256)))), LIST),
        Field("model_type", literal=Choice(("google-gemini", "anthropic-claude"))),
        Field("task_type", literal=Choice(("object-detection",))),
    )
    outputs = gives(
        error_status=kinds(BOOLEAN), predictions=kinds(OBJECT_DETECTION), inference_id=kinds(STRING)
    )

    def run(
        self, image: ImageValue, vlm_output: Any, classes: list[str] | None, model_type: str, task_type: str
    ) -> tuple[Any, ...]:
        inference_id = str(self.around.ids.take(1)[0])
        try:
            entries = _entries(json_in(vlm_output))
            boxes = [_READERS[model_type](entry) for entry in entries]
            scores = [share(entry.get("confidence", 1.0)) for entry in entries]
            names = [_label(entry) for entry in entries]
        except (AttributeError, KeyError, TypeError, ValueError):
            return True, None, inference_id
        numbers = {name: i for i, name in enumerate(classes or ())}
        xyxy = np.array(boxes, np.float64).reshape(-1, 4) * np.array(image.wh * 2)
        found = Detections(
            xyxy.round(),
            np.array(scores, np.float64),
            np.array([numbers.get(name, -1) for name in names], np.int64),
            objects(names),
            self.around.ids.take(len(names)),
            image.wh,
            origin=image.origin,
        )
        return False, found, inference_id


def _entries(payload: Any) -> list[dict[str, Any]]:
    entries = payload["detections"] if isinstance(payload, dict) else payload
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise ValueError("no list of detections")
    return entries


class VlmAsDetectorV2(VlmAsDetectorV1):
    types = ("roboflow_core/vlm_as_detector@v2",)
    fields = (
        *VlmAsDetectorV1.fields[:3],
        Field("model_type", literal=Choice(tuple(_READERS))),
        VlmAsDetectorV1.fields[4],
    )
    outputs = gives(
        error_status=kinds(BOOLEAN), predictions=kinds(OBJECT_DETECTION), inference_id=kinds(INFERENCE_ID)
    )


BLOCKS = (VlmAsClassifierV1, VlmAsClassifierV2, VlmAsDetectorV1, VlmAsDetectorV2)
