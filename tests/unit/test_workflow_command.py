from __future__ import annotations

import json
from pathlib import Path

import pytest

from outrider.cli import main
from tests.unit.workflow.definitions import counting


def test_a_check_tells_problems_and_status_as_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "w.json"
    document = counting()
    file.write_text(json.dumps(document))
    assert main(["workflow", "check", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model_ids"] == ["m"]
    document["steps"][1]["predictions"] = "$steps.modl.predictions"
    file.write_text(json.dumps(document))
    assert main(["workflow", "check", str(file), "--json"]) == 1
    body = json.loads(capsys.readouterr().out)
    assert body["problems"][0]["path"] == "steps.people.predictions"
    assert "did you mean 'model'?" in body["problems"][0]["remedy"]
