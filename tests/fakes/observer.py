"""The control plane's ear: an MQTT client that keeps what a device sends, and publishes to it."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt

from wire.envelope import Envelope
from wire.topics import ROOT


class Observer:
    """Subscribed to everything under the fleet; `messages` are (topic, envelope as a dict), in order."""

    def __init__(self, port: int, fleet: str = "f", *, name: str = "") -> None:
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self._port = port
        self._filter = f"{ROOT}/{fleet}/#"
        self._arrived = threading.Condition()
        self._ready = threading.Event()
        self._client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            name or f"observer-{uuid.uuid4().hex[:8]}",
            clean_session=not name,
        )
        self._client.on_connect = lambda client, *_: client.subscribe(self._filter, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)

    def start(self) -> None:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._ready.wait(10), "the observer is not subscribed"

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, data: dict[str, Any], *, retain: bool = True) -> None:
        payload = Envelope(uuid.uuid4().hex, time.time(), "test", 1, data).encode()
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def publish_raw(self, topic: str, payload: bytes) -> None:
        self._client.publish(topic, payload, qos=1, retain=False).wait_for_publish(10)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of the messages whose topic's kind (after fleet and device) is this."""
        with self._arrived:
            return [body["data"] for topic, body in self.messages if topic.split("/")[4] == kind]

    def wait(self, wanted: Callable[[], Any], timeout_s: float = 30.0) -> Any:
        """The first true value of `wanted`, asked at each message."""
        deadline_mono = time.monotonic() + timeout_s
        while True:
            if found := wanted():
                return found
            left_s = deadline_mono - time.monotonic()
            if left_s <= 0:
                raise AssertionError(f"it did not come; last reported: {self.of('reported')[-1:]}")
            with self._arrived:
                self._arrived.wait(min(left_s, 0.2))

    def reported(self, phase: str, revision: int, timeout_s: float = 30.0) -> dict[str, Any]:
        """The first reported state of this phase and offered revision."""

        def found() -> dict[str, Any] | None:
            for data in self.of("reported"):
                if data["phase"] == phase and data["offered"] == revision:
                    return data
            return None

        document: dict[str, Any] = self.wait(found, timeout_s)
        return document

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        with self._arrived:
            try:
                self.messages.append((message.topic, json.loads(message.payload)))
            except ValueError:
                return
            self._arrived.notify_all()
