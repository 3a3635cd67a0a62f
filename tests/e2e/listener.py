"""An integrator's MQTT client: logs in to the broker as a reader and keeps every message with the time of its arrival."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

NAME = "tests"
PASSWORD = "a password only for tests"


@dataclass
class Heard:
    """One message. `at_mono` is when it arrived."""

    topic: str
    envelope: dict[str, Any]
    at_mono: float


@dataclass
class Listener:
    """Subscribes to everything of the fleet with a session of its own, so that nothing is missed while it is away."""

    host: str
    port: int
    fleet: str = "demo"
    heard: list[Heard] = field(default_factory=list)

    def start(self) -> Listener:
        self._subscribed = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, "listener", protocol=mqtt.MQTTv5)
        self._client.username_pw_set(f"_reader.{NAME}", PASSWORD)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._message
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = 3600
        self._client.connect(self.host, self.port, clean_start=False, properties=session)
        self._client.loop_start()
        assert self._subscribed.wait(10.0), "the broker did not take the subscription"
        return self

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def events(self) -> list[Heard]:
        return [heard for heard in list(self.heard) if "/event/" in heard.topic]

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """The data of every message whose topic ends with this kind."""
        return [heard.envelope["data"] for heard in list(self.heard) if heard.topic.endswith(f"/{kind}")]

    def _connected(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe(f"outrider/1/{self.fleet}/#", qos=1)

    def _message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append(Heard(message.topic, json.loads(message.payload), time.monotonic()))
