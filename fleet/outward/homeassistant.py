"""The session with a broker of Home Assistant: documents once and when they change, states as they come, availability by last will.

The control plane does it and not each device: a device then needs no login at another broker and no way to it, and its own broker's rules
stay as narrow as they are. When the control plane is away, its last will says that nothing of it is known.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
from collections.abc import Callable, Sequence

import aiomqtt

from fleet.clock import Clock
from fleet.config import HomeAssistant
from fleet.events.filter import Filter
from fleet.events.log import EventLog
from fleet.outward import entities
from fleet.outward.bridge import Will
from fleet.outward.entities import OFFLINE, ONLINE, Places
from fleet.outward.look import Lookout, Sighting, Value, outputs
from fleet.pictures import Pictures
from fleet.tables import EventRow

LOOK_S = 1.0
PAGE = 200
LATEST = 1_000


class HomeAssistantTalk:
    """One at a time."""

    def __init__(
        self,
        fleet: str,
        config: HomeAssistant,
        lookout: Lookout,
        event_log: EventLog,
        pictures: Pictures,
        clock: Clock,
        leads: Callable[[], bool],
    ) -> None:
        self._places = Places(fleet, config.prefix.rstrip("/"), config.base.rstrip("/"))
        self._with_pictures = config.pictures
        self._lookout = lookout
        self._log = event_log
        self._pictures = pictures
        self._clock = clock
        self._leads = leads
        self._version = importlib.metadata.version("outrider")
        self._seen: dict[str, Sighting] = {}
        self._outputs: dict[tuple[str, str], dict[str, Value]] = {}
        self._told: dict[str, bytes] = {}
        self._row = 0

    async def will(self) -> Will:
        return Will(self._places.status, OFFLINE.encode(), True)

    async def session(self, client: aiomqtt.Client) -> None:
        self._told = {}
        self._lookout.again()
        await self._begin()
        await client.publish(self._places.status, ONLINE, qos=1, retain=True)
        while self._leads():
            await self._devices(client)
            await self._events(client)
            await asyncio.sleep(LOOK_S)

    async def farewell(self, client: aiomqtt.Client) -> None:
        await client.publish(self._places.status, OFFLINE, qos=1, retain=True)

    async def _begin(self) -> None:
        """What the newest events say is known before the first document is made."""
        if not self._row:
            newest = await asyncio.to_thread(self._log.newest_row)
            self._row = max(0, newest - LATEST)

    async def _devices(self, client: aiomqtt.Client) -> None:
        for seen in await asyncio.to_thread(self._lookout.look, self._clock.wall()):
            former = self._seen.get(seen.name)
            if former is not None:
                await self._forget(client, former, seen)
            if seen.gone:
                self._seen.pop(seen.name, None)
                continue
            self._seen[seen.name] = seen
            await self._tell(client, seen)

    async def _tell(self, client: aiomqtt.Client, seen: Sighting) -> None:
        places = self._places
        document = entities.of_device(places, seen, self._version)
        await self._put(client, places.config(seen.name), document)
        await self._put(client, places.state(seen.name), entities.state_of_device(seen))
        for camera in seen.cameras:
            known = self._outputs.get((seen.name, camera.name), {})
            document = entities.of_camera(
                places, seen, camera, known, self._version, picture=self._with_pictures
            )
            await self._put(client, places.config(seen.name, camera.name), document)
            await self._put(
                client, places.state(seen.name, camera.name), entities.state_of_camera(camera, known)
            )
        await self._put_bytes(client, places.here(seen.name), (ONLINE if seen.present else OFFLINE).encode())

    async def _forget(self, client: aiomqtt.Client, former: Sighting, seen: Sighting) -> None:
        """What is no longer there is taken out of Home Assistant, and of the broker."""
        left = {camera.name for camera in seen.cameras}
        for camera in former.cameras:
            if camera.name not in left and (seen.cameras or seen.gone):
                for topic in (
                    self._places.config(seen.name, camera.name),
                    self._places.state(seen.name, camera.name),
                    self._places.picture(seen.name, camera.name),
                ):
                    await self._put_bytes(client, topic, b"")
        if seen.gone:
            for topic in (
                self._places.config(seen.name),
                self._places.state(seen.name),
                self._places.here(seen.name),
            ):
                await self._put_bytes(client, topic, b"")

    async def _events(self, client: aiomqtt.Client) -> None:
        while await asyncio.to_thread(self._log.newest_row) > self._row:
            wanted = Filter(devices=frozenset(self._seen))
            found = await asyncio.to_thread(self._log.after, wanted, self._row, PAGE)
            self._row = max(self._row, found.reached)
            await self._take_in(client, found.rows)
            if found.end:
                return

    async def _take_in(self, client: aiomqtt.Client, rows: Sequence[EventRow]) -> None:
        changed: dict[str, Sighting] = {}
        pictured: dict[tuple[str, str], str] = {}
        for row in rows:
            seen = self._seen[row.device]
            if values := outputs(row.body):
                self._outputs.setdefault((row.device, row.camera), {}).update(values)
                changed[row.device] = seen
            picture = row.body.get("picture")
            if self._with_pictures and isinstance(picture, dict) and picture.get("id"):
                pictured[row.device, row.camera] = str(picture["id"])
        for seen in changed.values():
            await self._tell(client, seen)
        for (device, camera), key in pictured.items():
            kept = await asyncio.to_thread(self._pictures.find, device, key)
            if kept is not None:
                content = await self._pictures.content(kept)
                await self._put_bytes(client, self._places.picture(device, camera), content)

    async def _put(self, client: aiomqtt.Client, topic: str, document: entities.Document) -> None:
        await self._put_bytes(client, topic, json.dumps(document, separators=(",", ":")).encode())

    async def _put_bytes(self, client: aiomqtt.Client, topic: str, payload: bytes) -> None:
        """Retained, and only where it is another one than before."""
        if self._told.get(topic) == payload:
            return
        await client.publish(topic, payload, qos=1, retain=True)
        if payload:
            self._told[topic] = payload
        else:
            self._told.pop(topic, None)
