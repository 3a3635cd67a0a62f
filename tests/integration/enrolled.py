"""A device that has enrolled by the agent's own code: its HTTPS and MQTT sides with its certificate."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from paho.mqtt.client import Client as Paho
from paho.mqtt.client import MQTTProtocolVersion
from paho.mqtt.enums import CallbackAPIVersion

from agent.clock import SystemClock
from agent.enrol import enrol
from agent.keys import FileKeys
from agent.tls import SignedTokens, Trust
from tests.integration.fleet_stand import Device, Stand, eventually

CLOCK = SystemClock(assume_synced=True)


class Enrolled:
    """A device that has enrolled by the agent's own code, with its state directory."""

    def __init__(self, stand: Stand, directory: Path, name: str, replace: bool = False) -> None:
        directory.mkdir(exist_ok=True)
        with stand.client() as client:
            self.token = client.create_enrolment_token(device=name, replace=replace)["token"]
        self.directory = directory
        self.who = asyncio.run(enrol(stand.url, self.token, directory, CLOCK))
        self.keys = FileKeys(directory)
        self.trust = Trust(self.who.authority, self.keys, CLOCK)

    def mqtt(self) -> Mqtt:
        return Mqtt(self)

    def websocket(self) -> Mqtt:
        """By the WebSocket that enrolment has named."""
        return Mqtt(self, self.who.broker.websocket)

    def client(self, *, certificate: bool = True, tokens: bool = True) -> httpx.Client:
        context = self.trust.context if certificate else ssl.create_default_context(cadata=self.who.authority)
        auth = SignedTokens(self.who.device, self.keys, CLOCK) if tokens else None
        return httpx.Client(base_url=self.who.url, verify=context, auth=auth, timeout=30)


class Mqtt(Device):
    """The device's protocol side, which shows its certificate."""

    def __init__(self, enrolled: Enrolled, websocket: str = "") -> None:
        who = enrolled.who
        self._websocket = websocket
        broker = who.broker.to_json()
        if websocket:
            broker["port"] = urlsplit(websocket).port
        super().__init__({"fleet": who.fleet, "device": who.device, "broker": broker})
        self.mqtt.username_pw_set(who.device)
        self.mqtt.tls_set_context(enrolled.trust.context)
        self.refused = ""

    def _make(self) -> Paho:
        way = "websockets" if self._websocket else "tcp"
        return Paho(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, transport=way)

    def try_connect(self) -> str:
        """Why the broker refuses; empty where it does not."""
        refused: list[str] = []
        self.mqtt.on_disconnect = lambda _c, _u, _f, code, _p: refused.append(str(code))
        try:
            self.mqtt.connect(self.identity["broker"]["host"], self.identity["broker"]["port"])
        except (OSError, ssl.SSLError) as e:
            return str(e)
        self.mqtt.loop_start()
        try:
            eventually(lambda: self._connected or refused)
        finally:
            self.mqtt.disconnect()
            self.mqtt.loop_stop()
        return refused[0] if not self._connected else ""
