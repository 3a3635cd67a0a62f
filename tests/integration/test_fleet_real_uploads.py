"""Uploads of real models and workflows, checked by the runtime itself."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
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


def test_an_onnx_file_is_packed_where_it_is_taken_in_or_refused_with_what_families_expect(
    stand: Stand, tmp_path: Path
) -> None:
    bare = tmp_path / "yolox tiny.onnx"
    shutil.copyfile(MODEL, bare)
    with stand.client() as client:
        stored = client.upload_model(bare, labels="coco80")
        assert (stored["name"], stored["card"]["family"], stored["card"]["classes"]) == (
            "yolox_tiny",
            "yolox",
            80,
        )
        assert "recognised" in stored["card"]
        assert not stored["card"]["golden"]["present"]
        for words, wishes in (
            ("classifier", {"family": "classifier"}),
            ("did you mean 'yolox'", {"family": "yolo-x"}),
            ("1 labels for 80 classes", {"labels": "/etc/passwd"}),
            ("detection", {"task": "keypoints"}),
        ):
            with pytest.raises(ApiError) as refused:
                client.upload_model(bare, **wishes)
            told = f"{refused.value} {[str(problem) for problem in refused.value.problems]}"
            assert words in told, told
            assert "--family" not in told
        bare.write_bytes(MODEL.read_bytes()[:5000])
        with pytest.raises(ApiError):
            client.upload_model(bare)
        assert [row["version"] for row in client.models() if row["name"] == "yolox_tiny"] == [1]
    nameless = httpx.post(
        f"{stand.url}/api/v1/models",
        content=MODEL.read_bytes(),
        headers={"Authorization": f"Bearer {stand.admin_token}"},
    )
    assert (nameless.status_code, "give a name" in nameless.text) == (422, True)


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


def test_check_names_every_problem_and_keeps_nothing(stand: Stand) -> None:
    broken = json.dumps(COUNTING).replace("$inputs.image", "$inputs.imgae").replace('"found"', '""')
    with stand.client() as client:
        verdict = client.check_workflow(broken.encode())
        assert not verdict["ok"]
        assert {problem["path"] for problem in verdict["problems"]} == {
            "steps.detect.images",
            "outputs[0].name",
        }
        assert any("image" in problem["remedy"] for problem in verdict["problems"])
        fine = client.check_workflow(json.dumps(COUNTING).encode())
        assert (fine["ok"], fine["card"]["model_ids"]) == (True, ["people/1"])
        assert not client.check_workflow(b"{")["ok"]
    assert "checked" not in client_names(stand)


def telling(stand: Stand) -> bytes:
    """The counting workflow, which also posts what it found to this control plane."""
    sink = {
        "type": "roboflow_core/webhook_sink@v1",
        "name": "tell",
        "url": f"{stand.url}/api/v1/session",
        "method": "POST",
        "json_payload": {"count": "$steps.detect.predictions"},
        "fire_and_forget": False,
    }
    outputs = [{"type": "JsonField", "name": "told", "selector": "$steps.tell.message"}]
    document = {**COUNTING, "steps": [*COUNTING["steps"], sink], "outputs": [*COUNTING["outputs"], *outputs]}
    return json.dumps(document).encode()


def test_trial_shows_what_the_workflow_sees_and_sends_nothing(stand: Stand, package: Path) -> None:
    picture = next((ASSETS / "images" / "coco_val_ccby" / "val2017").glob("*397133.jpg")).read_bytes()
    with stand.client() as client:
        client.upload_model(package)
        tried = client.try_workflow(telling(stand), picture, {"people/1": "yolox"}, {})
        (frame,) = tried["frames"]
        assert tried["not_sent"] == ["tell"]
        assert frame["outputs"]["told"] == "Not sent: this is a trial"
        assert "person" in {each["class"] for each in frame["outputs"]["found"]["predictions"]}
        assert base64.b64decode(frame["picture"]).startswith(b"\xff\xd8")
        assert frame["picture"] != base64.b64encode(picture).decode()
        clip = client.try_workflow(
            telling(stand),
            (ASSETS / "video" / "vtest.avi").read_bytes(),
            {"people/1": "yolox"},
            {},
            frames=30,
        )
        assert (clip["done"], clip["ended"]) == (30, "after 30 frames")
        assert [each["frame"] for each in clip["frames"]] == list(range(0, 30, 2))
        assert client.audit(action="workflow.try").__next__()["detail"] == {"models": {"people/1": "yolox"}}


def test_trial_that_cannot_be_made_says_why(stand: Stand, package: Path) -> None:
    code = {"dynamic_blocks_definitions": [{"type": "DynamicBlockDefinition"}]}
    content = json.dumps(COUNTING).encode()
    with stand.client() as client:
        client.upload_model(package)
        for said, definition, media, models in (
            ("bound to no model", content, b"x", {}),
            ("yolox", content, b"x", {"people/1": "yolo"}),
            ("no picture and no clip", content, b"nonsense", {"people/1": "yolox"}),
            ("code", json.dumps({**COUNTING, **code}).encode(), b"x", {"people/1": "yolox"}),
        ):
            with pytest.raises(ApiError, match=said):
                client.try_workflow(definition, media, models, {})
        with pytest.raises(ApiError, match="no such parameter"):
            client.try_workflow(content, b"x", {"people/1": "yolox"}, {"line": []})
    answer = httpx.post(
        f"{stand.url}/api/v1/workflows/try",
        headers={"Authorization": f"Bearer {stand.admin_token}"},
        data={"definition": "{}"},
        files={"media": b"\0" * (42 * 1024 * 1024)},
    )
    assert answer.status_code == 413


def test_definition_is_given_back_as_it_was_uploaded(stand: Stand, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps(COUNTING, indent=3))
    with stand.client() as client:
        client.upload_workflow(path)
        assert client.definition("given", "1") == COUNTING
