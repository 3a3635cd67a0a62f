from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.errors import WorkflowRefused
from runtime.workflow.block import Block
from runtime.workflow.compiler import compile_definition
from runtime.workflow.registry import load_blocks
from tests.unit.workflow.definitions import counting
from wire.problem import Problem
from wire.reasons import Reason

BLOCKS: dict[str, type[Block]] = load_blocks(plugins=False)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def problems(document: Any) -> dict[str, Problem]:
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(document, BLOCKS)
    return {p.path: p for p in refused.value.problems}


def changed(path: list[Any], value: Any) -> Any:
    document: Any = counting()
    at = document
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return document


def test_a_definition_tells_its_models_pictures_and_blocks() -> None:
    graph = compile_definition(counting("yard/3"), BLOCKS)
    assert graph.model_ids == ("yard/3",)
    assert graph.image_inputs == ("image",)
    assert "roboflow_core/expression@v1" in graph.blocks


def test_every_problem_is_told_at_once_with_its_place() -> None:
    document = counting()
    document["steps"][1]["predictions"] = "$steps.modl.predictions"
    document["steps"][2]["operations"] = [{"type": "SequenceLenght"}]
    document["steps"][3]["type"] = "Expresion"
    document["outputs"][1]["selector"] = "$steps.count.outpt"
    found = problems(document)
    assert found["steps.people.predictions"].remedy == "did you mean 'model'?"
    assert found["steps.count.operations[0].type"].remedy == "did you mean 'SequenceLength'?"
    assert found["steps.crowd.type"].reason is Reason.BLOCK_UNKNOWN
    assert found["outputs.count.selector"].remedy == "did you mean 'output'?"


def test_unknown_blocks_alone_are_refused_as_such() -> None:
    document = changed(["steps", 3, "type"], "roboflow_core/no_such@v1")
    document["outputs"].pop()
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(document, BLOCKS)
    assert refused.value.reason is Reason.BLOCK_UNKNOWN


def test_steps_in_a_circle_are_refused() -> None:
    found = problems(changed(["steps", 1, "predictions"], "$steps.people.predictions"))
    assert "circle" in found["steps.people"].message


def test_a_step_that_decides_about_itself_is_refused() -> None:
    document = counting()
    document["steps"].append(
        {"type": "ContinueIf", "name": "c", "condition_statement": _always(), "next_steps": ["$steps.c"]}
    )
    assert "circle" in problems(document)["steps.c"].message


def _always() -> dict[str, Any]:
    operand = {"type": "StaticOperand", "value": 1}
    binary = {
        "type": "BinaryStatement",
        "left_operand": operand,
        "comparator": {"type": "=="},
        "right_operand": operand,
    }
    return {"type": "StatementGroup", "statements": [binary]}


@pytest.mark.parametrize("version", ["", None, "2.0", "1.99", "x", 1.0])
def test_another_version_is_refused(version: Any) -> None:
    assert "version" in problems(changed(["version"], version))


def test_code_inside_a_workflow_is_refused() -> None:
    document = counting()
    document["dynamic_blocks_definitions"] = [{"type": "DynamicBlockDefinition"}]
    assert "dynamic_blocks_definitions" in problems(document)


def test_ten_thousand_steps_are_refused() -> None:
    document = counting()
    document["steps"] = [{"type": "x", "name": f"s{i}"} for i in range(10_000)]
    assert "10000 entries" in problems(document)["steps"].message


def test_great_depth_is_refused_without_recursion() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    try:
        assert "levels" in problems(changed(["steps", 2, "operations"], nested))[""].message
    finally:
        while nested:
            nested = nested.pop()


@pytest.mark.parametrize("regex", ["(a+)+$", "(a*)*", r"(\w+)\1", "[", "a{1,99999999999}"])
def test_a_regular_expression_that_may_explode_is_refused(regex: str) -> None:
    operations = [{"type": "StringMatches", "regex": regex}]
    found = problems(changed(["steps", 2, "operations"], operations))
    assert "regular expression" in found["steps.count.operations[0].regex"].message


def test_a_polygon_of_a_hundred_thousand_points_is_refused() -> None:
    document = counting()
    document["steps"].append(
        {
            "type": "roboflow_core/time_in_zone@v2",
            "name": "zone",
            "image": "$inputs.image",
            "detections": "$steps.model.predictions",
            "zone": [[i, i] for i in range(60_000)],
        }
    )
    assert "60000 points" in problems(document)["steps.zone.zone"].message


def test_an_inner_workflow_is_compiled_in_its_place() -> None:
    inner = counting()
    document = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "picture"}],
        "steps": [
            {
                "type": "roboflow_core/inner_workflow@v1",
                "name": "iw",
                "workflow_definition": inner,
                "parameter_bindings": {"image": "$inputs.picture"},
            }
        ],
        "outputs": [{"type": "JsonField", "name": "n", "selector": "$steps.iw.count"}],
    }
    assert "iw--count" in compile_definition(document, BLOCKS).step_names


def test_every_block_has_a_schema_that_is_json() -> None:
    for block in set(BLOCKS.values()):
        schema = json.loads(json.dumps(block.schema()))
        assert schema["properties"]["type"]["enum"] == list(block.types)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["$inputs.image", "$steps.model.predictions", "$steps.count.output", "$steps.count"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


def compiles_or_is_refused(document: Any) -> None:
    found: tuple[Problem, ...] | None = None
    try:
        compile_definition(document, BLOCKS)
    except WorkflowRefused as e:
        found = e.problems
    assert found is None or (found and all(p.message for p in found))


@QUICK
@given(VALUES)
def test_any_json_compiles_or_is_refused(document: Any) -> None:
    compiles_or_is_refused(document)


@QUICK
@given(st.data())
def test_a_changed_definition_compiles_or_is_refused(data: st.DataObject) -> None:
    document: Any = copy.deepcopy(counting())
    at: Any = document
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(at[key], (dict, list)) and data.draw(st.integers(0, 3)):
            at = at[key]
            continue
        at[key] = data.draw(VALUES)
        break
    compiles_or_is_refused(document)
