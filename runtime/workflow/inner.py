"""Workflows inside workflows: the steps of an inner one take the place of the step that holds it, before compilation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from runtime.workflow.definition import (
    INPUT_SELECTOR,
    MAX_STEPS,
    OUTPUT_SELECTOR,
    STEP_SELECTOR,
    Definition,
    Output,
    is_selector,
    read_definition,
)
from runtime.workflow.fields import Report
from wire.problem import nearest, shown

TYPES = ("roboflow_core/inner_workflow@v1",)
MAX_DEPTH = 8

Rename = Mapping[str, Any]
"""Selector → what takes its place: a selector or a literal."""


def inline(definition: Definition, report: Report, depth: int = 0) -> Definition:
    """The definition without inner workflows. A step `n` of the inner workflow in step `iw` is called `iw--n`."""
    holders = {name: raw for name, raw in definition.steps.items() if raw.get("type") in TYPES}
    if not holders:
        return definition
    if depth >= MAX_DEPTH:
        report.add("steps", f"workflows are nested more than {MAX_DEPTH} deep", remedy="make it flat")
        return definition
    steps = {name: raw for name, raw in definition.steps.items() if name not in holders}
    outputs: dict[str, Any] = {}
    members: dict[str, list[str]] = {}
    for name, raw in holders.items():
        found, made = _open(name, raw, report, depth)
        members[name] = list(found)
        steps |= found
        outputs |= made
        if len(steps) > MAX_STEPS:
            report.add(f"steps.{name}", f"there are more than {MAX_STEPS} steps with the inner ones")
            break
    known = [o for o in definition.outputs if _known(o, members, outputs, report)]
    return Definition(
        definition.inputs,
        {name: _renamed(raw, outputs, members) for name, raw in steps.items()},
        [
            replace(o, selector=outputs[o.selector]) if is_selector(outputs.get(o.selector)) else o
            for o in known
        ],
    )


def _open(
    name: str, raw: Mapping[str, Any], report: Report, depth: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inner steps under their new names, and what the outputs of the holder stand for."""
    path = f"steps.{name}"
    document = raw.get("workflow_definition")
    if not isinstance(document, dict):
        report.add(
            f"{path}.workflow_definition",
            "is missing",
            "the definition itself",
            "workflows by id cannot be fetched",
        )
        return {}, {}
    own = Report()
    inner = inline(read_definition(document, own), own, depth + 1)
    for problem in own.problems:
        report.add(
            f"{path}.workflow_definition.{problem.path}", problem.message, problem.expected, problem.remedy
        )
    bindings = raw.get("parameter_bindings", {})
    if not isinstance(bindings, dict):
        report.wrong(
            f"{path}.parameter_bindings", bindings, "an object: input of the inner workflow → selector"
        )
        bindings = {}
    for bound in bindings:
        if bound not in inner.inputs:
            report.add(
                f"{path}.parameter_bindings.{bound}",
                f"the inner workflow has no input {shown(bound)}",
                "an input of it",
                nearest(str(bound), inner.inputs),
            )
    renames: dict[str, Any] = {
        f"$inputs.{i.name}": bindings.get(i.name, i.default) for i in inner.inputs.values()
    }
    names = {step: f"{name}--{step}" for step in inner.steps}
    steps = {names[s]: _moved({**r, "name": names[s]}, renames, names) for s, r in inner.steps.items()}
    outputs = {f"$steps.{name}.{o.name}": _moved(o.selector, renames, names) for o in inner.outputs}
    return steps, outputs


def _moved(value: Any, inputs: Rename, names: Mapping[str, str]) -> Any:
    """The value with selectors of the inner workflow turned into those of the outer one."""
    if isinstance(value, dict):
        return {key: _moved(entry, inputs, names) for key, entry in value.items()}
    if isinstance(value, list):
        return [_moved(entry, inputs, names) for entry in value]
    if not is_selector(value):
        return value
    if INPUT_SELECTOR.match(value):
        return inputs.get(value, value)
    match = OUTPUT_SELECTOR.match(value) or STEP_SELECTOR.match(value)
    if match and match[1] in names:
        return f"$steps.{names[match[1]]}{value[len('$steps.') + len(match[1]) :]}"
    return value


def _renamed(value: Any, outputs: Rename, members: Mapping[str, list[str]]) -> Any:
    """The value with outputs of inner workflows put in, and a holder as a target replaced by its steps."""
    if isinstance(value, dict):
        return {key: _renamed(entry, outputs, members) for key, entry in value.items()}
    if isinstance(value, list):
        out: list[Any] = []
        for entry in value:
            match = STEP_SELECTOR.match(entry) if isinstance(entry, str) else None
            if match and match[1] in members:
                out += [f"$steps.{member}" for member in members[match[1]]]
            else:
                out.append(_renamed(entry, outputs, members))
        return out
    return outputs.get(value, value) if is_selector(value) else value


def _known(output: Output, members: Mapping[str, list[str]], outputs: Rename, report: Report) -> bool:
    """Whether an output of the outer workflow names something that exists, as far as inner workflows go."""
    match = OUTPUT_SELECTOR.match(output.selector)
    if match is None or match[1] not in members or is_selector(outputs.get(output.selector)):
        return True
    made = [s.rsplit(".", 1)[1] for s in outputs if s.startswith(f"$steps.{match[1]}.")]
    report.add(
        output.path,
        f"{shown(match[1])} has no output {shown(match[2])}",
        f"one of {', '.join(made)}",
        nearest(match[2], made),
    )
    return False
