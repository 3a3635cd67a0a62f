"""Sparkplug B as an edge node: births, data, deaths, in the order and with the numbers that the specification (3.0) wants.

This control plane is the edge node, each device of ours a device of it. Rules: NBIRTH is the first message of a session, with `seq` 0 and the
`bdSeq` of the will; `seq` grows by one with each message and is 0 after 255; a device's data come after its DBIRTH, which names all its metrics;
a metric that is new makes a new DBIRTH; a device that is gone has its DDEATH; `Node Control/Rebirth` begins anew.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable, Mapping

import aiomqtt

from fleet.clock import Clock
from fleet.config import Sparkplug
from fleet.db import Database
from fleet.events.filter import Filter
from fleet.events.log import EventLog
from fleet.outward.bridge import Will
from fleet.outward.look import Lookout, Sighting, Value, outputs
from fleet.outward.sparkplug_payload import decode, encode
from fleet.outward.tables import CursorRow

LOOK_S = 1.0
PAGE = 200
WRAP = 256
REBIRTH = "Node Control/Rebirth"
BD_SEQ = "bdSeq"
CURSOR = "sparkplug:bdseq"


class EdgeNode:
    """What was born, and the numbers. Pure: it gives topics and payloads, in the order in which they are to be published."""

    def __init__(self, group: str, node: str, version: str, clock: Clock) -> None:
        self._prefix = f"spBv1.0/{group}"
        self._node = node
        self._version = version
        self._clock = clock
        self._seq = 0
        self._born: dict[str, dict[str, Value]] = {}
        self.bd_seq = 0

    @property
    def commands(self) -> str:
        return f"{self._prefix}/NCMD/{self._node}"

    def death(self) -> tuple[str, bytes]:
        """The will of a session, and the last message of one that ends in good order."""
        return f"{self._prefix}/NDEATH/{self._node}", encode({BD_SEQ: self.bd_seq}, self._clock.wall())

    def birth(self) -> tuple[str, bytes]:
        """NBIRTH; every device has to be born again after it."""
        self._born.clear()
        self._seq = 0
        metrics: dict[str, Value] = {BD_SEQ: self.bd_seq, REBIRTH: False, "Properties/Version": self._version}
        return f"{self._prefix}/NBIRTH/{self._node}", encode(metrics, self._clock.wall(), 0)

    def device(self, name: str, metrics: Mapping[str, Value] | None) -> tuple[str, bytes] | None:
        """The message that tells how a device is: a birth, data, a death where `metrics` is None; None where there is nothing new."""
        born = self._born.get(name)
        if metrics is None:
            if born is None:
                return None
            del self._born[name]
            return self._message("DDEATH", name, {})
        if born is None or any(
            key not in born or _other_kind(born[key], value) for key, value in metrics.items()
        ):
            self._born[name] = {**(born or {}), **metrics}
            return self._message("DBIRTH", name, self._born[name])
        changed = {key: value for key, value in metrics.items() if born[key] != value}
        if not changed:
            return None
        born.update(changed)
        return self._message("DDATA", name, changed)

    def _message(self, kind: str, device: str, metrics: Mapping[str, Value]) -> tuple[str, bytes]:
        self._seq = (self._seq + 1) % WRAP
        topic = f"{self._prefix}/{kind}/{self._node}/{device}"
        return topic, encode(metrics, self._clock.wall(), self._seq)


class SparkplugTalk:
    """One at a time."""

    def __init__(
        self,
        fleet: str,
        config: Sparkplug,
        lookout: Lookout,
        database: Database,
        event_log: EventLog,
        clock: Clock,
        leads: Callable[[], bool],
    ) -> None:
        version = importlib.metadata.version("outrider")
        self._edge = EdgeNode(config.group or fleet, config.node, version, clock)
        self._lookout = lookout
        self._database = database
        self._log = event_log
        self._clock = clock
        self._leads = leads
        self._seen: dict[str, Sighting] = {}
        self._outputs: dict[str, dict[str, Value]] = {}
        self._row = -1

    async def will(self) -> Will:
        """Each session has the next `bdSeq`, also after a restart."""
        self._edge.bd_seq = await asyncio.to_thread(self._next)
        topic, payload = self._edge.death()
        return Will(topic, payload, False)

    async def session(self, client: aiomqtt.Client) -> None:
        await client.subscribe(self._edge.commands, qos=1)
        if self._row < 0:
            self._row = await asyncio.to_thread(self._log.newest_row)
        listening = asyncio.create_task(self._listen(client), name="sparkplug-commands")
        try:
            await self._begin(client)
            while self._leads():
                if listening.done():
                    if listening.exception() is not None:
                        listening.result()
                    await self._begin(client)
                    listening = asyncio.create_task(self._listen(client), name="sparkplug-commands")
                for seen in await asyncio.to_thread(self._lookout.look, self._clock.wall()):
                    self._seen[seen.name] = seen
                    await self._tell(client, seen.name)
                for name in await asyncio.to_thread(self._events):
                    await self._tell(client, name)
                await asyncio.sleep(LOOK_S)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def farewell(self, client: aiomqtt.Client) -> None:
        await client.publish(*self._edge.death(), qos=1)

    async def _begin(self, client: aiomqtt.Client) -> None:
        await client.publish(*self._edge.birth(), qos=0)
        for name in self._seen:
            await self._tell(client, name)

    async def _listen(self, client: aiomqtt.Client) -> None:
        """Until a rebirth is asked for."""
        async for message in client.messages:
            try:
                metrics, _ = decode(
                    bytes(message.payload) if isinstance(message.payload, (bytes, bytearray)) else b""
                )
            except ValueError:
                continue
            if metrics.get(REBIRTH) is True:
                return

    async def _tell(self, client: aiomqtt.Client, name: str) -> None:
        seen = self._seen[name]
        present = seen.present and not seen.gone
        message = self._edge.device(name, metrics_of(seen, self._outputs.get(name, {})) if present else None)
        if message is not None:
            await client.publish(*message, qos=0)
        if seen.gone:
            del self._seen[name]

    def _events(self) -> set[str]:
        """The devices whose outputs have changed."""
        if self._log.newest_row() <= self._row:
            return set()
        found = self._log.after(Filter(devices=frozenset(self._seen)), self._row, PAGE)
        self._row = max(self._row, found.reached)
        for row in found.rows:
            known = self._outputs.setdefault(row.device, {})
            for name, value in outputs(row.body).items():
                known[f"Cameras/{row.camera}/Outputs/{name.replace('.', '/')}"] = _numbers_as_double(value)
        return {row.device for row in found.rows}

    def _next(self) -> int:
        with self._database.write() as session:
            row = session.get(CursorRow, CURSOR)
            number = (row.row + 1) % WRAP if row is not None else 0
            session.merge(CursorRow(name=CURSOR, row=number, at=self._clock.wall()))
        return number


def metrics_of(seen: Sighting, found: Mapping[str, Value]) -> dict[str, Value]:
    """A device as metrics."""
    metrics: dict[str, Value] = {
        "Properties/Agent Version": seen.agent_version,
        "Revision": seen.revision,
    }
    metrics |= {f"Host/{name}": value for name, value in seen.host.items()}
    for camera in seen.cameras:
        base = f"Cameras/{camera.name}"
        metrics[f"{base}/State"] = camera.state
        metrics[f"{base}/Results per Second"] = camera.fps
        metrics[f"{base}/Blind Last Hour"] = camera.blind_hour_s
        metrics[f"{base}/Fault"] = ", ".join(camera.faults)
    return metrics | dict(found)


def _numbers_as_double(value: Value) -> Value:
    """An output that is 3 in one frame may be 3.5 in the next."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _other_kind(former: Value, value: Value) -> bool:
    return type(former) is not type(value)
