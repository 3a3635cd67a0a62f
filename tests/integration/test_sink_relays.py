"""Messages to a plant's own broker over TLS: a real mosquitto, an authority of the test."""

from __future__ import annotations

import asyncio
import gc
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from agent.backoff import Backoff
from agent.clock import SystemClock as AgentClock
from agent.config import Limits
from agent.relay import Relays
from fleet import authority
from fleet.clock import SystemClock
from tests.fakes.mosquitto import Mosquitto
from wire import local

DEADLINE_S = 20.0


class Plant:
    """The broker, its authority's certificate in `root`, and what it passed on."""

    def __init__(self, folder: Path) -> None:
        authority.create(folder / "authority", folder / "root-key.pem", "plant", SystemClock())
        ours = authority.load(folder / "authority", SystemClock())
        self.root, chain, words = folder / "root.pem", folder / "broker.pem", folder / "passwords"
        self.root.write_text(ours.root_pem)
        chain.write_bytes(ours.own("broker", ["127.0.0.1"]))
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(words), "line", "w0rd"], check=True)
        words.chmod(0o644)
        self.broker = Mosquitto(folder, chain, words)
        self.broker.start()
        self.got: list[tuple[str, bytes]] = []
        self._ready = threading.Event()
        self._ear = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        self._ear.username_pw_set("line", "w0rd")
        self._ear.tls_set_context(ssl.create_default_context(cafile=str(self.root)))
        self._ear.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._ear.on_subscribe = lambda *_: self._ready.set()
        self._ear.on_message = lambda _c, _d, m: self.got.append((m.topic, m.payload))
        self._ear.connect("127.0.0.1", self.broker.port)
        self._ear.loop_start()
        assert self._ready.wait(DEADLINE_S)

    def close(self) -> None:
        self._ear.disconnect()
        self._ear.loop_stop()
        self.broker.stop()

    def message(self, number: int, root: Path | str = "", password: str = "w0rd") -> local.Publication:
        at = local.BrokerAddress("127.0.0.1", self.broker.port, "line", password, True, str(root))
        return local.Publication(number, f"m{number}", "door", "plant/line1", f"n {number}", broker=at)


@pytest.fixture
def plant(tmp_path: Path, mosquitto: str) -> Iterator[Plant]:
    folder = tmp_path / "plant"
    folder.mkdir()
    made = Plant(folder)
    yield made
    made.close()


def relays(folder: Path) -> Relays:
    return Relays(folder, "device-1", Limits(), AgentClock(), lambda: Backoff(0.05, 0.2, lambda: 0.5))


async def until_got(plant: Plant, count: int, deadline_s: float = DEADLINE_S) -> None:
    for _ in range(int(deadline_s * 50)):
        if len(plant.got) >= count:
            return
        await asyncio.sleep(0.02)


def test_a_message_reaches_a_broker_that_is_trusted(plant: Plant, tmp_path: Path) -> None:
    async def scenario() -> None:
        ours = relays(tmp_path)
        assert await ours.keep(plant.message(1, plant.root))
        await until_got(plant, 1)
        await ours.close()

    asyncio.run(scenario())
    assert plant.got == [("plant/line1", b"n 1")]


# paho leaves the socket of a handshake that failed to the collector of garbage.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("wrong", ["nobody vouches", "no such file", "password"])
def test_what_cannot_be_delivered_waits_and_comes_once_the_broker_is_trusted(
    plant: Plant, tmp_path: Path, wrong: str
) -> None:
    first = {
        "nobody vouches": plant.message(1),
        "no such file": plant.message(1, tmp_path / "missing.pem"),
        "password": plant.message(1, plant.root, "wr0ng"),
    }[wrong]

    async def scenario() -> None:
        ours = relays(tmp_path)
        assert await ours.keep(first)
        await until_got(plant, 1, 1.5)
        assert plant.got == []
        assert sum(figures.rows for figures in ours.figures().values()) == 1
        await asyncio.sleep(0)
        assert await ours.keep(plant.message(2, plant.root))
        await until_got(plant, 2)
        await ours.close()

    asyncio.run(scenario())
    gc.collect()
    assert [payload for _, payload in plant.got] == [b"n 1", b"n 2"]
