"""What devices are like, for those who are told about it elsewhere: who has changed since the last look, in a few values each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import or_, select

from fleet.db import Database
from fleet.selector import Selector
from fleet.tables import Device

Value: TypeAlias = "int | float | bool | str"
PRESENT = frozenset({"online", "polling"})
MOST_DEVICES = 500
MOST_CAMERAS = 64
MOST_OUTPUTS = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}")


@dataclass(frozen=True)
class Camera:
    """`faults`: reasons of what is wrong with its picture, or why it gives none."""

    name: str
    state: str
    fps: float
    blind_hour_s: float
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Sighting:
    """One device. `gone`: it is retired, or no longer meant."""

    name: str
    present: bool
    gone: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    agent_version: str = ""
    model: str = ""
    revision: int = 0
    host: Mapping[str, float] = field(default_factory=dict)
    cameras: tuple[Camera, ...] = ()


class Lookout:
    """`look` gives those that have changed since the last time; the first time all of them. At most `MOST_DEVICES` are known."""

    def __init__(self, database: Database, selector: Selector) -> None:
        self._database = database
        self._selector = selector
        self._since = 0.0
        self._known: set[str] = set()
        self.passed_over = 0

    def again(self) -> None:
        """The next look gives all."""
        self._since, self._known = 0.0, set()

    def look(self, at_wall: float) -> list[Sighting]:
        # A little of the time before is looked at again: what was received then may have been stored since.
        since, self._since = self._since, at_wall - 2.0
        changed = or_(
            Device.health_at >= since,
            Device.presence_at >= since,
            Device.reported_at >= since,
            Device.retired_at >= since,
        )
        query = select(Device).order_by(Device.id)
        with self._database.read() as session:
            rows = session.scalars(query.where(changed) if since else query).all()
        return list(self._meant(rows))

    def _meant(self, rows: Any) -> Iterator[Sighting]:
        self.passed_over = 0
        for row in rows:
            if row.retired_at is not None or not self._selector.matches(row.labels):
                if row.id in self._known:
                    self._known.discard(row.id)
                    yield Sighting(row.id, False, gone=True)
                continue
            if row.id not in self._known and len(self._known) >= MOST_DEVICES:
                self.passed_over += 1
                continue
            self._known.add(row.id)
            yield sighting(row)


def sighting(row: Device) -> Sighting:
    """A device's row in a few values."""
    health, reported = row.health or {}, row.reported or {}
    host, outbox, inventory = _part(health, "host"), _part(health, "outbox"), _part(reported, "inventory")
    figures = {
        name: float(value)
        for name, value in {**host, "outbox_rows": outbox.get("rows")}.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    cameras = _part(health, "cameras")
    return Sighting(
        row.id,
        row.presence in PRESENT,
        labels=row.labels,
        agent_version=row.agent_version,
        model=str(inventory.get("board") or "")[:64],
        revision=int(reported.get("revision") or 0),
        host=figures,
        cameras=tuple(_camera(name, each) for name, each in sorted(cameras.items())[:MOST_CAMERAS]),
    )


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """An object of a document; empty where it is none."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _camera(name: str, told: Any) -> Camera:
    told = told if isinstance(told, dict) else {}
    faults = [str(each.get("reason")) for each in told.get("faults") or () if isinstance(each, dict)]
    blind_now = told.get("blind_now")
    if isinstance(blind_now, dict) and blind_now.get("cause"):
        faults.insert(0, str(blind_now["cause"]))
    blind = told.get("blind_hour_s")
    blind_s = (
        sum(v for v in blind.values() if isinstance(v, (int, float))) if isinstance(blind, dict) else 0.0
    )
    fps = told.get("fps")
    return Camera(
        name,
        str(told.get("state", "")),
        round(float(fps), 2) if isinstance(fps, (int, float)) else 0.0,
        round(blind_s, 1),
        tuple(dict.fromkeys(faults)),
    )


def outputs(body: Mapping[str, Any]) -> dict[str, Value]:
    """The outputs of an event that are one value: numbers, truths, short texts, and detections as their count."""
    found: dict[str, Value] = {}
    told = body.get("outputs")
    for name, value in told.items() if isinstance(told, dict) else ():
        if _NAME.fullmatch(str(name)) is None or len(found) >= MOST_OUTPUTS:
            continue
        if isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 255):
            found[name] = value
        elif isinstance(value, dict) and isinstance(value.get("predictions"), list):
            found[name] = len(value["predictions"])
        elif isinstance(value, dict) and value and all(isinstance(v, (int, float)) for v in value.values()):
            for key, count in list(value.items())[:8]:
                if _NAME.fullmatch(str(key)) and len(found) < MOST_OUTPUTS:
                    found[f"{name}.{key}"] = count
    return found
