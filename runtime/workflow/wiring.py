"""Fields of one step: literals are read and compiled, selectors found. Knows a block's fields, nothing of other steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.workflow.block import Block
from runtime.workflow.definition import STEP_SELECTOR, is_selector
from runtime.workflow.fields import Field, Report
from wire.problem import shown


@dataclass(frozen=True)
class Reference:
    """A selector in a field, or in one entry of it."""

    field: Field
    selector: str
    path: str
    key: int | str | None = None


@dataclass
class Wired:
    """A step with its literals read. `targets`: (branch, step name, path) of flow control."""

    name: str
    block: type[Block]
    raw: Mapping[str, Any]
    constants: dict[str, Any] = field(default_factory=dict)
    references: list[Reference] = field(default_factory=list)
    targets: list[tuple[str, str, str]] = field(default_factory=list)


def wire_step(name: str, raw: Mapping[str, Any], block: type[Block], report: Report) -> Wired:
    """Read every field of a step; what is wrong goes to the report."""
    wired = Wired(name, block, raw)
    path = f"steps.{name}"
    before = len(report.problems) + report.left_out
    for f in block.fields:
        at = f"{path}.{f.name}"
        if f.name not in raw or (raw[f.name] is None and not f.required and f.default is None):
            if f.required:
                report.add(at, "is missing", remedy="add the field")
            elif f.shape in ("value", "list", "dict"):
                wired.constants[f.name] = _default(f, at)
        elif f.shape in ("steps", "step_cases"):
            _targets(f, raw[f.name], at, wired, report)
        elif f.shape in ("list", "dict"):
            _entries(f, raw[f.name], at, wired, report)
        else:
            _one(f, raw[f.name], at, wired, report)
    if len(report.problems) + report.left_out == before:
        block.check(raw, path, report)
    return wired


def _default(f: Field, path: str) -> Any:
    """The default as the block sees it: compiled, where the type compiles."""
    if f.default is None or f.literal is None or f.shape != "value":
        return copy.deepcopy(f.default)
    return f.literal.read(copy.deepcopy(f.default), path, Report())


def _one(f: Field, value: Any, path: str, wired: Wired, report: Report, key: int | str | None = None) -> Any:
    if is_selector(value):
        if not f.kinds:
            report.wrong(path, value, "a value written out: no selector can stand here")
        wired.references.append(Reference(f, value, path, key))
        return None
    if f.literal is None:
        report.wrong(path, value, f"a selector of {', '.join(sorted(f.kinds))}")
        return None
    read = f.literal.read(value, path, report)
    if key is None:
        wired.constants[f.name] = read
    return read


def _entries(f: Field, value: Any, path: str, wired: Wired, report: Report) -> None:
    entries: list[Any] | dict[str, Any]
    if f.shape == "list" and isinstance(value, list):
        entries = [_one(f, v, f"{path}[{i}]", wired, report, i) for i, v in enumerate(value)]
        if f.required and not value:
            report.wrong(path, value, "at least one entry")
    elif f.shape == "dict" and isinstance(value, dict):
        entries = {k: _one(f, v, f"{path}.{k}", wired, report, k) for k, v in value.items()}
    else:
        report.wrong(path, value, "a list" if f.shape == "list" else "an object")
        return
    wired.constants[f.name] = entries


def _targets(f: Field, value: Any, path: str, wired: Wired, report: Report) -> None:
    pairs: list[tuple[str, str, Any]]
    if f.shape == "steps" and isinstance(value, list):
        pairs = [(f.name, f"{path}[{i}]", v) for i, v in enumerate(value)]
    elif f.shape == "step_cases" and isinstance(value, dict):
        pairs = [(f"{f.name}.{k}", f"{path}.{k}", v) for k, v in value.items()]
        wired.constants[f.name] = frozenset(value)
    else:
        report.wrong(path, value, "a list of steps" if f.shape == "steps" else "an object of steps")
        return
    for branch, at, selector in pairs:
        match = STEP_SELECTOR.match(selector) if isinstance(selector, str) else None
        if match is None:
            report.wrong(at, selector, "$steps.<step>")
        elif any(match[1] == target for _, target, _ in wired.targets):
            report.add(at, f"{shown(selector)} is named twice by this step", "each step once", "remove one")
        else:
            wired.targets.append((branch, match[1], at))
