"""Uploads of real models and workflows, checked by the runtime itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.client import ApiError
from tests.integration.fleet_stand import ROOT, Stand

ASSETS = Path(os.environ.get("OUTRIDER_ASSETS", ROOT.parent / "shared" / "assets"))
MODEL = ASSETS / "detectors" / "yolox_nano_416.onnx"

pytestmark = [
    pytest.mark.skipif(not MODEL.exists(), reason=f"{MODEL} is not there; set OUTRIDER_ASSETS"),
    pytest.mark.skipif(
        not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()),
        reason="mosquitto is not installed",
    ),
]

COUNTING = {
    "version": "1.0",
    "inputs": [{"type": "InferenceImage", "name": "image"}],
    "steps": [
        {
            "type": "roboflow_core/roboflow_object_detection_model@v2",
            "name": "detect",
            "images": "$inputs.image",
            "model_id": "people/1",
        }
    ],
    "outputs": [{"type": "JsonField", "name": "found", "selector": "$steps.detect.predictions"}],
}


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("plane") / "data", scripted=False)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("packages") / "yolox.pkg"
    command = [
        sys.executable,
        "-m",
        "outrider",
        "model",
        "pack",
        str(MODEL),
        "--no-golden",
        "--out",
        str(out),
    ]
    subprocess.run(
        [*command, "--name", "yolox", "--labels", "coco80"], cwd=ROOT, check=True, capture_output=True
    )
    return out


def test_real_package_is_checked_and_stored_under_its_own_digest(stand: Stand, package: Path) -> None:
    with stand.client() as client:
        stored = client.upload_model(package)
    assert (stored["name"], stored["version"]) == ("yolox", 1)
    assert (stored["card"]["family"], stored["card"]["classes"]) == ("yolox", 80)
    assert stored["digest"] == stored["card"]["digest"]


def test_truncated_model_is_refused_with_the_runtimes_reason(
    stand: Stand, package: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(package, broken)
    graph = next(broken.glob("*.onnx"))
    graph.write_bytes(graph.read_bytes()[:5000])
    with stand.client() as client:
        before = client.models()
        with pytest.raises(ApiError) as refused:
            client.upload_model(broken)
        assert client.models() == before
    assert refused.value.reason.value in ("model-not-onnx", "model-load-failed", "package-invalid")


def test_workflow_is_compiled_on_upload_and_its_model_ids_must_be_mapped(
    stand: Stand, package: Path, tmp_path: Path
) -> None:
    path = tmp_path / "counting.json"
    path.write_text(json.dumps(COUNTING))
    stand.enrol("cam")
    document = {
        "cameras": {"door": {"source": "0"}},
        "models": {"m": "yolox"},
        "workflows": {"count": "counting"},
        "pipelines": {"door": {"camera": "door", "workflow": "count"}},
    }
    with stand.client() as client:
        client.upload_model(package)
        assert client.upload_workflow(path)["card"]["model_ids"] == ["people/1"]
        with pytest.raises(ApiError, match="people/1"):
            client.set_desired("cam", document)
        document["pipelines"]["door"]["models"] = {"people/1": "m"}
        assert client.set_desired("cam", document)["revision"] == 1


def test_workflow_with_an_unknown_block_is_refused(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(COUNTING).replace("object_detection_model", "teleporter"))
    with stand.client() as client, pytest.raises(ApiError) as refused:
        client.upload_workflow(path)
    assert refused.value.problems
    assert "bad" not in client_names(stand)


def client_names(stand: Stand) -> list[str]:
    with stand.client() as client:
        return [row["name"] for row in client.workflows()]
