"""A definition as it arrives: bounded, its inputs and outputs read, its steps told apart by name. No block is known here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.workflow.fields import ANY, IMAGE, VIDEO_METADATA, Report
from wire.problem import nearest, shown

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_TEXT_CHARS = 1_000_000
MAX_NUMBER_BITS = 1024
"""No double holds a greater one."""
MAX_STEPS = 1000
MAX_INPUTS = 256
MAX_OUTPUTS = 1000
MAX_DIMENSIONALITY = 16

ENGINE_VERSION = (1, 17, 0)
"""The version of the definition language that is spoken here."""

STEP_NAME = re.compile(r"[A-Za-z0-9_\-]{1,256}\Z")
INPUT_SELECTOR = re.compile(r"\$inputs\.([A-Za-z_0-9\-]{1,256})\Z")
STEP_SELECTOR = re.compile(r"\$steps\.([A-Za-z_\-0-9]{1,256})\Z")
OUTPUT_SELECTOR = re.compile(r"\$steps\.([A-Za-z_\-0-9]{1,256})\.([A-Za-z_*0-9\-]{1,256})\Z")

INPUT_TYPES = {
    "WorkflowImage": "image",
    "InferenceImage": "image",
    "WorkflowVideoMetadata": "metadata",
    "WorkflowBatchInput": "batch",
    "WorkflowParameter": "parameter",
    "InferenceParameter": "parameter",
}


@dataclass(frozen=True)
class Input:
    """An input. `dimensionality` is 0 for parameters."""

    name: str
    kinds: frozenset[str]
    dimensionality: int
    default: Any = None


@dataclass(frozen=True)
class Output:
    name: str
    selector: str
    own_coordinates: bool
    path: str


@dataclass(frozen=True)
class Definition:
    """`readable`: the document is one, within bounds."""

    inputs: dict[str, Input]
    steps: dict[str, Mapping[str, Any]]
    outputs: list[Output]
    readable: bool = True


def is_selector(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("$inputs.", "$steps."))


def texts_of(value: Any) -> Iterator[str]:
    """Every string in a JSON value; the depth of a definition is bounded."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from texts_of(entry)


def read_definition(document: Any, report: Report) -> Definition:
    """Inputs, steps and outputs by name; all that is wrong goes to the report."""
    if not isinstance(document, dict):
        report.wrong("", document, "a workflow definition: an object with version, inputs, steps and outputs")
        return Definition({}, {}, [], readable=False)
    if not _bounded(document, report):
        return Definition({}, {}, [], readable=False)
    _version(document.get("version"), report)
    inputs = _inputs(_list(document, "inputs", MAX_INPUTS, report), report)
    steps = _steps(_list(document, "steps", MAX_STEPS, report), report)
    return Definition(inputs, steps, _outputs(_list(document, "outputs", MAX_OUTPUTS, report), report))


def _bounded(document: Any, report: Report) -> bool:
    nodes, chars, level, depth = 0, 0, [document], 0
    while level:
        depth += 1
        following: list[Any] = []
        for value in level:
            if isinstance(value, str):
                chars += len(value)
            elif isinstance(value, dict):
                chars += sum(len(str(key)) for key in value)
                following.extend(value.values())
            elif isinstance(value, list):
                following.extend(value)
            elif isinstance(value, int) and value.bit_length() > MAX_NUMBER_BITS:
                report.add(
                    "", "the definition has a number of more than 300 digits", remedy="make it smaller"
                )
                return False
        nodes += len(level)
        if nodes > MAX_NODES or chars > MAX_TEXT_CHARS or depth > MAX_DEPTH:
            what = f"more than {MAX_NODES} values, {MAX_TEXT_CHARS} characters or {MAX_DEPTH} levels"
            report.add("", f"the definition has {what}", remedy="split it or make it smaller")
            return False
        level = following
    return True


def _version(version: Any, report: Report) -> None:
    own = ".".join(map(str, ENGINE_VERSION))
    match = (
        re.fullmatch(
            r"\s*v?(\d{1,4})(?:\.(\d{1,6}))?(?:\.(\d{1,6}))?(?:\.\d{1,6})*(?:a|b|rc)?\d{0,6}\s*", version
        )
        if isinstance(version, str)
        else None
    )
    if match is None:
        report.wrong("version", version, "a version such as '1.0'")
        return
    wanted = tuple(int(part or 0) for part in match.groups())
    if wanted[0] != ENGINE_VERSION[0] or wanted > ENGINE_VERSION:
        report.add("version", f"version {version} is not spoken here", f"at most {own}, from 1.0")


def _list(document: Mapping[str, Any], name: str, limit: int, report: Report) -> list[Any]:
    value = document.get(name)
    if not isinstance(value, list):
        report.wrong(name, value, "a list")
        return []
    if len(value) > limit:
        report.add(name, f"has {len(value)} entries", f"at most {limit}")
        return []
    return value


def _name(entry: Any, at: str, taken: Mapping[str, Any], report: Report, *, of: str) -> str | None:
    """The entry's name, when it can be used."""
    if not isinstance(entry, dict):
        report.wrong(at, entry, f"an object that describes a {of}")
        return None
    name = entry.get("name")
    if not isinstance(name, str) or not name or len(name) > 256:
        report.wrong(f"{at}.name", name, "a name of 1 to 256 characters")
        return None
    if of == "step" and not STEP_NAME.match(name):
        report.wrong(f"{at}.name", name, "letters, digits, '_' and '-'")
        return None
    if name in taken:
        report.add(f"{at}.name", f"{shown(name)} is the name of two {of}s", "names that differ", "rename one")
        return None
    return name


def _inputs(entries: list[Any], report: Report) -> dict[str, Input]:
    inputs: dict[str, Input] = {}
    for i, entry in enumerate(entries):
        name = _name(entry, f"inputs[{i}]", inputs, report, of="input")
        if name is None:
            continue
        kind = entry.get("type")
        family = INPUT_TYPES.get(kind) if isinstance(kind, str) else None
        if family is None:
            hint = nearest(kind, INPUT_TYPES) if isinstance(kind, str) else ""
            report.wrong(f"inputs.{name}.type", kind, f"one of {', '.join(INPUT_TYPES)}", hint)
            family = "parameter"
        inputs[name] = _input(name, family, entry, report)
    return inputs


def _input(name: str, family: str, entry: Mapping[str, Any], report: Report) -> Input:
    if family == "image":
        return Input(name, frozenset({IMAGE}), 1)
    if family == "metadata":
        return Input(name, frozenset({VIDEO_METADATA}), 1)
    kinds = entry.get("kind", [ANY])
    names: list[Any] = (
        [k.get("name") if isinstance(k, dict) else k for k in kinds] if isinstance(kinds, list) else []
    )
    if not isinstance(kinds, list) or not all(isinstance(k, str) for k in names):
        report.wrong(f"inputs.{name}.kind", kinds, "a list of kinds")
        names = []
    names = names or [ANY]
    if family == "parameter":
        return Input(name, frozenset(names), 0, entry.get("default_value"))
    dimensionality = _whole(entry.get("dimensionality", 1))
    if dimensionality is None or not 1 <= dimensionality <= MAX_DIMENSIONALITY:
        report.wrong(
            f"inputs.{name}.dimensionality", entry.get("dimensionality"), f"1 to {MAX_DIMENSIONALITY}"
        )
        dimensionality = 1
    return Input(name, frozenset(names), dimensionality)


def _whole(value: Any) -> int | None:
    """A whole number, also where an editor wrote it as text."""
    try:
        return int(value) if float(value).is_integer() else None
    except (TypeError, ValueError, OverflowError):
        return None


def _steps(entries: list[Any], report: Report) -> dict[str, Mapping[str, Any]]:
    steps: dict[str, Mapping[str, Any]] = {}
    for i, entry in enumerate(entries):
        name = _name(entry, f"steps[{i}]", steps, report, of="step")
        if name is not None:
            steps[name] = entry
    return steps


def _outputs(entries: list[Any], report: Report) -> list[Output]:
    outputs: dict[str, Output] = {}
    for i, entry in enumerate(entries):
        name = _name(entry, f"outputs[{i}]", outputs, report, of="output")
        if name is None:
            continue
        path = f"outputs.{name}"
        if entry.get("type") != "JsonField":
            report.wrong(f"{path}.type", entry.get("type"), "JsonField")
        system = entry.get("coordinates_system", "parent")
        if system not in ("parent", "own"):
            report.wrong(f"{path}.coordinates_system", system, "parent or own")
        selector = entry.get("selector")
        if not is_selector(selector):
            report.wrong(f"{path}.selector", selector, "$steps.<step>.<output> or $inputs.<input>")
            continue
        outputs[name] = Output(name, selector, system == "own", f"{path}.selector")
    return list(outputs.values())
