"""The operations that need no other part of the language: text, numbers, sequences, detections, pictures.

Each is a factory of checked parameters → a function of one value. What cannot be done raises `StepFailed` or the
exception of Python itself; the executor reports either under the step's name.
"""

from __future__ import annotations

import base64
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runtime.workflow.block import StepFailed
from runtime.workflow.fields import (
    Anything,
    Choice,
    DictOf,
    Either,
    Flag,
    Literal,
    Number,
    Report,
    Text,
)
from runtime.workflow.query import boxes
from runtime.workflow.query.properties import NAMES, property_problem
from runtime.workflow.query.regex import regex_problem
from runtime.workflow.serialise import detections_json
from runtime.workflow.values import ImageValue

Function = Callable[[Any], Any]

MAX_SUBJECT_CHARS = 4096
"""A regular expression looks at no more of a text than this."""

MAX_REPEATED = 1_000_000
"""A text or list that is multiplied grows to no more."""

_REQUIRED = object()


@dataclass(frozen=True)
class Operation:
    """`parameters`: name → (type, default). `make`: parameters → the function of a value, and of the step's parameters by name where
    it `takes_parameters`."""

    parameters: Mapping[str, tuple[Literal, Any]]
    make: Callable[[Mapping[str, Any]], Callable[..., Any]]
    takes_parameters: bool = False

    @property
    def required(self) -> frozenset[str]:
        """The parameters that must be given."""
        return frozenset(name for name, (_, default) in self.parameters.items() if default is _REQUIRED)

    def compile(self, spec: Mapping[str, Any], path: str, report: Report) -> Callable[..., Any]:
        before = len(report.problems) + report.left_out
        values: dict[str, Any] = {}
        for name, (literal, default) in self.parameters.items():
            if name in spec:
                values[name] = literal.read(spec[name], f"{path}.{name}", report)
            elif default is _REQUIRED:
                report.add(f"{path}.{name}", "is missing", remedy="add the field")
            else:
                values[name] = default
        if len(report.problems) + report.left_out > before:
            return _identity
        return self.make(values)


def _identity(value: Any, env: Any = None) -> Any:
    return value


def _plain(function: Function) -> Operation:
    return Operation({}, lambda _: function)


@dataclass(frozen=True)
class _Regex:
    def read(self, value: Any, path: str, report: Report) -> Any:
        text = Text(1024).read(value, path, report)
        if problem := regex_problem(text):
            report.add(path, f"regular expression {problem}", "one without nested repetition", "simplify it")
            return re.compile("")
        return re.compile(text)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "regex", "maxLength": 1024}


@dataclass(frozen=True)
class PropertyName:
    """The name of a property of detections."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        expected, hint = property_problem(value)
        if expected:
            report.wrong(path, value, expected, hint)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": sorted(NAMES)}


# --- text and numbers -------------------------------------------------------------------------------------------------


def _text(value: Any, operation: str) -> str:
    if not isinstance(value, str):
        raise StepFailed(f"{operation} takes a string, got {type(value).__name__}")
    return value


def _matches(p: Mapping[str, Any]) -> Function:
    pattern: re.Pattern[str] = p["regex"]
    return lambda v: pattern.match(_text(v, "StringMatches")[:MAX_SUBJECT_CHARS]) is not None


def _substring(p: Mapping[str, Any]) -> Function:
    part = slice(p["start"], p["end"])
    return lambda v: _text(v, "StringSubSequence")[part]


def _to_number(p: Mapping[str, Any]) -> Function:
    if p["cast_to"] == "float":
        return lambda v: float(v)
    return lambda v: int(float(v)) if isinstance(v, str) else int(v)


def _round(p: Mapping[str, Any]) -> Function:
    digits = p["decimal_digits"]
    return lambda v: round(v, digits)


def _multiply(p: Mapping[str, Any]) -> Function:
    other = p["other"]

    def multiply(value: Any) -> Any:
        if isinstance(value, (str, list)) and len(value) * other > MAX_REPEATED:
            raise StepFailed(f"Multiply would give more than {MAX_REPEATED} entries")
        return value * other

    return multiply


def _divide(p: Mapping[str, Any]) -> Function:
    other = p["other"]
    return lambda v: v / other


def _random(p: Mapping[str, Any]) -> Function:
    low, high = p["min_value"], p["max_value"]
    return lambda _: random.uniform(low, high)


# --- sequences --------------------------------------------------------------------------------------------------------


def _lookup(p: Mapping[str, Any]) -> Function:
    table = p["lookup_table"]
    return lambda v: table[v]


def _sequence_map(p: Mapping[str, Any]) -> Function:
    table = p["lookup_table"]
    return lambda v: [table[entry] for entry in v]


def _numeric_aggregate(p: Mapping[str, Any]) -> Function:
    functions: dict[str, Function] = {"min": min, "max": max, "sum": sum}
    function = functions[p["function"]]
    neutral = p["neutral_value"]
    return lambda v: function(v) if len(v) else neutral


def _aggregate(p: Mapping[str, Any]) -> Function:
    mode = p["mode"]

    def aggregate(value: Any) -> Any:
        if not len(value):
            raise StepFailed("SequenceAggregate takes a sequence that is not empty")
        if mode in ("first", "last"):
            return value[0 if mode == "first" else -1]
        return Counter(value).most_common()[0 if mode == "most_common" else -1][0]

    return aggregate


def _elements_count(value: Any) -> dict[Any, int]:
    try:
        return dict(Counter(value))
    except TypeError:  # entries that cannot be keys are counted by their text
        return dict(Counter(str(entry) for entry in value))


def _join(p: Mapping[str, Any]) -> Function:
    separator = p["separator"]
    return lambda v: separator.join(str(entry) for entry in v)


# --- classifications, pictures, time ----------------------------------------------------------------------------------


def _classification(p: Mapping[str, Any]) -> Function:
    name = p["property_name"]

    def read(value: Any) -> Any:
        if not isinstance(value, dict) or "predictions" not in value:
            raise StepFailed(
                f"ClassificationPropertyExtract takes a classification, got {type(value).__name__}"
            )
        predictions = value["predictions"]
        if isinstance(predictions, dict):
            top = value.get("predicted_classes", [])
            by_id = sorted(predictions.items(), key=lambda item: item[1].get("class_id", 0))
            scores = {c: entry["confidence"] for c, entry in by_id}
        else:
            top = value.get("top", "")
            scores = {entry["class"]: entry["confidence"] for entry in predictions}
        if name == "all_classes":
            return list(scores)
        if name == "all_confidences":
            return list(scores.values())
        if name == "top_class":
            return top
        if name == "top_class_confidence" and isinstance(top, list):
            return [scores[c] for c in top]
        best = max(top, key=lambda c: scores[c], default="") if isinstance(top, list) else top
        return scores.get(best, 0.0)

    return read


def _image(value: Any, operation: str) -> ImageValue:
    if not isinstance(value, ImageValue):
        raise StepFailed(f"{operation} takes an image, got {type(value).__name__}")
    return value


_IMAGE_PROPERTIES: dict[str, Callable[[ImageValue], Any]] = {
    "size": lambda i: i.width_px * i.height_px,
    "height": lambda i: i.height_px,
    "width": lambda i: i.width_px,
    "aspect_ratio": lambda i: i.width_px / i.height_px if i.height_px else 0,
}


def _image_property(p: Mapping[str, Any]) -> Function:
    read = _IMAGE_PROPERTIES[p["property_name"]]
    return lambda v: read(_image(v, "ExtractImageProperty"))


def _frame_metadata(p: Mapping[str, Any]) -> Function:
    name = p["property_name"]

    def read(value: Any) -> Any:
        metadata = _image(value, "ExtractFrameMetadata").metadata
        if name == "frame_number":
            return metadata.frame_number
        if name == "frame_timestamp":
            return metadata.timestamp
        return max(0, metadata.frame_number - 1) / metadata.fps if metadata.fps else 0.0

    return read


def _iso(value: Any) -> str:
    if not isinstance(value, datetime):
        raise StepFailed(f"TimestampToISOFormat takes a timestamp, got {type(value).__name__}")
    return value.isoformat()


def _jpeg(value: Any, quality: int = 95) -> bytes:
    import cv2

    picture = _image(value, "ConvertImageToJPEG").image
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise StepFailed("the picture cannot be written as JPEG")
    return bytes(encoded)


def _dictionary_json(value: Any) -> str:
    if not isinstance(value, dict):
        raise StepFailed(f"ConvertDictionaryToJSON takes a dictionary, got {type(value).__name__}")
    return json.dumps(value)


_NUMBER = Number()
_INTEGER = Number(integer=True)
_TABLE = (DictOf(Anything()), _REQUIRED)
_PROPERTY = (PropertyName(), _REQUIRED)

OPERATIONS: dict[str, Operation] = {
    "StringToLowerCase": _plain(lambda v: _text(v, "StringToLowerCase").lower()),
    "StringToUpperCase": _plain(lambda v: _text(v, "StringToUpperCase").upper()),
    "StringMatches": Operation({"regex": (_Regex(), _REQUIRED)}, _matches),
    "StringSubSequence": Operation({"start": (_INTEGER, 0), "end": (_INTEGER, -1)}, _substring),
    "LookupTable": Operation({"lookup_table": _TABLE}, _lookup),
    "SequenceMap": Operation({"lookup_table": _TABLE}, _sequence_map),
    "ToNumber": Operation({"cast_to": (Choice(("int", "float")), _REQUIRED)}, _to_number),
    "NumberRound": Operation({"decimal_digits": (Number(-15, 15, integer=True), _REQUIRED)}, _round),
    "Multiply": Operation({"other": (_NUMBER, _REQUIRED)}, _multiply),
    "Divide": Operation({"other": (_NUMBER, _REQUIRED)}, _divide),
    "ToBoolean": _plain(bool),
    "ToString": _plain(str),
    "RandomNumber": Operation({"min_value": (_NUMBER, 0), "max_value": (_NUMBER, 1)}, _random),
    "SequenceLength": _plain(len),
    "SequenceElementsCount": _plain(_elements_count),
    "SequenceJoin": Operation({"separator": (Text(64), ", ")}, _join),
    "NumericSequenceAggregate": Operation(
        {
            "function": (Choice(("min", "max", "sum")), _REQUIRED),
            "neutral_value": (Anything(), None),
        },
        _numeric_aggregate,
    ),
    "SequenceAggregate": Operation(
        {"mode": (Choice(("first", "last", "most_common", "least_common")), _REQUIRED)}, _aggregate
    ),
    "DetectionsPropertyExtract": Operation({"property_name": _PROPERTY}, boxes.extract_all),
    "ExtractDetectionProperty": Operation({"property_name": _PROPERTY}, boxes.extract_one),
    "DetectionsSelection": Operation(
        {"mode": (Choice(("left_most", "right_most", "top_confidence", "first", "last")), _REQUIRED)},
        boxes.selection,
    ),
    "SortDetections": Operation(
        {"mode": (Choice(tuple(boxes.SORTS)), _REQUIRED), "ascending": (Flag(), True)}, boxes.sort
    ),
    "DetectionsOffset": Operation(
        {"offset_x": (_INTEGER, _REQUIRED), "offset_y": (_INTEGER, _REQUIRED)}, boxes.offset
    ),
    "DetectionsShift": Operation(
        {"shift_x": (_INTEGER, _REQUIRED), "shift_y": (_INTEGER, _REQUIRED)}, boxes.shift
    ),
    "DetectionsRename": Operation(
        {
            "class_map": (Either((DictOf(Text(256)), Text(256))), _REQUIRED),
            "strict": (Either((Flag(), Text(256))), True),
            "new_classes_id_offset": (_INTEGER, 1024),
        },
        boxes.rename,
        takes_parameters=True,
    ),
    "PickDetectionsByParentClass": Operation({"parent_class": (Text(256), _REQUIRED)}, boxes.by_parent_class),
    "DetectionsToDictionary": _plain(
        lambda v: detections_json(boxes.detections_of(v, "DetectionsToDictionary"))
    ),
    "ClassificationPropertyExtract": Operation(
        {
            "property_name": (
                Choice(
                    (
                        "top_class",
                        "top_class_confidence",
                        "top_class_confidence_single",
                        "all_classes",
                        "all_confidences",
                    )
                ),
                _REQUIRED,
            )
        },
        _classification,
    ),
    "ExtractImageProperty": Operation(
        {"property_name": (Choice(tuple(_IMAGE_PROPERTIES)), _REQUIRED)}, _image_property
    ),
    "ExtractFrameMetadata": Operation(
        {"property_name": (Choice(("frame_number", "frame_timestamp", "seconds_since_start")), _REQUIRED)},
        _frame_metadata,
    ),
    "TimestampToISOFormat": _plain(_iso),
    "ConvertImageToJPEG": Operation(
        {"compression_level": (Number(1, 100, integer=True), 95)},
        lambda p: lambda v: _jpeg(v, p["compression_level"]),
    ),
    "ConvertImageToBase64": _plain(lambda v: base64.b64encode(_jpeg(v)).decode()),
    "ConvertDictionaryToJSON": _plain(_dictionary_json),
}
