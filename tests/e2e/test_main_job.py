"""The main job: a camera through model and workflow to MQTT, and another model pushed while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outrider.demo.stage import Stage
from tests.e2e.conftest import CAMERA, MODEL_ID, VIDEO, document, wait_until
from tests.e2e.listener import Heard, Listener

FPS = 10.0
EVENTS_FIRST = 85
EVENTS_SECOND = 50
LEAVES = 197
"""The frame, give or take five, at which the first person has left; on a busy machine the models are switched later."""


def digest(stage: Stage, name: str) -> str:
    return next(str(model["digest"]) for model in stage.api.models() if model["name"] == name)


def body(heard: Heard) -> dict[str, Any]:
    return dict(heard.envelope["data"])


@pytest.mark.timeout(240)
def test_another_model_takes_over_mid_video_without_losing_a_frame(
    stage: Stage, listener: Listener, assets: Path
) -> None:
    video = assets / VIDEO
    first, second = digest(stage, "yolox_nano_416"), digest(stage, "nanodet_m_320")
    revision = stage.push(document(video, "yolox_nano_416", pace="realtime"))
    assert stage.await_outcome(revision)["phase"] == "COMMITTED"
    wait_until(lambda: len(listener.events()) >= EVENTS_FIRST, "events of the first model")

    revision = stage.push(document(video, "nanodet_m_320", pace="realtime"))
    reported = stage.await_outcome(revision)
    assert (reported["phase"], reported["revision"]) == ("COMMITTED", revision)
    switched = reported["swaps"][0]
    after = switched["first_frame_new"] + EVENTS_SECOND
    wait_until(
        lambda: max(body(e)["frame_seq"] for e in listener.events()) >= after, "events of the second model"
    )

    heard_so_far = listener.events()
    events = [body(heard) for heard in heard_so_far]
    frames = [event["frame_seq"] for event in events]
    assert frames == list(range(len(frames))), "every source frame has exactly one result, in order"
    models = [event["models"][MODEL_ID] for event in events]
    turn = switched["first_frame_new"]
    assert set(models[:turn]) == {first}
    assert set(models[turn:]) == {second}
    assert switched["frames_lost"] == 0
    assert {event["workflow"] for event in events} == {stage.api.workflows()[0]["digest"]}
    # The video's truth: nobody before frame 61 (66 less 5), somebody from frame 71 on.
    assert max(event["outputs"]["count"] for event in events[:55]) == 0
    present = [event["outputs"]["count"] for event in events[72 : min(turn, LEAVES - 5)]]
    assert len(present) > 10
    assert set(present) == {1}
    assert len({heard.envelope["id"] for heard in heard_so_far}) == len(events)

    health = listener.of_kind("health")[-1]["cameras"][CAMERA]
    assert health["state"] == "streaming"
    assert health["no_answer"] == {}
    assert health["blind_now"] is None
    stored = wait_until(
        lambda: (
            len(rows) >= EVENTS_FIRST and rows
            if (rows := stage.api.events(stage.device, limit=1000)[0])
            else None
        ),
        "events in the control plane",
    )
    ids = {row["id"] for row in stored}
    wait_until(lambda: ids <= {heard.envelope["id"] for heard in listener.events()}, "the same events heard")


@pytest.mark.timeout(240)
def test_nonsense_is_refused_with_its_reasons_and_the_old_state_keeps_serving(
    stage: Stage, listener: Listener, assets: Path
) -> None:
    from fleet.client import ApiError

    good = document(assets / VIDEO, "yolox_nano_416", pace="realtime", loop=True)
    revision = stage.push(good)
    assert stage.await_outcome(revision)["phase"] == "COMMITTED"
    wait_until(lambda: len(listener.events()) > 5, "events")

    broken = document(assets / VIDEO, "yolox_nano", source="gopher://x")
    broken["pipelines"][CAMERA]["workflow"] = "cuont"
    with pytest.raises(ApiError) as refused:
        stage.push(broken)
    assert {problem.path for problem in refused.value.problems} >= {
        "cameras.door.source",
        "models.detector",
        "pipelines.door.workflow",
    }
    # An engine that cannot run here is refused by the device itself.
    unable = document(assets / VIDEO, "nanodet_m_320", pace="realtime", loop=True)
    unable["models"]["detector"]["engine"] = {"engine": "tensorrt"}
    refused_at = stage.push(unable)
    reported = stage.await_outcome(refused_at)
    assert (reported["phase"], reported["revision"]) == ("REJECTED", revision)
    assert reported["reason"] in ("engine-unavailable", "driver-absent")
    assert "tensorrt" in reported["message"] or "NVIDIA driver" in reported["message"]
    seen = len(listener.events())
    wait_until(lambda: len(listener.events()) > seen + 5, "the old state keeps serving")
    assert listener.events()[-1].envelope["data"]["models"][MODEL_ID] == digest(stage, "yolox_nano_416")
    # A camera that is not there is no reason to refuse: the pipeline says so, keeps trying, and the other one goes on.
    more = document(assets / VIDEO, "yolox_nano_416", pace="realtime", loop=True)
    more["cameras"]["gone"] = {"source": "rtsp://user:secret@127.0.0.1:9/none"}
    more["pipelines"]["gone"] = {**more["pipelines"][CAMERA], "camera": "gone"}
    revision = stage.push(more)
    assert stage.await_outcome(revision)["revision"] == revision

    def blind() -> Any:
        camera = stage.cameras().get("gone", {})
        return (camera.get("blind_now") or {}).get("cause") == "camera-unreachable"

    wait_until(blind, "the absent camera is told as blind with its cause")
    seen = len(listener.events())
    wait_until(lambda: len(listener.events()) > seen + 10, "the other camera goes on")
    everything = str([heard.envelope for heard in listener.heard if not heard.topic.endswith("desired")])
    assert "secret" not in everything
    assert "secret" not in stage.processes.log("agent").read_text()
