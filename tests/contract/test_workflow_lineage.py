"""Any order of batch sizes and Nones keeps every element with its own: a reference in plain Python against the engine."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from tests.unit.workflow.definitions import group


def expression(name: str, data: dict[str, str]) -> dict[str, Any]:
    """`name(x)`: the first datum, tagged, so that every output tells where it comes from."""
    chosen = {
        "type": "DynamicCaseResult",
        "parameter_name": next(iter(data)),
        "operations": [{"type": "ToString"}],
    }
    switch = {"type": "CasesDefinition", "cases": [], "default": chosen}
    return {"type": "Expression", "name": name, "data": data, "switch": switch}


def equals(operand: str, value: Any) -> dict[str, Any]:
    left = {"type": "DynamicOperand", "operand_name": operand, "operations": []}
    right = {"type": "StaticOperand", "value": value}
    kind = {"type": "=="}
    return {"type": "BinaryStatement", "left_operand": left, "comparator": kind, "right_operand": right}


DEFINITION = {
    "version": "1.0",
    "inputs": [
        {"type": "WorkflowBatchInput", "name": "a"},
        {"type": "WorkflowBatchInput", "name": "w", "dimensionality": 2},
        {"type": "WorkflowParameter", "name": "p", "default_value": "p"},
    ],
    "steps": [
        expression("flat", {"x": "$inputs.a", "p": "$inputs.p"}),
        expression("deep", {"x": "$inputs.w"}),
        {"type": "DimensionCollapse", "name": "up", "data": "$steps.deep.output"},
        {
            "type": "ContinueIf",
            "name": "gate",
            "condition_statement": group(equals("x", 1)),
            "evaluation_parameters": {"x": "$inputs.a"},
            "next_steps": ["$steps.gated"],
        },
        expression("gated", {"x": "$inputs.w"}),
        {
            "type": "FirstNonEmptyOrDefault",
            "name": "first",
            "data": ["$steps.flat.output", "$inputs.p"],
            "default": "none",
        },
    ],
    "outputs": [
        {"type": "JsonField", "name": name, "selector": f"$steps.{name}.output"}
        for name in ("flat", "deep", "up", "gated", "first")
    ],
}
GRAPH = compile_definition(DEFINITION)
LEAF = st.sampled_from([None, 0, 1, 2, "x"])


@st.composite
def batches(draw: Any) -> list[tuple[Any, list[Any]]]:
    size = draw(st.integers(1, 5))
    return [(draw(LEAF), draw(st.lists(LEAF, max_size=4))) for _ in range(size)]


def text(value: Any) -> Any:
    return None if value is None else str(value)


def reference(a: Any, w: list[Any]) -> dict[str, Any]:
    deep = [text(v) for v in w]
    return {
        "flat": text(a),
        "deep": deep,
        "up": [v for v in deep if v is not None] if w else None,
        "gated": deep if a == 1 else [None] * len(w),
        "first": text(a) or "p",
    }


@settings(max_examples=300, deadline=None)
@given(st.lists(batches(), min_size=1, max_size=4))
def test_every_element_stays_with_its_own(runs: list[list[tuple[Any, list[Any]]]]) -> None:
    executor = Executor(GRAPH, {})
    for batch in runs:
        outcome = executor.run({"a": [a for a, _ in batch], "w": [w for _, w in batch]})
        assert outcome.errors == {}
        assert outcome.outputs == [reference(a, w) for a, w in batch]
