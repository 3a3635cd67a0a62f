"""Two detectors and one that sees nothing, pushed one after the other to a camera at live pace: the first swap stays, the second is
taken back by the device itself, and the control plane is told which gate, with figure and limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from outrider.demo.stage import Stage, outrider
from tests.e2e.conftest import CAMERA, MODEL_ID, VIDEO, document, wait_until
from tests.e2e.listener import Listener

UPDATE = {"shadow_s": 8, "shadow_frames": 10, "probation_s": 2, "gates": {"min_frames": 60}}


def blinded(onnx_file: Path, into: Path) -> Path:
    """The same graph with every output times 0.001: no score of it reaches a threshold."""
    model = onnx.load(onnx_file)
    graph = model.graph
    graph.initializer.append(numpy_helper.from_array(np.float32(0.001), "nearly_nothing"))
    for output in graph.output:
        inner = f"{output.name}_before"
        for node in graph.node:
            node.output[:] = [inner if name == output.name else name for name in node.output]
            node.input[:] = [inner if name == output.name else name for name in node.input]
        graph.node.append(helper.make_node("Mul", [inner, "nearly_nothing"], [output.name]))
        assert output.type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, into)
    return into


@pytest.fixture
def sees_nothing(assets: Path, tmp_path: Path) -> Path:
    """A package that is sound in itself: its golden image gives nothing, as it promises."""
    golden = next((assets / "images" / "coco_val_ccby" / "val2017").glob("*397133.jpg"))
    graph = blinded(assets / "detectors" / "nanodet_m_320.onnx", tmp_path / "blind.onnx")
    outrider(
        "model", "pack", str(graph), "--family", "nanodet", "--labels", "coco80",
        "--golden", str(golden), "--out", str(tmp_path / "blind"),
    )  # fmt: skip
    return tmp_path / "blind"


def pushed(stage: Stage, video: Path, model: str, **update: Any) -> int:
    body = document(video, model, pace="realtime", loop=True)
    body["settings"]["update"] = {**UPDATE, **update}
    return stage.push(body)


@pytest.mark.timeout(300)
def test_another_detector_stays_and_one_that_sees_nothing_is_taken_back(
    stage: Stage, listener: Listener, assets: Path, sees_nothing: Path
) -> None:
    video = assets / VIDEO
    stage.api.upload_model(sees_nothing, name="blind")
    assert stage.await_outcome(pushed(stage, video, "yolox_nano_416"))["phase"] == "COMMITTED"
    wait_until(lambda: len(listener.events()) >= 70, "somebody before the first model")

    second = pushed(stage, video, "nanodet_m_320")
    reported = stage.await_outcome(second, 120.0)
    assert (reported["phase"], reported["revision"]) == ("COMMITTED", second), reported
    (swap,) = reported["swaps"]
    assert swap["frames_lost"] == 0
    assert swap["gap_ms"] > 0
    compared = reported["update"]["phases"]["shadow"]["pipelines"][CAMERA][MODEL_ID]
    assert compared["compared"] == 10
    assert 0.2 < compared["agreement"] <= 1.0
    assert compared["memory_bytes"]["candidate"] > 0

    third = pushed(stage, video, "blind", shadow_s=0)
    reported = stage.await_outcome(third, 120.0)
    assert (reported["phase"], reported["revision"]) == ("ROLLED_BACK", second), reported
    assert reported["reason"] == "probation-failed"
    probation = reported["update"]["phases"]["probation"]
    assert probation["gate"] == "empty-output"
    assert probation["figure"] >= probation["limit"]
    assert "empty-output" in reported["message"]
    blind = next(m["digest"] for m in stage.api.models() if m["name"] == "blind")
    assert reported["update"]["quarantined"] == [blind]

    seen = len(listener.events())
    wait_until(lambda: len(listener.events()) > seen + 5, "the second model serves again")
    events = [heard.envelope["data"] for heard in listener.events()]
    frames = [event["frame_seq"] for event in events]
    assert frames == list(range(len(frames))), "every source frame has exactly one result, in order"
    nanodet = next(m["digest"] for m in stage.api.models() if m["name"] == "nanodet_m_320")
    assert events[-1]["models"][MODEL_ID] == nanodet
