"""A real camera, model and agent: pictures for re-training arrive with what was found, and none once the policy lets none out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from outrider.demo.stage import Stage
from tests.e2e.conftest import CAMERA, VIDEO, WORKFLOW, document, wait_until


def test_samples_arrive_with_labels_until_the_policy_ends_it(
    bare_stage: Stage, assets: Path, packages: dict[str, Path]
) -> None:
    stage, model = bare_stage, "nanodet_m_320"
    stage.api.upload_model(packages[model], name=model)
    stage.api.upload_workflow(WORKFLOW, name="count_people")
    sampling = {"every_s": 1, "uncertain": [0.1, 0.99], "min_gap_s": 1, "width_px": 320}
    camera: dict[str, Any] = {"loop": True, "privacy": {"pictures": "fleet"}, "sampling": sampling}
    revision = stage.push(document(assets / VIDEO, model, **camera))
    assert stage.await_outcome(revision)["phase"] == "COMMITTED"

    def both() -> dict[str, Any]:
        found = {
            picture["about"]["why"]: picture for picture in stage.api.fleet_events.pictures({}, "sample")
        }
        return found if len(found) == 2 else {}

    for picture in wait_until(both, "samples by chance and of doubt").values():
        assert (picture["device"], picture["camera"], picture["width"]) == (stage.device, CAMERA, 320)
        assert picture["workflow"].startswith("count_people@")
        image = cv2.imdecode(
            np.frombuffer(stage.api.fleet_events.picture(stage.device, picture["id"]), np.uint8), 1
        )
        assert image is not None
        assert image.shape[:2] == (picture["height"], picture["width"])
        for label in picture["about"]["labels"]:
            assert label["bbox"][0] + label["bbox"][2] <= 321
    doubtful = both()["uncertain"]["about"]
    assert any(0.1 <= label["score"] <= 0.99 for label in doubtful["labels"])
    assert list(doubtful["models"].values())
    revision = stage.push(document(assets / VIDEO, model, loop=True, privacy={"pictures": "device"}))
    assert stage.await_outcome(revision)["phase"] == "COMMITTED"
    settled = len(list(stage.api.fleet_events.pictures({})))
    before = stage.cameras()[CAMERA]["results"]
    wait_until(lambda: stage.cameras()[CAMERA]["results"] > before + 25, "frames")
    assert len(list(stage.api.fleet_events.pictures({}))) <= settled + 1  # one may have been on its way
