"""Blocks that do not run on a device."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import WorkflowRefused
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor
from runtime.workflow.foreign import instead_of
from runtime.workflow.permits import Permits
from runtime.workflow.registry import load_blocks
from tests.unit.workflow.definitions import FakeEngine, counting, picture, result
from wire.reasons import Reason


def with_cloud() -> dict[str, Any]:
    document = counting()
    document["steps"] += [
        {
            "type": "roboflow_core/open_ai@v4",
            "name": "ask",
            "images": "$inputs.image",
            "prompt": "how many?",
            "api_key": "x",
        },
        {
            "type": "roboflow_core/property_definition@v1",
            "name": "lower",
            "data": "$steps.ask.output",
            "operations": [{"type": "StringToLowerCase"}],
        },
    ]
    document["outputs"] += [
        {"type": "JsonField", "name": "said", "selector": "$steps.lower.output"},
        {"type": "JsonField", "name": "all", "selector": "$steps.ask.*"},
    ]
    return document


def test_a_cloud_block_is_refused_by_name_with_what_to_use_instead() -> None:
    with pytest.raises(WorkflowRefused) as refused:
        compile_definition(with_cloud())
    assert refused.value.reason is Reason.BLOCK_CLOUD_ONLY
    (problem,) = refused.value.problems
    assert problem.path == "steps.ask.type"
    assert "webhook_sink@v1" in problem.remedy


def test_a_cloud_block_that_is_passed_over_gives_none_and_is_named() -> None:
    graph = compile_definition(with_cloud(), permits=Permits(skip_cloud_blocks=True))
    outcome = Executor(graph, {"m": FakeEngine(result(0.9))}).run({"image": picture()})
    assert [step.step for step in graph.passed_over] == ["ask"]
    assert outcome.errors == {}
    assert outcome.outputs[0]["count"] == 1
    assert outcome.outputs[0]["said"] is None
    assert outcome.outputs[0]["all"] == {"output": None}


@pytest.mark.parametrize("kind", ["roboflow_core/sam3@v9", "OpenAI", "roboflow_core/clip@v1"])
def test_every_version_and_alias_is_known(kind: str) -> None:
    assert instead_of(kind)


def test_no_block_that_runs_here_is_called_foreign() -> None:
    assert not [kind for kind in load_blocks(plugins=False) if instead_of(kind)]
