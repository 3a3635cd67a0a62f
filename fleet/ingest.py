"""What devices publish, into the database: batched, de-duplicated, tolerant of anything malformed.

Rules: an event is stored once for each (device, envelope id); last values are replaced in the order of arrival; a message
that cannot be read is counted and logged once for each device and cause, and never stops the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, case, insert, select, update
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from fleet import benchmarks, jsontext
from fleet.clock import Clock
from fleet.db import Database, insert_ignoring
from fleet.errors import Transient
from fleet.event_pictures import Lifted, lift
from fleet.health import signs
from fleet.health.figures import figures, packed
from fleet.health.shown import write_signs
from fleet.health.tables import HealthRow
from fleet.jsontext import JsonText
from fleet.lags import Lags
from fleet.link import Incoming
from fleet.picture_rows import PictureRow
from fleet.pictures import Pictures
from fleet.tables import Device, EventRow, ResponseRow, RevisionRun
from wire import envelope
from wire.bench import COMMAND
from wire.command import Response
from wire.doc import read
from wire.errors import Malformed, WireError
from wire.event import Event
from wire.health import Health
from wire.names import FleetId, is_digest, is_name
from wire.reported import Connection, Reported
from wire.topics import Parsed, parse

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MOST_S = 15.0
INT64_MOST = 2**63 - 1
COMPLAINTS_KEPT = 10_000
MAX_ID_CHARS = 128
RUN_KNOWN_S = 3600.0
PICTURE = b'"base64"'
"""What an event with a picture in it holds."""
STAMPED = frozenset({"health", "event"})
"""Whose age at the commit is told; presence and reported states are repeated when somebody connects."""

Answered = Callable[[str, Response], None]
"""Told of each response that was stored: device id and response."""


@dataclass
class Counters:
    """Figures of the ingest since the start."""

    received: int = 0
    stored_events: int = 0
    repeated_events: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    write_retries: int = 0
    lags: Lags = field(default_factory=Lags)
    """Of health and events, from the device's stamp until they were durable."""


@dataclass
class _Batch:
    """What a batch of messages comes to, by table."""

    received_at: float
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    health: list[dict[str, Any]] = field(default_factory=list)
    signs: dict[tuple[str, str], tuple[signs.Sign, ...]] = field(default_factory=dict)
    run: dict[str, int] = field(default_factory=dict)
    responses: list[tuple[str, float, Response]] = field(default_factory=list)
    stamps: list[float] = field(default_factory=list)
    lifted: Mapping[tuple[str, str], tuple[str, Lifted]] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)

    def device(self, name: str) -> dict[str, Any]:
        return self.devices.setdefault(name, {})


class Ingest:
    """Takes batches of messages in. One at a time: the link waits for each."""

    def __init__(
        self,
        fleet: FleetId,
        database: Database,
        clock: Clock,
        answered: Answered,
        pictures: Pictures | None = None,
    ) -> None:
        """Without `pictures` those of events stay in them."""
        self._pictures = pictures
        self._lifted: dict[tuple[str, str], tuple[str, Lifted]] = {}
        self._fleet = fleet
        self._database = database
        self._clock = clock
        self._answered = answered
        self._complained: set[tuple[str, str]] = set()
        self._run: dict[str, tuple[int, float]] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="ingest")
        self.counters = Counters()

    def close(self) -> None:
        self._writer.shutdown(wait=True)

    async def take(self, messages: Sequence[Incoming]) -> None:
        """Store the messages; returns when they are durable. Tries for ever while the database is busy or full."""
        self.counters.received += len(messages)
        self._lifted = await self._lift(messages)
        delay_s = RETRY_FIRST_S
        loop = asyncio.get_running_loop()
        while True:
            try:
                responses = await loop.run_in_executor(self._writer, self._store, messages)
                break
            except OperationalError as e:
                self.counters.write_retries += 1
                log.error("the database takes nothing", extra={"cause": str(e.orig), "retry_s": delay_s})
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MOST_S)
        for device, response in responses:
            self._answered(device, response)

    async def _lift(self, messages: Sequence[Incoming]) -> dict[tuple[str, str], tuple[str, Lifted]]:
        """The pictures in events, stored; by device and event id. Where the store does not serve, they stay in the events."""
        found: dict[tuple[str, str], tuple[str, Lifted]] = {}
        for message in messages:
            if self._pictures is None or PICTURE not in message.payload:
                continue
            try:
                topic, content = parse(message.topic), envelope.decode(message.payload)
                picture = lift(content.id, content.data) if topic.kind == "event" else None
                if picture is not None:
                    found[topic.device, content.id] = await self._pictures.store(picture), picture
            except (WireError, Transient) as e:
                log.warning("the picture of an event stays in it", extra={"cause": str(e)[:300]})
        return found

    def _store(self, messages: Sequence[Incoming]) -> list[tuple[str, Response]]:
        """Write the batch in one transaction; where the database refuses a row, one by one without the bad one."""
        try:
            return self._write(messages)
        except OperationalError:
            raise
        except SQLAlchemyError as e:
            if len(messages) == 1:
                self._complain(messages[0].topic, "unstorable", e)
                return []
        return [answer for message in messages for answer in self._store([message])]

    def _write(self, messages: Sequence[Incoming]) -> list[tuple[str, Response]]:
        batch = _Batch(self._clock.wall(), lifted=self._lifted)
        for message in messages:
            self._read(message, batch)
        with self._database.write(alone=False) as session:
            known = self._known(session, batch)
            self._write_devices(session, batch, known)
            rows = [row for row in batch.events if row["device"] in known]
            new = insert_ignoring(session, EventRow, rows)
            insert_ignoring(session, PictureRow, [row for row in batch.pictures if row["device"] in known])
            health = [row for row in batch.health if row["device"] in known]
            if health:
                session.execute(insert(HealthRow), health)
            write_signs(session, batch.signs, known, batch.received_at)
            self._write_run(session, batch, known)
            answers = [self._write_response(session, *response) for response in batch.responses]
        stored_at = self._clock.wall()
        self.counters.lags.add(stored_at - at for at in batch.stamps)
        if self._pictures is not None:
            self._pictures.grown({row["device"] for row in batch.pictures})
        self.counters.stored_events += new
        self.counters.repeated_events += len(rows) - new
        return [answer for answer in answers if answer is not None]

    def _known(self, session: Session, batch: _Batch) -> set[str]:
        named = set(batch.devices)
        # Locked in one order, or two replicas wait for each other.
        found = select(Device.id).where(Device.id.in_(named)).order_by(Device.id).with_for_update()
        known = set(session.scalars(found)) if named else set()
        for stranger in named - known:
            self._complain(stranger, "unknown-device", None)
        return known

    def _write_devices(self, session: Session, batch: _Batch, known: set[str]) -> None:
        """One statement for all devices of which the same was said."""
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for name, values in sorted(batch.devices.items()):
            if name in known and values:
                rows = alike.setdefault(tuple(sorted(values)), [])
                rows.append({"device_id": name, **{f"new_{field}": value for field, value in values.items()}})
        connection = session.connection()
        for fields, rows in sorted(alike.items()):
            connection.execute(_device_update(fields), rows)

    def _write_run(self, session: Session, batch: _Batch, known: set[str]) -> None:
        """Remember what a device runs when it changes, and once an hour: most messages say what is known already."""
        for device, revision in sorted(batch.run.items()):
            before, at = self._run.get(device, (0, 0.0))
            if device not in known or (before == revision and batch.received_at - at < RUN_KNOWN_S):
                continue
            key = {"device": device, "revision": revision}
            insert_ignoring(session, RevisionRun, [{**key, "last_at": batch.received_at}])
            session.execute(update(RevisionRun).filter_by(**key).values(last_at=batch.received_at))
            self._run[device] = (revision, batch.received_at)

    def _write_response(
        self, session: Session, device: str, at: float, response: Response
    ) -> tuple[str, Response] | None:
        row = session.get(ResponseRow, response.rid)
        if row is None or row.device != device:
            return None
        if row.answered_at is not None:  # stored by another replica, while it may be this one that waits
            return device, response
        row.answered_at, row.body = at, response.to_json()
        if row.name == COMMAND and response.ok:
            try:
                benchmarks.keep(session, device, at, response)
            except WireError as e:
                self._complain(device, "no-figures", e)
        return device, response

    def _read(self, message: Incoming, batch: _Batch) -> None:
        try:
            topic = parse(message.topic)
            if topic.fleet != self._fleet:
                raise Malformed(f"fleet {topic.fleet!r} is not {self._fleet!r}")
            content, text = opened(message.payload)
            _READERS[topic.kind](topic, content, text, batch)
            if content.synced and topic.kind in STAMPED:
                batch.stamps.append(content.at)
        except KeyError as e:
            self._complain(message.topic, "unknown-topic", e)
        except WireError as e:
            self._complain(message.topic, e.reason.value, e)

    def _complain(self, where: str, cause: str, error: Exception | None) -> None:
        """Count always, log once for each place and cause."""
        self.counters.refused[cause] += 1
        if (where, cause) in self._complained or len(self._complained) >= COMPLAINTS_KEPT:
            return
        self._complained.add((where, cause))
        log.warning("message refused", extra={"where": where, "cause": cause, "detail": str(error)[:300]})


@lru_cache(maxsize=64)
def _device_update(fields: tuple[str, ...]) -> Any:
    """The statement that sets the fields of a device.

    What was called silent and is heard of again is online; the goodbye of a device that was retired meanwhile does not bring it back.
    """
    table: Any = Device.__table__
    columns = table.c
    values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in fields}
    if "last_seen_at" in fields and "presence" not in fields:
        values["presence"] = case((columns.presence == "silent", "online"), else_=columns.presence)
    elif "presence" in fields:
        gone = columns.retired_at.is_not(None)
        values["presence"] = case((gone, columns.presence), else_=values["presence"])
    return update(table).where(columns.id == bindparam("device_id")).values(values)


def opened(payload: bytes) -> tuple[envelope.Envelope, JsonText]:
    """An envelope, and its data as JSON as the databases and HTTP clients take it: no NaN, no lone surrogates, an id that is an id.

    :raises WireError: it is none
    """
    try:
        content = envelope.decode(payload, jsontext.plain_loads)
        text = jsontext.text_of(content.data)
    except (WireError, TypeError):  # either it is bad, or it is out of the ordinary
        content = envelope.decode(payload)
        text = _text_of(content)
    if not content.id.isprintable() or not 0 < len(content.id) <= MAX_ID_CHARS:
        raise Malformed(
            f"envelope id of {len(content.id)} characters; 1 to {MAX_ID_CHARS} printable ones are allowed"
        )
    return content, text


def _text_of(content: envelope.Envelope) -> JsonText:
    try:
        content.id.encode()
        text = json.dumps(content.data, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as e:
        raise Malformed(f"data that is not JSON: {e}") from e
    return JsonText(text)


def _in_range(value: int, what: str) -> int:
    if not -1 <= value <= INT64_MOST:
        raise Malformed(f"{what} {value} is out of range")
    return value


def _conn(topic: Parsed, content: envelope.Envelope, _text: JsonText, batch: _Batch) -> None:
    connection = read(Connection, content.data)
    values = batch.device(topic.device)
    values |= {"presence": connection.state[:16], "presence_at": batch.received_at}
    if connection.agent_version:
        values["agent_version"] = connection.agent_version[:64]
    if connection.state in ("online", "polling"):
        values["last_seen_at"] = batch.received_at


def _reported(topic: Parsed, content: envelope.Envelope, text: JsonText, batch: _Batch) -> None:
    reported = read(Reported, content.data)
    if _in_range(reported.revision, "revision") > 0:
        batch.run[topic.device] = reported.revision
    batch.device(topic.device).update(
        reported=text, reported_at=batch.received_at, last_seen_at=batch.received_at
    )
    batch.signs[topic.device, "reported"] = signs.of_reported(reported)


def _health(topic: Parsed, content: envelope.Envelope, text: JsonText, batch: _Batch) -> None:
    health = read(Health, content.data)
    batch.device(topic.device).update(
        health=text, health_at=batch.received_at, last_seen_at=batch.received_at
    )
    batch.health.append(
        {
            "device": topic.device,
            "at": content.at,
            "received_at": batch.received_at,
            "revision": _in_range(health.revision, "revision"),
            "figures": packed(figures(health)),
        }
    )
    batch.signs[topic.device, "health"] = signs.of_health(health, content.synced)


def _event(topic: Parsed, content: envelope.Envelope, text: JsonText, batch: _Batch) -> None:
    event = read(Event, content.data)
    if not is_name(topic.tail) or event.camera != topic.tail:
        raise Malformed(f"event of camera {event.camera!r} on the topic of {topic.tail!r}")
    batch.device(topic.device)["last_seen_at"] = batch.received_at
    body: Any = text
    if (stored := batch.lifted.get((topic.device, content.id))) is not None:
        digest, picture = stored
        body = {**content.data, "picture": picture.left}
        batch.pictures.append(_picture(topic, content.id, event, batch.received_at, digest, picture))
    batch.events.append(
        {
            "id": content.id,
            "device": topic.device,
            "camera": topic.tail,
            "frame_seq": _in_range(event.frame_seq, "frame_seq"),
            "at": content.at,
            "received_at": batch.received_at,
            "body": body,
            "workflow": event.workflow if is_digest(event.workflow) else "",
            "kind": "sink" if event.step else "result",
        }
    )


def _picture(
    topic: Parsed, event_id: str, event: Event, received_at: float, digest: str, picture: Lifted
) -> dict[str, Any]:
    return {
        "device": topic.device,
        "id": event_id,
        "camera": topic.tail,
        "kind": "event",
        "media_type": "image/jpeg",
        "taken_wall": event.frame_wall,
        "width": picture.width,
        "height": picture.height,
        "size_bytes": len(picture.content),
        "digest": digest,
        "received_at": received_at,
        "about": picture.about,
    }


def _response(topic: Parsed, content: envelope.Envelope, _text: JsonText, batch: _Batch) -> None:
    response = read(Response, content.data)
    if response.rid != topic.tail:
        raise Malformed(f"response {response.rid!r} on the topic of {topic.tail!r}")
    batch.device(topic.device)["last_seen_at"] = batch.received_at
    batch.responses.append((topic.device, batch.received_at, response))


_READERS: dict[str, Callable[[Parsed, envelope.Envelope, JsonText, _Batch], None]] = {
    "conn": _conn,
    "reported": _reported,
    "health": _health,
    "event": _event,
    "rsp": _response,
}
