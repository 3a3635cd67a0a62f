"""Our own cases: definitions and inputs written or generated here, with what the original engine answered.

`workflow_lists/*.json` hold lists of cases in the form of the conformance folder. Cases in which this engine goes another way on
purpose are not among them (docs/workflows.md tells those).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import WorkflowRefused
from runtime.workflow.compiler import compile_definition
from tests.contract.test_workflow_conformance import Comparison, executor_of, given

FOLDER = Path(__file__).parent / "workflow_lists"


def cases() -> Iterator[Any]:
    """Every case as a parameter of a test."""
    for path in sorted(FOLDER.glob("*.json")):
        document = json.loads(path.read_text())
        for case in document["cases"]:
            yield pytest.param(case, id=case["id"])


@pytest.mark.parametrize("case", list(cases()))
def test_own_case_gives_what_the_original_engine_gave(case: dict[str, Any]) -> None:
    if "expected_compile_error" in case:
        with pytest.raises(WorkflowRefused) as refused:
            compile_definition(case["workflow"])
        assert refused.value.problems
        return
    executor, comparison = executor_of(case), Comparison(case["tags"])
    for i, run in enumerate(case["runs"]):
        outcome = executor.run({name: given(value) for name, value in run["inputs"].items()})
        if "expected_error" in run:
            assert outcome.errors, f"run {i}: no error, outputs {outcome.outputs}"
        else:
            assert not outcome.errors, f"run {i}: {outcome.errors}"
            comparison.same(run["expected"], outcome.outputs, f"run {i}")
