"""A stage with a real mosquitto for the tests, and the two detectors packed once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.demo.stage import Stage
from tests.e2e.listener import NAME, PASSWORD, Listener
from tests.fakes.updates import SOON
from tests.integration.test_clips import EVENT

CAMERA = "door"
MODEL_ID = "people/1"
WORKFLOW = Path(__file__).resolve().parents[2] / "examples" / "workflows" / "count_people.json"
VIDEO = "video/one-by-one-person-detection.mp4"


@pytest.fixture
def stage(mosquitto: str, tmp_path: Path, packages: dict[str, Path]) -> Iterator[Stage]:
    """Control plane, broker and an enrolled agent, up and connected, with both models and the workflow registered."""
    stage = Stage(tmp_path / "stage")
    try:
        stage.start_plane({NAME: PASSWORD})
        stage.enrol()
        stage.start_agent()
        for name, folder in packages.items():
            stage.api.upload_model(folder, name=name)
        stage.api.upload_workflow(WORKFLOW, name="count_people")
        yield stage
    finally:
        stage.stop()
        for log in sorted(stage.logs.iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


@pytest.fixture
def bare_stage(mosquitto: str, tmp_path: Path) -> Iterator[Stage]:
    """The same without models; its workflow `tell` sends an event with a clip."""
    stage = Stage(tmp_path / "stage")
    workflow = tmp_path / "workflow.json"
    workflow.write_text(json.dumps(EVENT))
    try:
        stage.start_plane({NAME: PASSWORD})
        stage.enrol()
        stage.start_agent()
        stage.api.upload_workflow(workflow, name="tell")
        yield stage
    finally:
        stage.stop()
        for log in sorted(stage.logs.iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


@pytest.fixture
def listener(stage: Stage) -> Iterator[Listener]:
    listener = Listener(stage.plane["broker_host"], stage.plane["broker_port"]).start()
    yield listener
    listener.stop()


def document(video: Path, model: str, **camera: Any) -> dict[str, Any]:
    """A desired state: one camera over the video, every result an event."""
    return {
        "cameras": {CAMERA: {"source": str(video), **camera}},
        "models": {"detector": {"model": model}},
        "workflows": {"count": {"workflow": "count_people"}},
        "pipelines": {
            CAMERA: {
                "camera": CAMERA,
                "workflow": "count",
                "models": {MODEL_ID: "detector"},
                "events": {"send": "every", "min_interval_s": 0},
            }
        },
        "settings": {"health_s": 1, "update": SOON},
    }


def wait_until(probe: Callable[[], Any], what: str, deadline_s: float = 60.0) -> Any:
    """The first true answer of the probe."""
    end_mono = time.monotonic() + deadline_s
    while time.monotonic() < end_mono:
        if answer := probe():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {deadline_s:.0f} s")
