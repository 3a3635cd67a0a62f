"""A device that has enrolled by the agent's own code: its HTTPS and MQTT sides with its certificate."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import httpx

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

    def client(self, *, certificate: bool = True, tokens: bool = True) -> httpx.Client:
        context = self.trust.context if certificate else ssl.create_default_context(cadata=self.who.authority)
        auth = SignedTokens(self.who.device, self.keys, CLOCK) if tokens else None
        return httpx.Client(base_url=self.who.url, verify=context, auth=auth, timeout=30)


class Mqtt(Device):
    """The device's protocol side, which shows its certificate."""

    def __init__(self, enrolled: Enrolled) -> None:
        who = enrolled.who
        super().__init__({"fleet": who.fleet, "device": who.device, "broker": who.broker.to_json()})
        self.mqtt.username_pw_set(who.device)
        self.mqtt.tls_set_context(enrolled.trust.context)
        self.refused = ""

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
