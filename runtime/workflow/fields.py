"""What a block's field accepts: literals (checked and compiled here, once) and selectors (kinds).

A literal type reads the JSON of a definition into what the block works with, and tells its JSON Schema.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.workflow.geometry import polygon_problem
from wire.problem import Problem, nearest, shown
from wire.reasons import Reason

Schema = dict[str, Any]

ANY = "*"
IMAGE = "image"
VIDEO_METADATA = "video_metadata"
OBJECT_DETECTION = "object_detection_prediction"
INSTANCE_SEGMENTATION = "instance_segmentation_prediction"
RLE_INSTANCE_SEGMENTATION = "rle_instance_segmentation_prediction"
KEYPOINTS = "keypoint_detection_prediction"
CLASSIFICATION = "classification_prediction"
BOOLEAN, INTEGER, FLOAT, ZERO_TO_ONE = "boolean", "integer", "float", "float_zero_to_one"
STRING, LIST, DICTIONARY, ZONE = "string", "list_of_values", "dictionary", "zone"
MODEL_ID, INFERENCE_ID, EMBEDDING = "roboflow_model_id", "inference_id", "embedding"
TIMESTAMP, RGB_COLOR, CONTOURS, NUMPY_ARRAY = "timestamp", "rgb_color", "contours", "numpy_array"

BOXES = frozenset({OBJECT_DETECTION, INSTANCE_SEGMENTATION, RLE_INSTANCE_SEGMENTATION, KEYPOINTS})
"""Predictions that have boxes."""

KINDS = frozenset(
    {
        *BOXES,
        *(ANY, IMAGE, VIDEO_METADATA, CLASSIFICATION, BOOLEAN, INTEGER, FLOAT, ZERO_TO_ONE, STRING, LIST),
        *(DICTIONARY, ZONE, MODEL_ID, INFERENCE_ID, EMBEDDING, TIMESTAMP, RGB_COLOR, CONTOURS, NUMPY_ARRAY),
        *("point", "labeled_points", "bytes", "secret", "top_class", "detection", "detections_overlaps"),
        *("semantic_segmentation_prediction", "qr_code_detection", "bar_code_detection", "image_keypoints"),
        *("image_metadata", "prediction_type", "parent_id", "language_model_output", "serialised_payloads"),
        *("action_recognition_prediction", "roboflow_project", "roboflow_solution", "roboflow_api_key"),
        "roboflow_managed_key",
    }
)
"""Every kind of the definition language."""

MAX_PROBLEMS = 200
"""A definition that is wrong in more places than this is not read further."""


MAX_HINTED = 40
"""Only so many problems come with the nearest name."""


@dataclass
class Report:
    """Collects problems; beyond `MAX_PROBLEMS` they are only counted."""

    problems: list[Problem] = field(default_factory=list)
    left_out: int = 0

    def add(
        self,
        path: str,
        message: str,
        expected: str = "",
        remedy: str = "",
        reason: Reason = Reason.WORKFLOW_INVALID,
    ) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(path, reason, message, expected, remedy))
        else:
            self.left_out += 1

    def hint(self, name: str, known: Iterable[str]) -> str:
        """The nearest known name; looked for as long as there are few problems, because it takes its time."""
        return nearest(name, known) if len(self.problems) < MAX_HINTED else ""

    def wrong(self, path: str, value: object, expected: str, remedy: str = "") -> None:
        """A value that cannot be used."""
        self.add(path, f"{shown(value)} cannot be used", expected, remedy)


class Literal(Protocol):
    """A type of literal."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        """The value as the block uses it; what is wrong goes to the report."""

    def schema(self) -> Schema: ...


@dataclass(frozen=True)
class Anything:
    """Any JSON value, taken as it is."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        return value

    def schema(self) -> Schema:
        return {}


@dataclass(frozen=True)
class Number:
    """A finite number within bounds; `integer` refuses fractions."""

    low: float = -math.inf
    high: float = math.inf
    integer: bool = False
    above: float | None = None

    def read(self, value: Any, path: str, report: Report) -> Any:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
        if good and self.integer and isinstance(value, float):
            good = value.is_integer()
        if not good or not self.low <= value <= self.high or (self.above is not None and value <= self.above):
            report.wrong(path, value, self._words())
            return 1
        return int(value) if self.integer else value

    def _words(self) -> str:
        words = "an integer" if self.integer else "a number"
        if self.above is not None:
            words += f" above {self.above:g}"
        if self.low > -math.inf:
            words += f" from {self.low:g}"
        return words + (f" up to {self.high:g}" if self.high < math.inf else "")

    def schema(self) -> Schema:
        out: Schema = {"type": "integer" if self.integer else "number"}
        if self.low > -math.inf:
            out["minimum"] = self.low
        if self.high < math.inf:
            out["maximum"] = self.high
        if self.above is not None:
            out["exclusiveMinimum"] = self.above
        return out


@dataclass(frozen=True)
class Text:
    max_chars: int = 65536

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, str) or len(value) > self.max_chars:
            report.wrong(path, value, f"a string of at most {self.max_chars} characters")
            return ""
        return value

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self.max_chars}


@dataclass(frozen=True)
class Flag:
    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, bool):
            report.wrong(path, value, "true or false")
            return False
        return value

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Choice:
    options: tuple[str, ...]

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, str) or value not in self.options:
            hint = nearest(value, self.options) if isinstance(value, str) else ""
            report.wrong(path, value, f"one of {', '.join(self.options)}", hint)
            return self.options[0]
        return value

    def schema(self) -> Schema:
        return {"enum": list(self.options)}


@dataclass(frozen=True)
class Polygon:
    """A zone: corners [x, y], at most `max_points`."""

    max_points: int = 4096

    def read(self, value: Any, path: str, report: Report) -> Any:
        if isinstance(value, list) and len(value) > self.max_points:
            report.add(path, f"has {len(value)} points", f"at most {self.max_points}", "simplify the polygon")
        elif problem := polygon_problem(value):
            report.wrong(path, value, problem)
        else:
            return value
        return [[0, 0], [1, 0], [0, 1]]

    def schema(self) -> Schema:
        point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": point, "minItems": 3, "maxItems": self.max_points}


@dataclass(frozen=True)
class Segment:
    """A line: two points [x, y]."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, list) or len(value) != 2 or polygon_problem([*value, [0, 0]]):
            report.wrong(path, value, "two points [[x, y], [x, y]]")
            return [[0, 0], [1, 1]]
        return value

    def schema(self) -> Schema:
        point = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
        return {"type": "array", "items": point, "minItems": 2, "maxItems": 2}


@dataclass(frozen=True)
class ListOf:
    item: Literal
    min_items: int = 0
    max_items: int = 4096
    """`item` is applied to every entry."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, list) or not self.min_items <= len(value) <= self.max_items:
            report.wrong(path, value, f"a list of {self.min_items} to {self.max_items} entries")
            return []
        return [self.item.read(entry, f"{path}[{i}]", report) for i, entry in enumerate(value)]

    def schema(self) -> Schema:
        return {
            "type": "array",
            "items": self.item.schema(),
            "minItems": self.min_items,
            "maxItems": self.max_items,
        }


@dataclass(frozen=True)
class DictOf:
    item: Literal
    max_items: int = 4096

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, dict) or len(value) > self.max_items:
            report.wrong(path, value, f"an object of at most {self.max_items} entries")
            return {}
        return {name: self.item.read(entry, f"{path}.{name}", report) for name, entry in value.items()}

    def schema(self) -> Schema:
        return {
            "type": "object",
            "additionalProperties": self.item.schema(),
            "maxProperties": self.max_items,
        }


@dataclass(frozen=True)
class Either:
    """The first of several types that takes the value."""

    options: tuple[Literal, ...]

    def read(self, value: Any, path: str, report: Report) -> Any:
        tried: list[str] = []
        for option in self.options:
            own = Report()
            read = option.read(value, path, own)
            if not own.problems:
                return read
            tried.append(own.problems[0].expected)
        report.wrong(path, value, " or ".join(tried))
        return None

    def schema(self) -> Schema:
        return {"anyOf": [option.schema() for option in self.options]}


@dataclass(frozen=True)
class Nothing:
    """Null."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        if value is not None:
            report.wrong(path, value, "null")

    def schema(self) -> Schema:
        return {"type": "null"}


@dataclass(frozen=True)
class Field:
    """A field of a block.

    `kinds`: what a selector may deliver; empty means that no selector is taken. `literal`: what may be written into the
    definition; None means a selector only. `shape`: `value`, or `list` / `dict` of values, each a selector or a literal;
    `steps` (a list of steps, one branch), `step_cases` (an object of steps, one branch a key) for flow control. `offset`: 1
    where the field takes a whole group of one dimension more.
    """

    name: str
    kinds: frozenset[str] = frozenset()
    literal: Literal | None = None
    required: bool = True
    default: Any = None
    shape: str = "value"
    offset: int = 0

    def schema(self) -> Schema:
        """JSON Schema of the field."""
        if self.shape in ("steps", "step_cases"):
            step = {"type": "string", "pattern": r"^\$steps\.[A-Za-z_\-0-9]+$"}
            return {"type": "array", "items": step} if self.shape == "steps" else _object(step)
        options: list[Schema] = []
        if self.kinds:
            options.append(
                {"type": "string", "pattern": r"^\$(inputs|steps)\.", "x-kinds": sorted(self.kinds)}
            )
        if self.literal is not None:
            options.append(self.literal.schema())
        if not self.required and self.default is None:
            options.append({"type": "null"})
        one = options[0] if len(options) == 1 else {"anyOf": options}
        if self.shape == "list":
            one = {"type": "array", "items": one}
        elif self.shape == "dict":
            one = _object(one)
        return one if self.required or self.default is None else {**one, "default": self.default}


def _object(entry: Schema) -> Schema:
    return {"type": "object", "additionalProperties": entry}


def kinds(*names: str) -> frozenset[str]:
    return frozenset(names)


def image(name: str = "image", *, required: bool = True) -> Field:
    return Field(name, kinds(IMAGE), required=required)


def boxes(name: str = "predictions", *, offset: int = 0) -> Field:
    """Detections, by selector only."""
    return Field(name, BOXES, offset=offset)


def option(name: str, literal: Literal, default: Any, *kind_names: str) -> Field:
    """A field with a default; a selector of the kinds may stand in its place."""
    return Field(name, frozenset(kind_names), literal, required=False, default=default)


def need(name: str, literal: Literal, *kind_names: str) -> Field:
    """A field that must be given, as a literal or by a selector of the kinds."""
    return Field(name, frozenset(kind_names), literal)


def gives(**outputs: frozenset[str]) -> Mapping[str, frozenset[str]]:
    """The outputs of a block: name → kinds, in the order in which it returns them."""
    return outputs


def dictionary(name: str, *, required: bool = True) -> Field:
    """Named values, each a selector or a literal."""
    return Field(
        name, kinds(ANY), Anything(), required=required, default=None if required else {}, shape="dict"
    )
