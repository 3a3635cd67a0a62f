"""The JSON Schema for editors: it takes what the compiler takes, and refuses what has the wrong form."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from runtime.errors import WorkflowRefused
from runtime.workflow.compiler import compile_definition
from runtime.workflow.registry import load_blocks
from runtime.workflow.schema import definition_schema
from tests.contract.test_workflow_cases import cases as own_cases
from tests.contract.test_workflow_conformance import CASES, ROOT
from tests.unit.workflow.definitions import counting

BLOCKS = load_blocks()
SCHEMA = definition_schema(BLOCKS)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def definitions() -> Iterator[tuple[str, Any]]:
    for path in CASES:
        yield path.stem, json.loads(path.read_text())["workflow"]
    for entry in own_cases():
        yield str(entry.id), entry.values[0]["workflow"]
    for path in sorted((ROOT / "examples").rglob("*.json")):
        document = json.loads(path.read_text())
        if isinstance(document, dict) and "steps" in document:
            yield str(path.relative_to(ROOT)), document


def compiles(document: Any) -> bool:
    try:
        compile_definition(document, BLOCKS)
    except WorkflowRefused:
        return False
    return True


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_block_is_in_it() -> None:
    assert {block.types[0] for block in BLOCKS.values()} <= set(SCHEMA["$defs"])


def test_every_definition_that_compiles_validates() -> None:
    wrong = [
        f"{name}: {error.json_path}: {error.message[:200]}"
        for name, document in definitions()
        if (error := jsonschema.exceptions.best_match(VALIDATOR.iter_errors(document))) is not None
        and compiles(document)
    ]
    assert wrong == []


def step(document: Any, name: str) -> Any:
    return next(entry for entry in document["steps"] if entry["name"] == name)


BROKEN: dict[str, Callable[[Any], Any]] = {
    "no version": lambda d: d.pop("version"),
    "another version": lambda d: d.update(version="2.0"),
    "steps are no list": lambda d: d.update(steps={}),
    "a step without a name": lambda d: d["steps"][0].pop("name"),
    "a name with a blank": lambda d: d["steps"][0].update(name="a b"),
    "a missing field": lambda d: step(d, "people").pop("predictions"),
    "a literal where a selector stands": lambda d: step(d, "people").update(predictions="x"),
    "an unknown operation": lambda d: step(d, "count").update(operations=[{"type": "Foo"}]),
    "a parameter of another type": lambda d: step(d, "count").update(
        operations=[{"type": "NumberRound", "decimal_digits": "x"}]
    ),
    "an unknown comparator": lambda d: step(d, "crowd")["switch"]["cases"][0]["condition"]["statements"][
        0
    ].update(comparator={"type": "=<"}),
    "a switch without a default": lambda d: step(d, "crowd")["switch"].pop("default"),
    "a number out of bounds": lambda d: step(d, "model").update(confidence=3),
    "an unknown input type": lambda d: d["inputs"][0].update(type="Image"),
    "an output that is no selector": lambda d: d["outputs"][0].update(selector="count"),
}


@pytest.mark.parametrize("change", BROKEN.values(), ids=BROKEN)
def test_a_definition_of_the_wrong_form_does_not_validate(change: Callable[[Any], Any]) -> None:
    document = copy.deepcopy(counting())
    assert VALIDATOR.is_valid(document)
    change(document)
    assert not VALIDATOR.is_valid(document)
    assert not compiles(document)
