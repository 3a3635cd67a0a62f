"""Two versions of a workflow compared: steps, inputs and outputs by name, fields by path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fleet.shapes import FieldChange, PartChange, PartsDiff, WorkflowDiff

ABSENT = object()


def diff(before: Mapping[str, Any], after: Mapping[str, Any], names: tuple[str, str]) -> WorkflowDiff:
    """What is different; `names` is what the two are called. The order of steps says nothing and is not compared."""
    one, two = _definition(before), _definition(after)
    inputs, steps, outputs = (_parts(one.get(k), two.get(k)) for k in ("inputs", "steps", "outputs"))
    same = not any(part[how] for part in (inputs, steps, outputs) for how in ("added", "removed", "changed"))
    return {
        "before": names[0],
        "after": names[1],
        "same": same,
        "inputs": inputs,
        "steps": steps,
        "outputs": outputs,
    }


def _definition(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The editor's exports have the definition itself below `specification`."""
    inner = document.get("specification")
    return inner if isinstance(inner, dict) else document


def _parts(before: Any, after: Any) -> PartsDiff:
    one, two = _named(before), _named(after)
    changed: list[PartChange] = []
    for name in sorted(one.keys() & two.keys()):
        fields = list(_fields("", one[name], two[name]))
        if fields:
            changed.append({"name": name, "fields": fields})
    return {
        "added": sorted(two.keys() - one.keys()),
        "removed": sorted(one.keys() - two.keys()),
        "changed": changed,
    }


def _named(parts: Any) -> dict[str, Any]:
    """By name; one without a name by its place, which is the best there is."""
    if not isinstance(parts, list):
        return {}
    return {
        str(part.get("name", f"#{place}") if isinstance(part, dict) else f"#{place}"): part
        for place, part in enumerate(parts)
    }


def _fields(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys(), key=str):
            inner = f"{path}.{key}" if path else str(key)
            yield from _fields(inner, before.get(key, ABSENT), after.get(key, ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (one, two) in enumerate(zip(before, after, strict=True)):
            yield from _fields(f"{path}.{place}" if path else str(place), one, two)
    elif type(before) is not type(after) or before != after:
        change: FieldChange = {"path": path}
        if before is not ABSENT:
            change["before"] = before
        if after is not ABSENT:
            change["after"] = after
        yield change
