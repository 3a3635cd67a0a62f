"""An agent of wire 0.1.0 still works: the bytes it sent then are understood, and what it is sent fits what it read then.

`tests/contract/wire_0_1_0` holds messages as that version encoded them, and the schemas of the documents that it read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from tests.integration.fleet_stand import Device, Stand, eventually, package
from wire import envelope

pytestmark = pytest.mark.usefixtures("mosquitto")

STORED = Path(__file__).parents[1] / "contract" / "wire_0_1_0"


def stored(name: str) -> bytes:
    return (STORED / f"{name}.json").read_bytes()


def fits(document: object, name: str) -> None:
    jsonschema.validate(document, json.loads(stored(f"{name}.schema")))


def opened(payload: bytes) -> dict[str, Any]:
    """What is in a signed document, as the old agent reads it; the signature is checked elsewhere."""
    message = json.loads(payload)
    assert (message["v"], set(message["data"])) == (1, {"payload", "payloadType", "signatures"})
    return dict(json.loads(base64.b64decode(message["data"]["payload"])))


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("old") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def identity(stand: Stand) -> dict[str, Any]:
    with stand.client() as client:
        token = client.create_enrolment_token()["token"].partition(".")[0]
    request = stored("enrol-request").replace(b"TOKEN-IS-PUT-HERE", token.encode())
    answer = httpx.post(f"{stand.url}/api/v1/enroll", content=request)
    assert answer.status_code == 201, answer.text
    fits(answer.json(), "enrol-response")
    return dict(answer.json())


def test_what_it_says_is_understood(stand: Stand, identity: dict[str, Any]) -> None:
    assert identity["device"] == "old"
    with Device(identity) as device, stand.client() as client:
        topics = device.topics
        device.publish_bytes(topics.conn, stored("conn-online"), retain=True)
        device.publish_bytes(topics.reported, stored("reported"), retain=True)
        device.publish_bytes(topics.health, stored("health"))
        device.publish_bytes(topics.event("door"), stored("event"))
        eventually(lambda: client.events("old")[0])
        shown = client.device("old")
        assert (shown["presence"], shown["agent_version"], shown["labels"]) == (
            "online",
            "0.1.0",
            {"site": "a"},
        )
        assert (shown["revision"], shown["phase"], shown["reason"]) == (3, "REJECTED", "model-load-failed")
        assert shown["health"] == envelope.decode(stored("health")).data
        (point,) = client.health_history("old")
        assert (point["revision"], point["figures"]["cameras"]["door"]["blind_s"]) == (3, 1.5)
        (event,) = client.events("old")[0]
        assert (event["frame_seq"], event["data"]["outputs"]) == (42, {"count": 2, "who": "señor"})
        device.publish_bytes(topics.conn, stored("conn-offline"), retain=True)
        eventually(lambda: client.device("old")["presence"] == "offline")
        assert client.health()["ingest"]["refused"] == {}


def test_it_reads_its_desired_state_and_fetches_what_that_needs(
    stand: Stand, identity: dict[str, Any]
) -> None:
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    httpx.post(f"{stand.url}/api/v1/models", content=package("old"), headers=headers, timeout=60)
    content = json.dumps({"uses": ["det"]})
    httpx.post(
        f"{stand.url}/api/v1/workflows", params={"name": "w"}, content=content, headers=headers, timeout=60
    )
    document = {
        "cameras": {"door": {"source": "rtsp://10.0.0.7/a"}},
        "models": {"m": {"model": "old", "engine": {"threads": 2}}},
        "workflows": {"w": "w"},
        "pipelines": {"door": {"camera": "door", "workflow": "w", "models": {"det": "m"}}},
        "schedules": {},
        "settings": {},
    }
    with Device(identity) as device, stand.client() as client:
        client.set_desired("old", document)
        device.subscribe(device.topics.desired)
        pushed = opened(device.next_message()[1])
    fits(pushed, "desired")
    polled = stand.get("/api/v1/device/desired", identity["api_token"])
    assert json.loads(base64.b64decode(polled.json()["payload"])) == pushed
    path = f"/api/v1/device/objects/{pushed['models']['m']['digest']}"
    manifest = stand.get(path, identity["api_token"])
    assert manifest.status_code == 200
    part = stand.get(path, identity["api_token"], Range="bytes=5-")
    assert (part.status_code, part.content) == (206, manifest.content[5:])


def test_it_answers_a_command(stand: Stand, identity: dict[str, Any]) -> None:
    with Device(identity) as device, stand.client() as client:
        device.subscribe(device.topics.commands)
        device.mqtt.on_message = lambda _c, _u, message: _answer(device, message.payload)
        answer = client.command("old", "ping", {"n": 1})
    assert (answer["ok"], answer["result"]) == (True, {"pong": 1})


def _answer(device: Device, payload: bytes) -> None:
    asked = opened(payload)
    fits(asked, "command")
    rid = asked["rid"]
    device.mqtt.publish(device.topics.response(rid), stored("response").replace(b"RID", rid.encode()), 1)
