"""Bundles of vision events: real archives on a real disk."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.sinks import bundle
from runtime.sinks.desk import Desk
from runtime.sinks.pictures import Pictures
from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.values import ImageValue
from tests.integration.sink_rig import PICTURE, tidy

__all__ = ["tidy"]

TYPE = "roboflow_core/vision_event_bundle@v1"
BOXES = {
    "image": {"width": 64, "height": 48},
    "predictions": [
        {"x": 20, "y": 20, "width": 10, "height": 8, "confidence": 0.75, "class": "cap", "class_id": 0},
        {"x": 40, "y": 30, "width": 4, "height": 4, "confidence": 0.5, "class": "dent", "class_id": 1},
    ],
}
FIELDS = {
    "target_directory": "events",
    "event_type": "custom",
    "cooldown_seconds": 0,
    "fire_and_forget": False,
}


def work(
    folder: Path, pictures: Pictures | None = None, kind: str = "object_detection_prediction", **step: Any
) -> Executor:
    definition = {
        "version": "1.0",
        "inputs": [
            {"type": "WorkflowImage", "name": "image"},
            {"type": "WorkflowBatchInput", "name": "p", "kind": [kind]},
        ],
        "steps": [{"type": TYPE, "name": "sink", **FIELDS, **step}],
        "outputs": [{"type": "JsonField", "name": "sink", "selector": "$steps.sink.*"}],
    }
    desk = Desk(files=folder, pictures=pictures)
    around = Surroundings(lambda: 1767225600.25, lambda: 0.0, desk=desk)
    return Executor(compile_definition(definition), {}, around)


def run(executor: Executor, predictions: Any = BOXES, image: ImageValue = PICTURE) -> Outcome:
    return executor.run({"image": image, "p": predictions})


def told(outcome: Outcome) -> dict[str, Any]:
    assert not outcome.errors, outcome.errors
    found: dict[str, Any] = outcome.outputs[0]["sink"]
    return found


def opened(path: str | Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The payload and the other members of an archive."""
    with tarfile.open(path, "r:gz") as archive:
        members = {m.name: archive.extractfile(m).read() for m in archive.getmembers()}  # type: ignore[union-attr]
        assert next(iter(members)) == "payload.json"
        assert {m.mtime for m in archive.getmembers()} == {1767225600}
    return json.loads(members.pop("payload.json")), members


def test_an_event_is_one_archive_with_its_payload_and_both_pictures(tmp_path: Path) -> None:
    step = {
        "input_image": "$inputs.image", "output_image": "$inputs.image", "predictions": "$inputs.p",
        "event_type": "quality_check", "qc_result": "fail", "external_id": "batch 7", "solution": "caps",
        "custom_metadata": {"line": 3, "shift": "night"},
    }  # fmt: skip
    answer = told(run(work(tmp_path, **step)))
    assert (answer["error_status"], answer["throttling_status"]) == (False, False)
    assert answer["message"] == "Vision event bundle written successfully"
    path = Path(answer["bundle_path"])
    assert path.name == f"event_20260101T000000_250000_{answer['event_id']}.tar.gz"
    assert os.listdir(tmp_path / "events") == [path.name], "nothing half-written beside it"
    payload, images = opened(path)
    (image,) = payload.pop("images")
    assert payload == {
        "bundleFormatVersion": 1,
        "eventId": answer["event_id"],
        "eventType": "quality_check",
        "timestamp": "2026-01-01T00:00:00.250000+00:00",
        "useCaseId": "caps",
        "eventData": {"result": "fail", "externalId": "batch 7"},
        "customMetadata": {"line": 3, "shift": "night"},
        "displayImagePosition": 0,
    }
    assert image.pop("label") == "workflow"
    assert image.pop("objectDetections") == [
        {"class": "cap", "x": 20.0, "y": 20.0, "width": 10.0, "height": 8.0, "confidence": 0.75},
        {"class": "dent", "x": 40.0, "y": 30.0, "width": 4.0, "height": 4.0, "confidence": 0.5},
    ]
    assert set(image.values()) == set(images)
    assert all(re.fullmatch(r"images/[0-9a-f-]{36}\.jpg", name) for name in images)
    for content in images.values():
        shown = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert abs(shown.astype(int) - PICTURE.image).max() < 6
    assert len(images[image["inputFile"]]) >= len(images[image["file"]]), (
        "the input is kept in the better quality"
    )


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        ({"event_type": "inventory_count", "location": "A", "item_count": 0, "item_type": "box", "qc_result": "pass"},
         {"location": "A", "itemCount": 0, "itemType": "box"}),
        ({"event_type": "safety_alert", "alert_type": "no_hat", "severity": "high", "alert_description": "gate"},
         {"alertType": "no_hat", "severity": "high", "description": "gate"}),
        ({"event_type": "custom", "custom_value": "14:32"}, {"value": "14:32"}),
        ({"event_type": "operator_feedback", "related_event_id": "e1", "feedback": "incorrect", "external_id": "x"},
         {"relatedEventId": "e1", "feedback": "incorrect"}),
    ],
)  # fmt: skip
def test_each_type_of_event_tells_its_own_facts(
    tmp_path: Path, event: dict[str, Any], facts: dict[str, Any]
) -> None:
    payload, images = opened(told(run(work(tmp_path, **event)))["bundle_path"])
    assert payload["eventData"] == facts
    assert (payload["images"], images) == ([], {})
    assert "displayImagePosition" not in payload


def test_outlines_keypoints_and_classes_are_annotations_of_their_own(tmp_path: Path) -> None:
    outlined = {**BOXES, "predictions": [{**BOXES["predictions"][0], "points": [{"x": 15, "y": 16}, {"x": 25, "y": 16}, {"x": 25, "y": 24}]}]}  # type: ignore[index, dict-item]  # fmt: skip
    posed = {**BOXES, "predictions": [{**BOXES["predictions"][0], "keypoints": [{"x": 1.5, "y": 2, "confidence": 0.5, "class": "nose", "class_id": 0}]}]}  # type: ignore[index, dict-item]  # fmt: skip
    classified = {
        "image": BOXES["image"],
        "predictions": [{"class": "good", "class_id": 0, "confidence": 0.9}],
        "top": "good",
        "confidence": 0.9,
    }
    several = {"predictions": {"dirty": {"confidence": 0.8, "class_id": 1}, "wet": {"confidence": 0.1, "class_id": 2}},
               "predicted_classes": ["dirty"]}  # fmt: skip
    found = {}
    for kind, value in {
        "instance_segmentation_prediction": outlined,
        "keypoint_detection_prediction": posed,
        "classification_prediction": classified,
        "*": several,
    }.items():
        step = {"input_image": "$inputs.image", "predictions": "$inputs.p"}
        payload, _ = opened(told(run(work(tmp_path, kind=kind, **step), value))["bundle_path"])
        found[kind] = {k: v for k, v in payload["images"][0].items() if k not in ("inputFile", "label")}
    assert found["classification_prediction"] == {"classifications": [{"class": "good", "confidence": 0.9}]}
    assert found["*"] == {"classifications": [{"class": "dirty", "confidence": 0.8}]}
    (posed_entry,) = found["keypoint_detection_prediction"]["keypoints"]
    assert posed_entry["keypoints"] == [{"id": 0, "x": 1.5, "y": 2.0}]
    (outlined_entry,) = found["instance_segmentation_prediction"]["instanceSegmentations"]
    recorded = [[15, 16], [17, 18], [18, 18], [22, 22], [23, 22], [25, 24], [25, 16]]
    assert outlined_entry["points"] == recorded, "as the original engine writes it"


def test_no_list_of_annotations_is_longer_than_is_taken_in(tmp_path: Path) -> None:
    many = {**BOXES, "predictions": [{**BOXES["predictions"][0], "x": i % 64} for i in range(1200)]}  # type: ignore[index, dict-item]
    step = {"input_image": "$inputs.image", "predictions": "$inputs.p"}
    payload, _ = opened(told(run(work(tmp_path, **step), many))["bundle_path"])
    assert len(payload["images"][0]["objectDetections"]) == 1000


def test_a_bundle_that_nobody_would_take_in_is_not_written(tmp_path: Path) -> None:
    noise = ImageValue(np.random.default_rng(1).integers(0, 256, (4400, 4400, 3), np.uint8))
    step = {"input_image": "$inputs.image", "output_image": "$inputs.image"}
    answer = told(run(work(tmp_path, **step), image=noise))
    assert answer["error_status"]
    assert "25 MiB" in answer["message"]
    assert (answer["event_id"], answer["bundle_path"]) == ("", "")
    assert not (tmp_path / "events").exists()


def test_a_name_is_used_once_and_nothing_is_replaced(tmp_path: Path) -> None:
    executor = work(tmp_path, file_name="gate-7")
    first = told(run(executor))
    assert Path(first["bundle_path"]).name == "gate-7.tar.gz"
    before = Path(first["bundle_path"]).read_bytes()
    assert "exists" in run(executor).errors["sink"]
    assert Path(first["bundle_path"]).read_bytes() == before


def test_two_of_a_name_at_once_leave_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have looked before either has written."""
    path = tmp_path / "a.tar.gz"
    bundle.publish(path, b"first")
    with pytest.raises(FileExistsError):
        bundle.publish(path, b"second")

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(FileExistsError):
        bundle.publish(path, b"third")
    bundle.publish(tmp_path / "b.tar.gz", b"fourth")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        "a.tar.gz": b"first",
        "b.tar.gz": b"fourth",
    }


@pytest.mark.parametrize(
    "step", [{"file_name": "../up"}, {"file_name": ".tmp_x"}, {"file_name": ""}, {"event_type": "party"}]
)
def test_a_name_or_a_type_that_cannot_be_is_refused_when_the_workflow_is_prepared(
    tmp_path: Path, step: dict[str, Any]
) -> None:
    with pytest.raises(Exception, match=next(iter(step))):
        work(tmp_path, **step)


def test_nothing_is_written_outside_the_devices_folder(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    outcome = run(work(tmp_path / "files", target_directory="../elsewhere"))
    assert "outside the device's folder" in outcome.errors["sink"]
    assert os.listdir(tmp_path) == ["files"]


def test_one_event_in_the_cooldown_and_none_when_disabled(tmp_path: Path) -> None:
    executor = work(tmp_path, cooldown_seconds=1)
    assert [told(run(executor))["throttling_status"] for _ in range(3)] == [False, True, True]
    assert len(os.listdir(tmp_path / "events")) == 1
    told(run(work(tmp_path, disable_sink=True)))
    assert len(os.listdir(tmp_path / "events")) == 1


@pytest.mark.parametrize("reach", ["none", "device"])
def test_no_picture_is_put_in_without_a_policy_that_lets_it_leave(tmp_path: Path, reach: str) -> None:
    answer = told(run(work(tmp_path, Pictures(reach), input_image="$inputs.image", predictions="$inputs.p")))
    payload, images = opened(answer["bundle_path"])
    assert (payload["images"], images) == ([], {})
    assert "without its pictures" in answer["message"]


def test_the_frame_does_not_wait_and_the_bundle_comes(tmp_path: Path) -> None:
    executor = work(tmp_path, fire_and_forget=True, input_image="$inputs.image")
    told(run(executor))
    assert executor.around.desk.close(10.0) == {}
    (name,) = os.listdir(tmp_path / "events")
    content = io.BytesIO((tmp_path / "events" / name).read_bytes())
    with tarfile.open(fileobj=content) as archive:
        assert len(archive.getnames()) == 2
