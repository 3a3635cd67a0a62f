"""The demo's broker: the same logins and topic rules where no mosquitto is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client as Mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.integration.fleet_stand import Device, Stand, eventually

pytest.importorskip("amqtt")


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    running = Stand(tmp_path / "data", broker="amqtt")
    yield running
    assert running.stop() == 0


class OldDevice(Device):
    """A device that speaks MQTT 3.1.1."""

    def _make(self) -> Mqtt:
        return Mqtt(CallbackAPIVersion.VERSION2)


def test_device_gets_its_desired_state_and_sends_events(stand: Stand) -> None:
    a, b = stand.enrol("a"), stand.enrol("b")
    with OldDevice(a) as device, OldDevice(b) as other, stand.client() as client:
        device.subscribe(device.topics.desired)
        other.subscribe(device.topics.desired)
        assert client.set_desired("a", {})["published"]
        assert device.next_message()[0] == device.topics.desired
        other.event("door", 0, "own")
        other.publish(device.topics.event("door"), {}, "foreign")
        device.event("door", 1, "e-1")
        eventually(lambda: client.events("a")[0] and client.events("b")[0])
        assert [event["id"] for event in client.events("a")[0]] == ["e-1"]
        assert other.received.empty()


def test_wrong_password_is_not_let_in(stand: Stand) -> None:
    identity = stand.enrol("a")
    device = OldDevice({**identity, "broker": {**identity["broker"], "password": "guess"}})
    refused: list[bool] = []
    device.mqtt.on_connect = lambda _c, _u, _f, code, _p: refused.append(code.is_failure)
    device.mqtt.connect(identity["broker"]["host"], identity["broker"]["port"])
    device.mqtt.loop_start()
    try:
        assert eventually(lambda: refused)[0]
    finally:
        device.mqtt.disconnect()
        device.mqtt.loop_stop()
