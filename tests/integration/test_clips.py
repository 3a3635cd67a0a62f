"""Clips of a real network camera: from the ring of its pipeline to the local interface, to a browser's format, under its policy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agent_rig import BASE, DEVICE, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM
from tests.faults.camera_yard import Server, programmes, why_not
from wire import command

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")

CLIPS = {"seconds": 6, "fps": 5, "width_px": 320}
LEFT_HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
EVENT = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [
        {
            "type": "outrider/event_sink@v1",
            "name": "tell",
            "data": {"what": "a visitor"},
            "clip_before": 3,
            "clip_after": 1,
            "cooldown_seconds": 600,
        }
    ],
    "outputs": [],
}


@pytest.fixture(scope="module")
def server(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("clips")
    server = Server(programmes(assets / "video" / "one-by-one-person-detection.mp4", folder))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, real=True, silent_s=10.0, switch_deadline_s=20.0) as made:
        made.start()
        yield made


def define(made: Rig, server: Server, revision: int, **camera: Any) -> None:
    workflow = made.plane.add_workflow(EVENT)
    made.push(
        revision,
        cameras={"gate": {"source": server.url("a"), **camera}},
        workflows={"w": {"digest": workflow}},
        pipelines={"gate": {"camera": "gate", "workflow": "w", "events": {"send": "none"}}},
    )
    made.observer.reported("COMMITTED", revision, 60.0)
    until(lambda: made.status()["health"]["cameras"]["gate"]["results"] > 30, 60.0)


def probed(content: bytes, path: Path) -> dict[str, Any]:
    """The film as ffprobe reads it."""
    path.write_bytes(content)
    entries = "stream=codec_name,width,height,nb_read_frames:format=format_name,duration"
    command = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "json", str(path)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {**told["format"], **told["streams"][0]}


def brightness(path: Path) -> tuple[float, float]:
    """Of the left and the right half of the last picture."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-sseof", "-0.5", "-i", str(path), "-update", "1", "-vf", "scale=320:180",
         "-f", "rawvideo", "-pix_fmt", "gray", "-"],
        check=True, capture_output=True,
    ).stdout[-320 * 180 :]  # fmt: skip
    rows = [raw[i : i + 320] for i in range(0, len(raw), 320)]
    left = [sum(row[:150]) / 150 for row in rows]
    right = [sum(row[170:]) / 150 for row in rows]
    return sum(left) / len(left), sum(right) / len(right)


def ask(made: Rig, rid: str, **arguments: Any) -> dict[str, Any]:
    request = command.Command(
        device=DEVICE, name="clip", rid=rid, issued_at=1.0, expires_at=4e9, arguments=arguments
    )
    made.observer.publish(f"{BASE}/cmd/clip", command.sign(request, made.plane.key), retain=False)
    answers = made.observer
    return dict(answers.wait(lambda: next((r for r in answers.of("rsp") if r["rid"] == rid), None)))


def test_an_event_carries_the_id_of_a_clip_that_shows_what_was_before_and_after(
    made: Rig, server: Server, tmp_path: Path
) -> None:
    define(made, server, 1, clips=CLIPS, privacy={"masks": [LEFT_HALF]})
    event = made.observer.wait(lambda: made.observer.of("event"))[0]
    assert event["clip"]
    # The first frame has nothing before it; what came after is there.
    kept = until(lambda: made.get("/clips").json()["clips"])
    assert [clip["id"] for clip in kept] == [event["clip"]]
    assert (kept[0]["camera"], kept[0]["event"], kept[0]["upload"]) == ("gate", True, "no")
    answer = made.get(f"/clips/{event['clip']}")
    assert answer.headers["content-type"] == "video/webm"
    found = probed(answer.content, tmp_path / "event.webm")
    assert (found["codec_name"], found["width"], found["height"]) == ("vp8", 320, 180)

    asked = made.get("/cameras/gate/clip?seconds=4")
    found = probed(asked.content, tmp_path / "asked.webm")
    assert 6 <= int(found["nb_read_frames"]) <= 24
    assert 1.5 < float(found["duration"]) < 5.0
    left, right = brightness(tmp_path / "asked.webm")
    assert left < 20 < right, "the mask is in the clip"
    assert len(made.get("/clips").json()["clips"]) == 2
    assert made.get("/cameras/gate/clip?seconds=x").status_code == 400
    assert made.get("/clips/none").status_code == 404
    out = tmp_path / "by-hand.webm"
    told = subprocess.run(
        [sys.executable, "-m", "outrider", "camera", "clip", "gate", "--seconds", "2", "--out", str(out)],
        env={**os.environ, "OUTRIDER_RUN_DIR": str(made.run_dir), "OUTRIDER_STATE_DIR": str(made.state_dir)},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert probed(out.read_bytes(), out)["codec_name"] == "vp8"
    # The policy lets no picture reach the fleet.
    refused = ask(made, "c1", camera="gate", seconds=3)
    assert (refused["ok"], refused["reason"]) == (False, "picture-withheld")


@pytest.mark.parametrize(
    ("camera", "status", "reason"),
    [
        ({}, 404, "clip-empty"),
        ({"clips": CLIPS, "privacy": {"pictures": "none"}}, 403, "picture-withheld"),
        ({"clips": CLIPS, "privacy": {"blurred_classes": ["face"]}}, 403, "picture-withheld"),
    ],
    ids=["not-kept", "no-pictures", "cannot-be-blurred"],
)
def test_no_clip_without_a_policy_that_allows_it(
    made: Rig, server: Server, camera: dict[str, Any], status: int, reason: str
) -> None:
    define(made, server, 1, **camera)
    event = made.observer.wait(lambda: made.observer.of("event"))[0]
    answer = made.get("/cameras/gate/clip?seconds=3")
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert made.get("/clips").json()["clips"] == []
    assert not list((made.state_dir / "clips").glob("*.webm"))
    if "blurred_classes" not in camera.get("privacy", {}):
        assert not event.get("clip")
