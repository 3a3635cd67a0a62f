"""Hostile definitions are refused within a second and bounded in memory. Each runs in a process of its own, whose memory is measured.

`refused` prints seconds and the growth of the peak of resident memory in MiB.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

MAX_S = 1.0
MAX_GROWTH_MIB = 200

REFUSED = """
import json, resource, sys, time
from runtime.errors import WorkflowRefused
from runtime.workflow.compiler import compile_definition
from runtime.workflow.registry import load_blocks
from tests.contract.test_workflow_hostile import HOSTILE
blocks = load_blocks()
document = HOSTILE[sys.argv[1]]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
begun = time.process_time()
try:
    compile_definition(document, blocks)
    problems, text = [], ""
except WorkflowRefused as e:
    problems = [p.to_json() for p in e.problems]
    text = str(e)
spent = time.process_time() - begun
growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(json.dumps({"s": spent, "mib": growth, "problems": problems[:3], "count": len(problems), "text": len(text)}))
import os; os._exit(0)
"""


def definition(*steps: Any, **fields: Any) -> dict[str, Any]:
    inputs = [
        {"type": "WorkflowImage", "name": "image"},
        {"type": "WorkflowBatchInput", "name": "d", "kind": ["object_detection_prediction"]},
    ]
    return {"version": "1.0", "inputs": inputs, "steps": list(steps), "outputs": [], **fields}


def prop(name: str, data: str, operations: Any) -> dict[str, Any]:
    kind = "roboflow_core/property_definition@v1"
    return {"type": kind, "name": name, "data": data, "operations": operations}


def zone(polygon: Any) -> dict[str, Any]:
    kind = "roboflow_core/time_in_zone@v2"
    return {"type": kind, "name": "z", "image": "$inputs.image", "detections": "$inputs.d", "zone": polygon}


def nested(levels: int, kind: str = "list") -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if kind == "list" else {"a": value}
    return value


def group(levels: int) -> Any:
    static = {"type": "StaticOperand", "value": 1}
    statement: Any = {
        "type": "BinaryStatement",
        "left_operand": static,
        "comparator": {"type": "=="},
        "right_operand": static,
    }
    for _ in range(levels):
        statement = {"type": "StatementGroup", "statements": [statement]}
    return [{"type": "DetectionsFilter", "filter_operation": statement}]


def inner(levels: int) -> dict[str, Any]:
    document = definition(prop("p", "$inputs.d", []))
    for _ in range(levels):
        holder = {"type": "roboflow_core/inner_workflow@v1", "name": "i", "workflow_definition": document}
        document = definition(holder)
    return document


def fan_out(levels: int, width: int) -> dict[str, Any]:
    """Each level holds the one below `width` times; as JSON it would be written out."""
    document = definition(prop("p", "$inputs.d", []))
    for _ in range(levels):
        holders = [
            {"type": "roboflow_core/inner_workflow@v1", "name": f"i{n}", "workflow_definition": document}
            for n in range(width)
        ]
        document = definition(*holders)
    return document


def loop(count: int) -> dict[str, Any]:
    steps = [prop(f"s{i}", f"$steps.s{(i + 1) % count}.output", []) for i in range(count)]
    return definition(*steps)


def matches(regex: Any) -> dict[str, Any]:
    return definition(prop("p", "$inputs.d", [{"type": "StringMatches", "regex": regex}]))


HOSTILE = {
    "a depth of 1,000": lambda: definition(prop("p", "$inputs.d", nested(1000))),
    "a depth of 1,000 objects": lambda: definition(zone(nested(1000, "dict"))),
    "conditions 500 deep": lambda: definition(prop("p", "$inputs.d", group(500))),
    "10,000 steps": lambda: definition(*(prop(f"s{i}", "$inputs.d", []) for i in range(10_000))),
    "10,000 steps of no known type": lambda: definition(
        *({"type": "x", "name": f"s{i}"} for i in range(10_000))
    ),
    "1,000 steps of nearly known types": lambda: definition(
        *({"type": f"roboflow_core/detections_filtre@v{i}", "name": f"s{i}"} for i in range(1000))
    ),
    "a regular expression that explodes": lambda: matches("(a+)+$"),
    "alternatives that explode": lambda: matches("(a|a)*$"),
    "many open repetitions": lambda: matches("a*" * 30 + "b"),
    "a regular expression of 10⁶ characters": lambda: matches("a" * 1_000_000),
    "a regular expression that counts high": lambda: matches("(a{1,9999}){1,9999}"),
    "a polygon of 10⁶ points": lambda: definition(zone([[i, i * i % 997] for i in range(1_000_000)])),
    "a polygon of huge numbers": lambda: definition(zone([[10**400, 0], [1, 1], [0, 1]])),
    "a selector that loops": lambda: loop(900),
    "a step that reads itself": lambda: loop(1),
    "a number of 100,000 digits": lambda: definition(
        prop("p", "$inputs.d", [{"type": "Multiply", "other": 10**100_000}])
    ),
    "infinity": lambda: definition(prop("p", "$inputs.d", [{"type": "Divide", "other": float("inf")}])),
    "a string of 10 MB": lambda: definition(prop("p", "$inputs.d", [{"type": "x" * 10_000_000}])),
    "a name of 10 MB": lambda: definition(prop("p" * 10_000_000, "$inputs.d", [])),
    "a selector of 1 MB": lambda: definition(prop("p", "$steps." + "a" * 900_000 + ".b", [])),
    "a version of 1 MB": lambda: definition(version="1." + "1" * 900_000),
    "10⁵ operations": lambda: definition(prop("p", "$inputs.d", [{"type": "SequenceLength"}] * 100_000)),
    "inner workflows 50 deep": lambda: inner(50),
    "inner workflows that multiply": lambda: fan_out(6, 20),
    "10⁵ problems": lambda: definition(prop("p", "$inputs.d", [{"type": i} for i in range(60)] * 1500)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_definition_is_refused_soon_and_bounded(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", REFUSED, name], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout)
    assert figures["count"], "it compiled"
    assert figures["s"] < MAX_S
    assert figures["mib"] < MAX_GROWTH_MIB
    assert figures["text"] < 100_000, "what is said of it is bounded as well"
    assert all(problem["message"] for problem in figures["problems"])
