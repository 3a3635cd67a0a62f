"""Home Assistant and Sparkplug B from a real control plane to a real mosquitto of somebody else, read there by somebody who knows only the
specifications."""

from __future__ import annotations

import json
import re
import struct
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import paho.mqtt.client as mqtt
import pytest

from tests.fakes.mosquitto import PROGRAM, Mosquitto
from tests.integration.fleet_stand import Device, Stand, event_body, eventually

pytestmark = [
    pytest.mark.usefixtures("mosquitto"),
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
]

HEALTH = {
    "revision": 1, "agent_uptime_s": 5, "outbox": {"rows": 2, "bytes": 10},
    "host": {"uptime_s": 1, "cpu_percent": 12.5, "cpu_count": 2, "load_1m": 0, "memory_total_bytes": 1, "temperature_celsius": 51.5,
             "memory_available_bytes": 1, "disk_total_bytes": 1, "disk_free_bytes": 1},
    "cameras": {"gate": {"state": "streaming", "pipeline": "p", "fps": 10.0, "blind_hour_s": {"camera-lost": 4.0}}},
}  # fmt: skip


class Ear:
    """Everything that a broker passes on, in order."""

    def __init__(self, port: int) -> None:
        self.got: list[tuple[str, bytes]] = []
        ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = lambda _c, _d, m: self.got.append((m.topic, m.payload))
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def last(self, topic: str) -> bytes:
        return next((payload for t, payload in reversed(self.got) if t == topic), b"")

    def json(self, topic: str) -> dict[str, Any]:
        return dict(json.loads(self.last(topic) or b"{}"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    running = Mosquitto(tmp_path_factory.mktemp("theirs"))
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def ear(broker: Mosquitto) -> Iterator[Ear]:
    ear = Ear(broker.port)
    yield ear
    ear.client.disconnect()
    ear.client.loop_stop()


@pytest.fixture(scope="module")
def stand(broker: Mosquitto, ear: Ear, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    address = {"broker": f"mqtt://127.0.0.1:{broker.port}", "selector": "site!=hidden"}
    more = {"homeassistant": address, "sparkplug": {**address, "node": "plane"}}
    running = Stand(tmp_path_factory.mktemp("bridges") / "data", more=more)
    yield running
    running.kill()


@pytest.fixture(scope="module")
def device(stand: Stand, ear: Ear) -> Iterator[Device]:
    """A device with a camera that has told a count."""
    with stand.client() as client, Device(stand.enrol("e.1")) as device:
        stand.enrol("secret")
        client.set_labels("secret", {"site": "hidden"})
        client.set_labels("e.1", {"site": "Lyon"})
        device.publish(device.topics.conn, {"state": "online", "agent_version": "1.2"}, retain=True)
        device.publish(device.topics.health, HEALTH)
        found = {"image": {"width": 1, "height": 1}, "predictions": [{"class": "a"}, {"class": "b"}]}
        body = {
            **event_body("gate", 1),
            "outputs": {"count": 3, "open": True, "found": found, "bad name'": 1},
        }
        device.publish(device.topics.event("gate"), body, "x-1")
        eventually(lambda: b"count" in ear.last("homeassistant/device/outrider-lab-e_d1-gate/config"))
        yield device


TOPIC = {"type": "string", "pattern": r"^[^+#]+$", "minLength": 1}
TEXT = {"type": "string", "minLength": 1}
COMMON = {"platform": {}, "name": TEXT, "unique_id": TEXT, "entity_category": {"enum": ["diagnostic", "config"]},
          "json_attributes_topic": TOPIC, "json_attributes_template": TEXT}  # fmt: skip
CLASSES = {
    "sensor": ["temperature", "data_size", "duration"],
    "binary_sensor": ["problem", "running", "connectivity"],
}
UNITS = {
    "temperature": ["°C", "°F", "K"],
    "data_size": ["B", "kB", "MB", "GB", "MiB"],
    "duration": ["d", "h", "min", "s", "ms"],
}


def component(platform: str, required: list[str], more: dict[str, Any]) -> dict[str, Any]:
    return {
        "if": {"properties": {"platform": {"const": platform}}},
        "then": {"properties": {**COMMON, **more}, "required": ["platform", "unique_id", *required], "additionalProperties": False},
    }  # fmt: skip


SENSOR = {"value_template": TEXT, "device_class": {"enum": CLASSES["sensor"]}, "unit_of_measurement": TEXT,
          "state_class": {"enum": ["measurement", "total", "total_increasing"]}}  # fmt: skip
DISCOVERY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["device", "origin", "components"],
    "properties": {
        "device": {
            "type": "object", "additionalProperties": False, "required": ["identifiers"],
            "properties": {"identifiers": {"type": "array", "items": TEXT, "minItems": 1}, **dict.fromkeys(
                ("name", "manufacturer", "model", "sw_version", "hw_version", "serial_number", "suggested_area", "via_device",
                 "configuration_url"), TEXT)},
        },
        "origin": {"type": "object", "additionalProperties": False, "required": ["name"],
                   "properties": {"name": TEXT, "sw_version": TEXT, "support_url": {"type": "string", "pattern": "^https?://"}}},
        "availability": {"type": "array", "items": {"type": "object", "required": ["topic"], "additionalProperties": False,
                         "properties": {"topic": TOPIC, "payload_available": TEXT, "payload_not_available": TEXT}}},
        "availability_mode": {"enum": ["all", "any", "latest"]},
        "state_topic": TOPIC,
        "components": {
            "type": "object", "minProperties": 1,
            "additionalProperties": {
                "type": "object", "required": ["platform"],
                "properties": {"platform": {"enum": ["sensor", "binary_sensor", "camera"]}},
                "allOf": [
                    component("sensor", ["value_template"], SENSOR),
                    component("binary_sensor", ["value_template"], {"value_template": TEXT, "device_class": {"enum": CLASSES["binary_sensor"]}}),
                    component("camera", ["topic"], {"topic": TOPIC}),
                ],
            },
        },
    },
}  # fmt: skip
"""What the documentation of MQTT discovery and of the three kinds of entities knows, written out of it; a key that is not known is ignored by
Home Assistant, and here refused."""


def test_home_assistant_gets_devices_cameras_counts_and_faults(
    stand: Stand, ear: Ear, device: Device
) -> None:
    topics = [topic for topic, _ in ear.got if topic.startswith("homeassistant/")]
    assert set(topics) == {f"homeassistant/device/outrider-lab-e_d1{part}/config" for part in ("", "-gate")}
    documents = {topic: ear.json(topic) for topic in set(topics)}
    ids: list[str] = []
    for topic, document in documents.items():
        jsonschema.validate(document, DISCOVERY)
        assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", topic)
        assert {each["topic"] for each in document["availability"]} == {
            "outrider/lab/status", "outrider/lab/e.1/availability"}  # fmt: skip
        for part in document["components"].values():
            ids.append(part["unique_id"])
            if kind := part.get("device_class"):
                assert part.get("unit_of_measurement") in UNITS.get(kind, [None])
    assert len(ids) == len(set(ids))
    camera = documents["homeassistant/device/outrider-lab-e_d1-gate/config"]
    assert camera["device"]["via_device"] == "outrider-lab-e_d1"
    assert camera["device"]["suggested_area"] == "Lyon"
    assert {"output-count", "output-open", "output-found"} <= set(camera["components"])
    assert not any("bad" in name for name in camera["components"])
    assert camera["components"]["output-open"]["platform"] == "binary_sensor"
    state = eventually(lambda: ear.json("outrider/lab/e.1/gate/state"))
    assert state["outputs"] == {"count": 3, "open": True, "found": 2}
    assert (state["state"], state["fps"], state["faults"], state["blind_hour_s"]) == (
        "streaming",
        10.0,
        [],
        4.0,
    )
    assert ear.json("outrider/lab/e.1/state")["host"]["temperature_celsius"] == 51.5
    assert (ear.last("outrider/lab/status"), ear.last("outrider/lab/e.1/availability")) == (
        b"online",
        b"online",
    )


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def fields(data: bytes) -> list[tuple[int, Any]]:
    """A protobuf message as it lies on the wire: number and raw value of each field."""
    found, at = [], 0
    while at < len(data):
        key, at = varint(data, at)
        value: Any
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 1:
            value, at = data[at : at + 8], at + 8
        else:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        found.append((key >> 3, value))
    return found


def payload(data: bytes) -> tuple[dict[str, Any], int | None]:
    """Metrics by name and the sequence number, by the numbers in the specification's schema (6.4.1)."""
    metrics, seq = {}, None
    for number, value in fields(data):
        if number == 3:
            seq = value
        if number == 2:
            metric = dict(fields(value))
            kind = metric[4]
            assert set(metric) >= {1, 3, 4}
            shown = {4: lambda m: m[11], 10: lambda m: struct.unpack("<d", m[13])[0], 11: lambda m: bool(m[14]),
                     12: lambda m: m[15].decode()}  # fmt: skip
            metrics[metric[1].decode()] = shown[kind](metric)
    return metrics, seq


def told(ear: Ear) -> list[tuple[str, dict[str, Any], int | None]]:
    """Messages of Sparkplug in order: `NBIRTH`, `DDATA e.1`, …"""
    found = []
    for topic, content in list(ear.got):
        if topic.startswith("spBv1.0/") and "/NCMD/" not in topic:
            _, group, kind, node, *rest = topic.split("/")
            assert (group, node) == ("lab", "plane")
            found.append((" ".join([kind, *rest]), *payload(content)))
    return found


def sessions(ear: Ear) -> list[list[tuple[str, dict[str, Any], int | None]]]:
    """From each NBIRTH to the next."""
    found: list[list[Any]] = []
    for message in told(ear):
        if message[0] == "NBIRTH":
            found.append([])
        found[-1].append(message)
    return found


def test_sparkplug_keeps_to_births_numbers_and_deaths(stand: Stand, ear: Ear, device: Device) -> None:
    eventually(lambda: any(m[0] == "DBIRTH e.1" and "Cameras/gate/Outputs/count" in m[1] for m in told(ear)))
    device.publish(device.topics.health, {**HEALTH, "host": {**HEALTH["host"], "cpu_percent": 99.0}})  # type: ignore[dict-item]
    data = eventually(lambda: [m for m in told(ear) if m[0] == "DDATA e.1" and "Host/cpu_percent" in m[1]])[
        -1
    ]
    assert data[1] == {"Host/cpu_percent": 99.0}
    assert not [m for m in told(ear) if "secret" in m[0]]
    ear.client.publish("spBv1.0/lab/NCMD/plane", rebirth())
    eventually(lambda: len(sessions(ear)) == 2 and sessions(ear)[1][1:])
    first, second = sessions(ear)
    assert second[0][1]["bdSeq"] == first[0][1]["bdSeq"]
    assert second[1][0] == "DBIRTH e.1"
    assert second[1][1]["Cameras/gate/Outputs/count"] == 3.0
    assert second[1][1]["Host/cpu_percent"] == 99.0
    device.publish(device.topics.conn, {"state": "offline"}, retain=True)
    eventually(lambda: any(m[0] == "DDEATH e.1" for m in sessions(ear)[1]))
    device.publish(device.topics.conn, {"state": "online"}, retain=True)
    eventually(lambda: sessions(ear)[1][-1][0] == "DBIRTH e.1")
    for session in sessions(ear):
        assert [seq for _, _, seq in session] == [n % 256 for n in range(len(session))]
        assert session[0][1]["Node Control/Rebirth"] is False
        born: dict[str, set[str]] = {}
        for what, metrics, _ in session[1:]:
            kind, name = what.split()
            if kind == "DBIRTH":
                born[name] = set(metrics)
            elif kind == "DDATA":
                assert set(metrics) <= born[name]
            else:
                assert (kind, metrics) == ("DDEATH", {})
                del born[name]


def rebirth() -> bytes:
    """`Node Control/Rebirth` = true, by hand."""
    name = b"Node Control/Rebirth"
    metric = bytes([0x0A, len(name)]) + name + bytes([0x20, 11, 0x70, 1])
    return bytes([0x12, len(metric)]) + metric


def test_a_control_plane_that_is_killed_is_told_of_by_its_last_wills(
    stand: Stand, ear: Ear, device: Device
) -> None:
    before = len(told(ear))
    number = sessions(ear)[-1][0][1]["bdSeq"]
    stand.kill()
    death = eventually(lambda: told(ear)[before:])
    assert death[-1] == ("NDEATH", {"bdSeq": number}, None)
    eventually(lambda: ear.last("outrider/lab/status") == b"offline")
    stand.start()
    born = eventually(lambda: [m for m in told(ear)[before:] if m[0] == "NBIRTH"])
    assert born[0][1]["bdSeq"] == (number + 1) % 256
    eventually(lambda: ear.last("outrider/lab/status") == b"online")
    before = len(told(ear))
    assert stand.stop() == 0
    death = ("NDEATH", {"bdSeq": (number + 1) % 256}, None)
    eventually(lambda: told(ear)[before:][-1:] == [death])
    eventually(lambda: ear.last("outrider/lab/status") == b"offline")
