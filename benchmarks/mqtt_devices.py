"""Simulated devices over real MQTT 5: a connection, a session, subscriptions and a will each, health at a pace, answers to desired states.

`python -m benchmarks.mqtt_devices SETTINGS` (JSON, the fields of `Settings`) connects them and prints a line of JSON each second; lines on
stdin tell it what to do: `pace SECONDS`, `storm COUNT` (close so many connections at once and connect them again), `end`. Packets are made by
hand (MQTT 5.0, 3.1 to 3.12), because twenty thousand client objects of a library would be what is measured.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import random
import resource
import ssl
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire.topics import DeviceTopics

KEEPALIVE_S = 90
SESSION_EXPIRY_S = 3600
PUBACK, SUBACK, CONNACK, PUBLISH = 4, 9, 2, 3
BACKOFF_FIRST_S, BACKOFF_MOST_S = 1.0, 30.0
"""As an agent's: the wait doubles, and a random share of it is waited."""


@dataclass(frozen=True)
class Settings:
    """`names` are devices; `document` is a health document as JSON with the placeholder `@AT@` twice; `certificates` is a folder with NAME.pem."""

    fleet: str
    host: str
    port: int
    source: str
    names: tuple[str, ...]
    password: str
    document: str
    pace_s: float
    connects_per_s: float
    certificates: str = ""
    authority: str = ""


@dataclass
class Counts:
    connected: int = 0
    sent: int = 0
    acknowledged: int = 0
    desired: int = 0
    connects: int = 0
    failures: int = 0
    skipped: int = 0
    """Health that was not sent because the one before was not acknowledged, or there was no connection."""
    ack_s: list[float] = field(default_factory=list)


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!H", len(raw)) + raw


def _length(count: int) -> bytes:
    out = bytearray()
    while True:
        count, digit = divmod(count, 128)
        out.append(digit | (128 if count else 0))
        if not count:
            return bytes(out)


def _packet(first: int, body: bytes) -> bytes:
    return bytes([first]) + _length(len(body)) + body


def connect_packet(name: str, password: str, will_topic: str, will: bytes) -> bytes:
    """CONNECT with a lasting session and a retained will of QoS 1; without a password the certificate says who it is."""
    flags = 0x04 | 0x08 | 0x20 | (0xC0 if password else 0)
    expiry = b"\x11" + struct.pack("!I", SESSION_EXPIRY_S)
    body = (
        _text("MQTT") + bytes([5, flags]) + struct.pack("!H", KEEPALIVE_S) + _length(len(expiry)) + expiry
    ) + (_text(name) + b"\0" + _text(will_topic) + _text(will))
    if password:
        body += _text(name) + _text(password)
    return _packet(0x10, body)


def subscribe_packet(number: int, *topics: str) -> bytes:
    return _packet(
        0x82, struct.pack("!H", number) + b"\0" + b"".join(_text(topic) + b"\x01" for topic in topics)
    )


def publish_packet(topic: str, payload: bytes, number: int, *, retain: bool = False) -> bytes:
    """PUBLISH with QoS 1."""
    return _packet(0x32 | int(retain), _text(topic) + struct.pack("!H", number) + b"\0" + payload)


class Line(asyncio.Protocol):
    """One connection of a device. What comes of one that was given up meanwhile is nobody's."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._device.line is self:
            self._device.made(transport)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._device.line is self:
            self._device.received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._device.over(self)


class Device:
    """One device, with one connection after the other."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.topics = DeviceTopics(world.fleet, name)  # type: ignore[arg-type]
        self._world = world
        self.line: Line | None = None
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._number = 0
        self._sent_mono: dict[int, float] = {}
        self._up = False
        self._seq = 0
        self._revision = 0
        self._tries = 0

    # --- the connection -----------------------------------------------------------------------------------------------

    async def connect(self) -> None:
        """Once; what fails is tried again after a back-off."""
        world, loop = self._world, asyncio.get_running_loop()
        line = self.line = Line(self)
        try:
            await asyncio.wait_for(
                loop.create_connection(
                    lambda: line,
                    world.settings.host,
                    world.settings.port,
                    ssl=world.context(self.name),
                    server_hostname=world.settings.host if world.settings.authority else None,
                    local_addr=(world.settings.source, 0),
                ),
                20.0,
            )
        except (OSError, asyncio.TimeoutError):
            world.counts.failures += 1
            self.over(line)

    def _again(self) -> None:
        if self._world.ending:
            return
        self._tries += 1
        most_s = min(BACKOFF_FIRST_S * 2**self._tries, BACKOFF_MOST_S)
        loop = asyncio.get_running_loop()
        loop.call_later(random.uniform(0, most_s), lambda: self._world.start(self.connect()))

    def made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received.clear()
        self._sent_mono.clear()
        will = self._envelope({"state": "offline", "boot": "b"})
        transport.write(connect_packet(self.name, self._world.settings.password, self.topics.conn, will))

    def over(self, line: Line) -> None:
        """The connection is lost, or was not made in time."""
        if line.transport is not None:
            line.transport.abort()
        if self.line is not line:
            return
        self._world.counts.connected -= self._up
        self._up = False
        self.line = self._transport = None
        self._again()

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def received(self, data: bytes) -> None:
        received = self._received
        received += data
        while len(received) >= 2:
            length, at, shift = 0, 1, 0
            while True:
                if at >= len(received):
                    return
                digit = received[at]
                length |= (digit & 127) << shift
                at, shift = at + 1, shift + 7
                if digit < 128:
                    break
            if len(received) < at + length:
                return
            self._packet(received[0], bytes(received[at : at + length]))
            del received[: at + length]

    def _packet(self, first: int, body: bytes) -> None:
        kind = first >> 4
        if kind == PUBACK:
            sent_mono = self._sent_mono.pop(struct.unpack_from("!H", body)[0], None)
            self._world.counts.acknowledged += 1
            if sent_mono is not None:
                self._world.counts.ack_s.append(time.monotonic() - sent_mono)
        elif kind == CONNACK:
            self._connected(body[1])
        elif kind == PUBLISH:
            self._desired(first, body)

    def _connected(self, code: int) -> None:
        counts = self._world.counts
        if code:
            counts.failures += 1
            self.drop()
            return
        self._tries = 0
        self._up = True
        counts.connected += 1
        counts.connects += 1
        assert self._transport is not None
        self._transport.write(subscribe_packet(self._next(), self.topics.desired, self.topics.commands))
        self._publish(
            self.topics.conn,
            self._envelope({"state": "online", "agent_version": "0.1.0", "boot": "b"}),
            retain=True,
        )

    # --- what it says ---------------------------------------------------------------------------------------------------

    def _next(self) -> int:
        self._number = self._number % 65535 + 1
        return self._number

    def _envelope(self, data: dict[str, Any]) -> bytes:
        return self._around(json.dumps(data, separators=(",", ":")))

    def _around(self, data: str) -> bytes:
        self._seq += 1
        return (
            f'{{"v":1,"id":"{self.name}-{self._world.run}-{self._seq}","at":{time.time():.3f},"boot":"b",'
            f'"seq":{self._seq},"synced":true,"data":{data}}}'
        ).encode()

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._transport is None:
            return
        number = self._next()
        self._sent_mono[number] = time.monotonic()
        self._transport.write(publish_packet(topic, payload, number, retain=retain))
        self._world.counts.sent += 1

    def health(self) -> None:
        if not self._up or len(self._sent_mono) > 2:
            self._world.counts.skipped += 1
            return
        seconds = f"{time.monotonic():.1f}"
        self._publish(
            self.topics.health, self._around(self._world.settings.document.replace("@AT@", seconds))
        )

    def _desired(self, first: int, body: bytes) -> None:
        """Acknowledge, and report the revision as committed."""
        end = 2 + struct.unpack_from("!H", body)[0]
        if (first >> 1) & 3:
            assert self._transport is not None
            self._transport.write(_packet(0x40, body[end : end + 2]))
            end += 2
        end += 1 + body[end]  # a length of properties under 128 bytes
        if not body[2 : 2 + struct.unpack_from("!H", body)[0]].endswith(b"/desired"):
            return
        signed = json.loads(body[end:])["data"]
        revision = json.loads(base64.b64decode(signed["payload"]))["revision"]
        self._world.counts.desired += 1
        if revision > self._revision:
            self._revision = revision
            told = {"revision": revision, "offered": revision, "phase": "COMMITTED"}
            self._publish(self.topics.reported, self._envelope(told), retain=True)


class World:
    """The devices of one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.fleet = settings.fleet
        self.counts = Counts()
        self.ending = False
        self.run = f"{os.getpid():x}{int(time.time()):x}"
        self._pace_s = settings.pace_s
        self._devices = [Device(name, self) for name in settings.names]
        self._tasks: set[asyncio.Task[None]] = set()

    def context(self, name: str) -> ssl.SSLContext | None:
        if not self.settings.authority:
            return None
        context = ssl.create_default_context(cafile=self.settings.authority)
        context.check_hostname = False
        context.load_cert_chain(Path(self.settings.certificates) / f"{name}.pem")
        return context

    def start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def work(self) -> None:
        self.start(self._connect_all())
        self.start(self._pace())
        self.start(self._tell())
        await self._obey()
        self.ending = True
        for device in self._devices:
            device.drop()

    async def _connect_all(self) -> None:
        began_mono = time.monotonic()
        for count, device in enumerate(self._devices):
            due_mono = began_mono + count / self.settings.connects_per_s
            if (wait_s := due_mono - time.monotonic()) > 0:
                await asyncio.sleep(wait_s)
            self.start(device.connect())

    async def _pace(self) -> None:
        """Each device once in the pace, all of them evenly spread."""
        order = list(self._devices)
        random.shuffle(order)
        next_mono = time.monotonic()
        while True:
            for device in order:
                next_mono += self._pace_s / len(order)
                if (wait_s := next_mono - time.monotonic()) > 0.002:
                    await asyncio.sleep(wait_s)
                device.health()
            next_mono = max(next_mono, time.monotonic() - 1.0)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            counts = self.counts
            waits, counts.ack_s = counts.ack_s, []
            told = {name: value for name, value in vars(counts).items() if name != "ack_s"}
            told |= {
                "ack_most_s": max(waits, default=0.0),
                "cpu_s": time.process_time(),
                "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            print(json.dumps(told), flush=True)

    async def _obey(self) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := (await reader.readline()).decode().split():
            if line[0] == "end":
                return
            if line[0] == "pace":
                self._pace_s = float(line[1])
            elif line[0] == "storm":
                for device in self._devices[: int(line[1])]:
                    device.drop()


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    world = World(Settings(**{**settings, "names": tuple(settings["names"])}))
    asyncio.run(world.work())


if __name__ == "__main__":
    main()
