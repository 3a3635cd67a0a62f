"""Blocks whose outputs hang on the clock, the machine or a picture of a code, and what no recorded case can say."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from runtime.workflow.block import Surroundings
from runtime.workflow.compiler import compile_definition
from runtime.workflow.executor import Executor, Outcome
from runtime.workflow.values import ImageValue, VideoMetadata

R = "roboflow_core/"


def executor(*steps: dict[str, Any], outputs: dict[str, str], **kinds: str) -> Executor:
    inputs: list[dict[str, Any]] = [{"type": "WorkflowImage", "name": "image"}]
    inputs += [{"type": "WorkflowBatchInput", "name": name, "kind": [kind]} for name, kind in kinds.items()]
    document = {
        "version": "1.0",
        "inputs": inputs,
        "steps": [{**step, "type": R + step["type"]} for step in steps],
        "outputs": [{"type": "JsonField", "name": n, "selector": s} for n, s in outputs.items()],
    }
    return Executor(compile_definition(document), {}, Surroundings(lambda: 1767225600.0, lambda: 0.0))


def told(outcome: Outcome) -> list[dict[str, Any]]:
    assert outcome.errors == {}
    return outcome.outputs


def frame(pixels: Any = None, number: int = 1) -> ImageValue:
    image = np.full((48, 64, 3), 90, np.uint8) if pixels is None else pixels
    return ImageValue(image, VideoMetadata("cam", number, float(number), 10.0))


def tracked(x: float, track: int = 1) -> dict[str, Any]:
    box = {"x": x, "y": 20.0, "width": 10.0, "height": 10.0, "confidence": 0.9, "class": "a", "class_id": 0}
    return {"image": {"width": 64, "height": 48}, "predictions": [{**box, "tracker_id": track}]}


def test_a_table_is_given_to_the_last_of_a_batch_and_formulas_are_quoted() -> None:
    table = executor(
        {"type": "csv_formatter@v1", "name": "t", "columns_data": {"a": "$inputs.x", "b": 7}},
        outputs={"csv": "$steps.t.csv_content"},
        x="*",
    )
    rows = told(table.run({"image": frame(), "x": ["=1+1", "two"]}))
    assert rows[0]["csv"] is None
    stamp = "2026-01-01T00:00:00+00:00"
    assert rows[1]["csv"] == f"a,b,timestamp\n'=1+1,7,{stamp}\ntwo,7,{stamp}\n"


def test_the_time_is_told_in_its_zone() -> None:
    clock = executor(
        {"type": "current_time@v1", "name": "t", "timezone": "Asia/Tokyo"}, outputs={"all": "$steps.t.*"}
    )
    now = told(clock.run({"image": frame()}))[0]["all"]
    assert now["iso_string"] == "2026-01-01T09:00:00+09:00"
    assert (now["date"], now["time"]) == ("2026-01-01", "09:00:00")


def test_a_qr_code_is_read_where_it_stands() -> None:
    code = cv2.QRCodeEncoder.create().encode("box 17")
    side = code.shape[0] * 6
    picture = np.full((side + 60, side + 90, 3), 255, np.uint8)
    large = cv2.resize(code, (side, side), interpolation=cv2.INTER_NEAREST)
    picture[20 : 20 + side, 30 : 30 + side] = large[..., None]
    reader = executor(
        {"type": "qr_code_detector@v1", "name": "q", "images": "$inputs.image"},
        outputs={"p": "$steps.q.predictions"},
    )
    found = told(reader.run({"image": frame(picture)}))[0]["p"]
    assert found.data["data"].tolist() == ["box 17"]
    assert found.class_name.tolist() == ["qr_code"]
    np.testing.assert_allclose(found.xyxy[0], [30 + 24, 20 + 24, 6 + side, side - 4], atol=30)


def ean13(digits: str) -> Any:
    """(1, 95) uint8: the bars of an EAN-13 code, 0 black (GS1 General Specifications, 5.2.1)."""
    left = [
        "0001101",
        "0011001",
        "0010011",
        "0111101",
        "0100011",
        "0110001",
        "0101111",
        "0111011",
        "0110111",
        "0001011",
    ]
    right = ["".join("10"[int(bit)] for bit in code) for code in left]
    even = [code[::-1] for code in right]
    parity = [
        "OOOOOO",
        "OOEOEE",
        "OOEEOE",
        "OOEEEO",
        "OEOOEE",
        "OEEOOE",
        "OEEEOO",
        "OEOEOE",
        "OEOEEO",
        "OEEOEO",
    ][int(digits[0])]
    first = "".join((left if p == "O" else even)[int(d)] for p, d in zip(parity, digits[1:7], strict=True))
    bits = "101" + first + "01010" + "".join(right[int(d)] for d in digits[7:]) + "101"
    return np.array([[0 if bit == "1" else 255 for bit in bits]], np.uint8)


def test_a_barcode_is_read_where_it_stands() -> None:
    bars = cv2.resize(ean13("4006381333931"), (95 * 2, 100), interpolation=cv2.INTER_NEAREST)
    picture = np.full((240, 330, 3), 255, np.uint8)
    picture[70:170, 70:260] = bars[..., None]
    reader = executor(
        {"type": "barcode_detector@v1", "name": "q", "images": "$inputs.image"},
        outputs={"p": "$steps.q.predictions"},
    )
    found = told(reader.run({"image": frame(picture)}))[0]["p"]
    assert found.data["data"].tolist() == ["4006381333931"]
    np.testing.assert_allclose(found.xyxy[0], [70, 70, 260, 170], atol=25)
    assert len(told(reader.run({"image": frame()}))[0]["p"]) == 0


def test_secrets_are_those_that_the_device_gives_to_workflows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_SECRET_MAIL", "s3")
    monkeypatch.setenv("PRIVATE_KEY", "not for workflows")
    step = {"type": "environment_secrets_store@v1", "name": "s"}
    good = executor({**step, "variables_storing_secrets": ["MAIL", "NONE"]}, outputs={"all": "$steps.s.*"})
    assert told(good.run({"image": frame()}))[0]["all"] == {"mail": "s3", "none": None}
    bad = executor(
        {**step, "variables_storing_secrets": ["PRIVATE_KEY"]}, outputs={"k": "$steps.s.private_key"}
    )
    outcome = bad.run({"image": frame()})
    assert outcome.outputs[0]["k"] is None
    assert "not open to workflows" in outcome.errors["s"]


def test_a_value_is_kept_from_frame_to_frame() -> None:
    steps = executor(
        {"type": "cache_get@v1", "name": "get", "image": "$inputs.image", "key": "k"},
        {"type": "cache_set@v1", "name": "set", "image": "$inputs.image", "key": "k", "value": "$inputs.x"},
        outputs={"before": "$steps.get.output", "now": "$steps.set.output"},
        x="*",
    )
    assert told(steps.run({"image": frame(), "x": 5})) == [{"before": None, "now": 5}]
    assert told(steps.run({"image": frame(), "x": 6})) == [{"before": 5, "now": 6}]


@pytest.mark.parametrize("version", [1, 2])
def test_a_track_strays_from_its_path_by_the_farthest_it_must_be(version: int) -> None:
    source = {"image": "$inputs.image"} if version == 2 else {"metadata": "$inputs.m"}
    step = {"type": f"path_deviation_analytics@v{version}", "name": "d", "detections": "$inputs.p", **source}
    path = [[10, 20], [40, 20]]
    kinds = {"p": "object_detection_prediction"} | ({"m": "video_metadata"} if version == 1 else {})
    steps = executor(
        {**step, "reference_path": path}, outputs={"p": "$steps.d.path_deviation_detections"}, **kinds
    )
    far = []
    for number, x in enumerate((10.0, 22.0, 40.0)):
        given = {"image": frame(number=number), "p": tracked(x)}
        given |= {"m": VideoMetadata("cam", number, float(number), 10.0)} if version == 1 else {}
        far += told(steps.run(given))[0]["p"].data["path_deviation"].tolist()
    assert far == [30.0, 18.0, 12.0]
    nobody = {"image": {"width": 64, "height": 48}, "predictions": []}
    assert len(told(steps.run({**given, "p": nobody}))[0]["p"]) == 0


def test_what_is_remembered_of_tracks_is_bounded() -> None:
    steps = executor(
        {"type": "stabilize_detections@v1", "name": "s", "image": "$inputs.image", "detections": "$inputs.p"},
        outputs={"p": "$steps.s.tracked_detections"},
        p="object_detection_prediction",
    )
    for number in range(60):
        told(steps.run({"image": frame(number=number), "p": tracked(10.0, number)}))
    video = steps._blocks[0]._videos["cam"]  # type: ignore[attr-defined]
    assert len(video.last) <= 4
