"""Sinks in a real pipeline process under a real agent: both brokers get their messages, no frame waits for a dead server."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import paho.mqtt.client as mqtt
import pytest

from tests.fakes.agent_rig import BASE, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM, Mosquitto
from tests.integration.sink_rig import Requests, requests

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
FPS, FRAMES = 10, 40


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        made.children_script = []
        yield made


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Mosquitto]:
    (tmp_path / "other").mkdir()
    broker = Mosquitto(tmp_path / "other")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "belt.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), number, np.uint8))
    writer.release()
    return path


class Ear:
    """Keeps what a broker passes on."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, str, bool]] = []
        self._ready = threading.Event()
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = lambda _c, _d, m: self.got.append(
            (m.topic, m.payload.decode(), bool(m.retain))
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def definition(*steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": list(steps),
        "outputs": [
            {"type": "JsonField", "name": step["name"], "selector": f"$steps.{step['name']}.*"}
            for step in steps
        ],
    }


def desired(made: Rig, video: Path, pictures: str, *steps: dict[str, Any]) -> dict[str, Any]:
    camera = {"source": str(video), "loop": True, "privacy": {"pictures": pictures}}
    return {
        "cameras": {"belt": camera},
        "workflows": {"w": {"digest": made.plane.add_workflow(definition(*steps))}},
        "pipelines": {"p": {"camera": "belt", "workflow": "w", "events": {"send": "none"}}},
        "settings": {"health_s": 1.0},
    }


def sinks(made: Rig) -> dict[str, Any]:
    found: dict[str, Any] = made.status()["health"]["cameras"]["belt"]["sinks"]
    return found


def test_messages_reach_both_brokers_and_events_bring_their_picture(
    made: Rig, other: Mosquitto, video: Path
) -> None:
    secrets = made.state_dir / "secrets"
    secrets.mkdir()
    (secrets / "line").write_text("p")
    (secrets / "line").chmod(0o600)
    ear = Ear(other.port)
    made.start()
    made.push(1, **desired(made, video, "fleet",
        {"type": "outrider/mqtt_publish@v1", "name": "own", "topic": "belt/state", "data": {"n": 1}, "cooldown_seconds": 1},
        {"type": "roboflow_enterprise/mqtt_writer_sink@v1", "name": "theirs", "host": "127.0.0.1", "port": other.port,
         "topic": "plant/line1", "message": "alive", "retain": True, "username": "u", "password": "secret:line"},
        {"type": "outrider/event_sink@v1", "name": "alarm", "data": {"why": "test"}, "image": "$inputs.image",
         "severity": "alarm", "cooldown_seconds": 1},
    ))  # fmt: skip
    made.observer.reported("COMMITTED", 1)
    event = made.observer.wait(lambda: made.observer.of("event"))[0]
    assert event["step"] == "alarm"
    assert event["outputs"] == {"why": "test", "severity": "alarm"}
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(event["picture"]["base64"]), np.uint8), 1)
    assert picture is not None
    assert picture.shape == (48, 64, 3)
    # What a workflow publishes is its own document, without an envelope: the observer keeps it as it came.
    own = made.observer.wait(lambda: [m for t, m in made.observer.messages if t == f"{BASE}/data/belt/state"])
    assert own[0] == {"n": 1}
    until(lambda: ear.got)
    assert ear.got[0][:2] == ("plant/line1", "alive")
    other.kill()
    time.sleep(1.0)
    other.start()
    before = len(ear.got)
    until(lambda: len(ear.got) > before + 10)
    assert until(lambda: f"127.0.0.1:{other.port}" in made.status()["health"]["relays"])
    ear.close()


def test_without_a_policy_no_picture_travels_in_an_event_in_whatever_form(made: Rig, video: Path) -> None:
    made.start()
    sink = {"type": "outrider/event_sink@v1", "name": "alarm", "data": {"n": 1}, "image": "$inputs.image"}
    text = {"type": "roboflow_core/property_definition@v1", "name": "text", "data": "$inputs.image",
            "operations": [{"type": "ConvertImageToBase64"}]}  # fmt: skip
    document = desired(made, video, "device", sink, text)
    document["pipelines"]["p"]["events"] = {"send": "every", "min_interval_s": 0.5}
    made.push(1, **document)
    told = made.observer.wait(lambda: _of_both(made))
    assert "picture" not in told["alarm"]
    assert told["alarm"]["outputs"]["n"] == 1
    assert told[""]["outputs"]["text"] == {"output": {"type": "image", "left_out": True}}
    assert "'device'" in told[""]["errors"]["privacy"]
    document["cameras"]["belt"]["privacy"]["pictures"] = "fleet"
    made.push(2, **document)
    made.observer.wait(
        lambda: [e for e in made.observer.of("event") if e["revision"] == 2 and "picture" in e]
    )
    last = made.observer.wait(
        lambda: [e for e in made.observer.of("event") if e["revision"] == 2 and "step" not in e]
    )[0]
    assert base64.b64decode(last["outputs"]["text"]["output"]).startswith(b"\xff\xd8\xff")


def _of_both(made: Rig) -> dict[str, Any]:
    """An event of the sink and one of the whole workflow, once both have come."""
    by_step = {event.get("step", ""): event for event in made.observer.of("event")}
    return by_step if len(by_step) == 2 else {}


def test_a_dead_server_costs_no_frame_and_the_process_ends_in_time(made: Rig, video: Path) -> None:
    with socket.socket() as silent, requests() as alive:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        made.start()
        hook: dict[str, Any] = {
            "type": "roboflow_core/webhook_sink@v1",
            "method": "POST",
            "cooldown_seconds": 0,
        }
        made.push(1, **desired(made, video, "device",
            {**hook, "name": "dead", "url": f"http://127.0.0.1:{silent.getsockname()[1]}", "request_timeout": 2},
            {**hook, "name": "alive", "url": alive.url, "json_payload": {"n": 1}},
            {"type": "outrider/file_sink@v1", "name": "log", "directory": "lines", "data": {"n": 1}},
        ))  # fmt: skip
        made.observer.reported("COMMITTED", 1)
        until(lambda: sinks(made)["alive"]["delivered"] > 30)
        camera = made.status()["health"]["cameras"]["belt"]
        assert camera["no_answer"] == {}
        assert camera["skipped"] == {}
        assert camera["results"] >= 30
        # A frame that waits for the dead server waits for 2 s.
        assert camera["fps"] > 0.5 * FPS
        assert camera["latency_p95_ms"] < 1000
        dead = camera["sinks"]["dead"]
        assert dead["delivered"] == 0
        assert dead["accepted"] == sum(dead[k] for k in ("dropped", "expired", "dead", "waiting"))
        started = time.monotonic()
        assert made.stop() == 0
        assert time.monotonic() - started < 8.0
    check_lines(made, alive)


def check_lines(made: Rig, alive: Requests) -> None:
    files = sorted((made.state_dir / "files" / "p" / "lines").glob("*.jsonl"))
    lines = [json.loads(line) for path in files for line in path.read_text().splitlines()]
    assert len(lines) >= 30
    assert {line["n"] for line in lines} == {1}
    assert all(json.loads(content) == {"n": 1} for _, _, _, content in alive.got)
