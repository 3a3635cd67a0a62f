"""Random legal workflows, asked of the original engine and of this one in the same minute.

OUTRIDER_PEER_PYTHON names the interpreter of an environment that holds the original engine (docs/workflows.md); without one there is
nothing to compare with. OUTRIDER_PEER_SEED, OUTRIDER_PEER_CASES: the first seed, and how many cases a block.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import WorkflowRefused
from tests.contract.test_workflow_conformance import Comparison, executor_of, given
from tests.contract.workflow_dice import BLOCKS, case

PYTHON = os.environ.get("OUTRIDER_PEER_PYTHON", "")
SEED = int(os.environ.get("OUTRIDER_PEER_SEED", "0"))
CASES = int(os.environ.get("OUTRIDER_PEER_CASES", "8"))
LETTERS = {"labels1", "labels2", "line"}
"""OpenCV 5 draws other letters than OpenCV 4, which the original has: of these only the size of the picture is compared."""
SCRIPT = Path(__file__).with_name("original_engine.py")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not PYTHON, reason="no original engine: OUTRIDER_PEER_PYTHON names none"),
]


def relabelled(value: Any, labels: dict[int, int]) -> Any:
    """Recorded outputs with tracker ids in the order in which they appear; ids below zero stay."""
    if isinstance(value, list):
        return [relabelled(entry, labels) for entry in value]
    if not isinstance(value, dict):
        return value
    out = {key: relabelled(entry, labels) for key, entry in value.items() if key != "tracker_id"}
    if "tracker_id" in value:
        ids = value["tracker_id"]
        out["tracker_id"] = ids and [labels.setdefault(i, len(labels) + 1) if i >= 0 else i for i in ids]
    return out


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the original engine says to every case, by id."""
    cases = [case(name, SEED + n) for name in BLOCKS for n in range(CASES)]
    done = subprocess.run(
        [PYTHON, str(SCRIPT)],
        input=json.dumps({"cases": cases}),
        capture_output=True,
        text=True,
        timeout=1500,
        cwd=tmp_path_factory.mktemp("original"),
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {c["id"]: answer for c, answer in zip(cases, json.loads(done.stdout), strict=True)}


@pytest.mark.parametrize("name", list(BLOCKS))
@pytest.mark.parametrize("number", range(CASES))
def test_both_engines_say_the_same(original: dict[str, Any], name: str, number: int) -> None:
    asked = case(name, SEED + number)
    answer = original[asked["id"]]
    if "expected_compile_error" in answer:
        with pytest.raises(WorkflowRefused):
            executor_of(asked)
        return
    executor, labels = executor_of(asked), dict[int, int]()
    comparison = Comparison(asked["tags"], mean_tolerance=256 if name in LETTERS else None)
    for i, (run, told) in enumerate(zip(asked["runs"], answer["runs"], strict=True)):
        outcome = executor.run({name: given(value) for name, value in run["inputs"].items()})
        if "expected_error" in told:
            assert outcome.errors, f"run {i}: no error where theirs is {told['expected_error']}"
            continue
        assert not outcome.errors, f"run {i}: {outcome.errors}"
        wanted = relabelled(told["expected"], labels) if "tracker" in asked["tags"] else told["expected"]
        comparison.same(wanted, outcome.outputs, f"run {i}")
