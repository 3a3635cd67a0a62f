"""What runs where, counted over the fleet from what devices reported; for pages that are looked at often.

What a device reported is read again only after it has reported again, and nothing more often than every few seconds: at 20,000
devices the first count takes a second or two, the following ones a tenth of it.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.access.grants import Rights
from fleet.clock import Clock
from fleet.db import Database
from fleet.selector import EVERYTHING, Selector
from fleet.tables import Device, Version

FRESH_S = 5.0
SCAN_ROWS = 500
KINDS = {"models": "model", "workflows": "workflow"}


@dataclass(frozen=True)
class Artifact:
    """A model or workflow that devices run. `name` is the device's own where the registry knows none."""

    kind: str
    digest: str
    name: str
    devices: int
    online: int
    troubled: int


_Runs = tuple[tuple[str, str, str, bool], ...]
"""What a device runs: kind, digest, name, and whether it is well."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """One device."""

    labels: Mapping[str, str]
    presence: str
    reported_at: float | None
    runs: _Runs


class Running:
    """Counts. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        self._read_at = float("-inf")

    def artifacts(self, rights: Rights, selector: Selector = EVERYTHING) -> list[Artifact]:
        """Of the devices that may be seen and match; what most devices run comes first."""
        with self._lock:
            if self._clock.wall() - self._read_at > FRESH_S:
                self._read()
            seen = list(self._seen.values())
        counts = _count(seen, rights, selector)
        names = self._names({digest for _, digest in counts})
        found = [
            Artifact(kind, digest, names.get(digest, called), *count)
            for (kind, digest), (called, count) in counts.items()
        ]
        return sorted(found, key=lambda each: (-each.devices, each.kind, each.name, each.digest))

    def _read(self) -> None:
        fresh: dict[str, _Seen] = {}
        with self._database.read() as session:
            for rows in _pages(session):
                told = self._told_anew(session, rows)
                for row in rows:
                    runs = told[row.id] if row.id in told else self._seen[row.id].runs
                    fresh[row.id] = _Seen(row.labels, row.presence, row.reported_at, runs)
        self._seen, self._read_at = fresh, self._clock.wall()

    def _told_anew(self, session: Session, rows: Sequence[Any]) -> dict[str, _Runs]:
        """What those run that have reported since they were read."""
        changed = [
            row.id
            for row in rows
            if (known := self._seen.get(row.id)) is None or known.reported_at != row.reported_at
        ]
        query = select(Device.id, Device.reported).where(Device.id.in_(changed))
        return {row.id: _runs(row.reported) for row in session.execute(query)}

    def _names(self, digests: set[str]) -> dict[str, str]:
        """Digest → name@version of the registry, the newest where several have it."""
        with self._database.read() as session:
            query = select(Version.digest, Version.name, Version.version).order_by(Version.version)
            return {
                row.digest: f"{row.name}@{row.version}"
                for row in session.execute(query)
                if row.digest in digests
            }


def _count(
    seen: list[_Seen], rights: Rights, selector: Selector
) -> dict[tuple[str, str], tuple[str, tuple[int, int, int]]]:
    devices: Counter[tuple[str, str]] = Counter()
    online: Counter[tuple[str, str]] = Counter()
    troubled: Counter[tuple[str, str]] = Counter()
    names: dict[tuple[str, str], str] = {}
    everything = rights.everywhere is not None and selector.everything
    for device in seen:
        if not everything and (rights.on(device.labels) is None or not selector.matches(device.labels)):
            continue
        for kind, digest, name, well in device.runs:
            key = (kind, digest)
            names.setdefault(key, name)
            devices[key] += 1
            online[key] += device.presence == "online"
            troubled[key] += not well
    return {key: (names[key], (devices[key], online[key], troubled[key])) for key in devices}


def _pages(session: Session) -> Iterator[Sequence[Any]]:
    after = ""
    while True:
        query = select(Device.id, Device.labels, Device.presence, Device.reported_at)
        rows = session.execute(
            query.where(Device.id > after, Device.retired_at.is_(None)).order_by(Device.id).limit(SCAN_ROWS)
        ).all()
        yield rows
        if len(rows) < SCAN_ROWS:
            return
        after = rows[-1].id


def _runs(reported: dict[str, Any] | None) -> _Runs:
    found = {}
    for section, kind in KINDS.items():
        states = (reported or {}).get(section)
        for name, state in states.items() if isinstance(states, dict) else ():
            if isinstance(state, dict) and isinstance(state.get("digest"), str):
                digest = sys.intern(state["digest"])
                found[kind, digest] = (kind, digest, sys.intern(str(name)), state.get("state") == "ok")
    return tuple(found.values())
