"""Zones and lines of a workflow: which of its values are points in the camera's picture, and those values replaced. Pure.

A field that reads a parameter is drawn as that parameter, once for all its steps.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.console.definition import inner

LINE, POLYGON, PATH = "line", "polygon", "path"
FIELDS: Mapping[tuple[str, str], str] = {
    ("line_counter", "line_segment"): LINE,
    ("line_counter_visualization", "zone"): LINE,
    ("time_in_zone", "zone"): POLYGON,
    ("polygon_zone_visualization", "zone"): POLYGON,
    ("motion_detection", "detection_zone"): POLYGON,
    ("perspective_correction", "perspective_polygons"): POLYGON,
    ("path_deviation_analytics", "reference_path"): PATH,
    ("reference_path_visualization", "reference_path"): PATH,
}
"""(block without its version, field) → what is drawn there."""
LISTS = frozenset({("perspective_correction", "perspective_polygons")})
"""Fields that want a list of polygons, of which the first is drawn."""
_TYPE = re.compile(r"(?:[a-z_]+/)?([a-z_]+)@v\d+\Z")
_INPUT = re.compile(r"\$inputs\.([A-Za-z0-9_\-]+)\Z")
Points = list[list[float]]


@dataclass(frozen=True)
class Place:
    """Where points stand: `key` is `inputs.NAME` or `steps.NAME.FIELD`; `steps` use them. `nested`: they are kept as a list of polygons.

    `points` in pixels of the full frame; empty where nothing was drawn yet.
    """

    key: str
    kind: str
    title: str
    steps: tuple[str, ...]
    points: tuple[tuple[float, float], ...] = ()
    nested: bool = False

    @property
    def least(self) -> int:
        """Of points."""
        return 3 if self.kind == POLYGON else 2

    @property
    def most(self) -> int:
        return (
            2
            if self.kind == LINE
            else 4
            if self.nested and self.key.endswith("perspective_polygons")
            else 200
        )


def places(document: Any) -> list[Place]:
    """All there are, in the order of the steps; mistakes elsewhere do not matter."""
    definition = inner(document)
    inputs = {e["name"]: e for e in _dicts(definition.get("inputs")) if isinstance(e.get("name"), str)}
    found: dict[str, Place] = {}
    for step in _dicts(definition.get("steps")):
        for field, kind, nested in _fields(step):
            name, value = str(step.get("name", "")), step[field]
            title, key = f"{name}: {field}", f"steps.{name}.{field}"
            if isinstance(value, str):
                match = _INPUT.match(value)
                if match is None or match[1] not in inputs:
                    continue
                key, title = f"inputs.{match[1]}", match[1]
                value = inputs[match[1]].get("default_value")
            before = found.get(key)
            steps = (*before.steps, name) if before else (name,)
            # A line that is also drawn as a zone stays a line: that is what counts.
            kind = LINE if before and before.kind == LINE else kind
            inner_list = nested or _is_nested(value)
            found[key] = Place(key, kind, title, steps, _points(value), inner_list)
    return list(found.values())


def put(document: Any, place: Place, points: Points) -> Any:
    """The document with these points there, as whole pixels."""
    changed = copy.deepcopy(document)
    value: Any = [[round(x), round(y)] for x, y in points]
    if place.nested:
        before = _value(inner(changed), place.key)
        value = [value, *(before[1:] if isinstance(before, list) else [])]
    section, name, *rest = place.key.split(".")
    for entry in _dicts(inner(changed).get(section)):
        if entry.get("name") == name:
            entry[rest[0] if rest else "default_value"] = value
    return changed


def parameter(place: Place, points: Points) -> dict[str, Any]:
    """The same as a parameter of one pipeline; nothing where it is a step's own field."""
    section, _, name = place.key.partition(".")
    value: Any = [[round(x), round(y)] for x, y in points]
    return {name: [value] if place.nested else value} if section == "inputs" else {}


def _fields(step: Mapping[str, Any]) -> Iterator[tuple[str, str, bool]]:
    match = _TYPE.match(str(step.get("type", "")))
    for (block, field), kind in FIELDS.items():
        if match is not None and match[1] == block and field in step:
            yield field, kind, (block, field) in LISTS


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _value(definition: Mapping[str, Any], key: str) -> Any:
    section, name, *rest = key.split(".")
    for entry in _dicts(definition.get(section)):
        if entry.get("name") == name:
            return entry.get(rest[0] if rest else "default_value")
    return None


def _is_nested(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and bool(_pairs(value[0]))


def _points(value: Any) -> tuple[tuple[float, float], ...]:
    return _pairs(value[0]) if _is_nested(value) else _pairs(value)


def _pairs(value: Any) -> tuple[tuple[float, float], ...]:
    """A list of points; nothing where it is none."""
    if not isinstance(value, list) or not all(isinstance(p, list) and len(p) >= 2 for p in value):
        return ()
    flat = [number for pair in value for number in pair[:2]]
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n) for n in flat):
        return ()
    return tuple((float(pair[0]), float(pair[1])) for pair in value)
