"""The fleet in a few hundred numbers: devices, cameras, faults, models, by the value of one label. Never by device.

At 20,000 devices a time series each would be a data base of its own; what one device does is asked of that device, or of the API.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.alerts.tables import AlertRow
from fleet.db import Database
from fleet.health.tables import FaultRow
from fleet.picture_rows import PictureRow
from fleet.rollout.tables import RolloutRow
from fleet.tables import ClipRow, Device, EventRow

CHUNK_ROWS = 500
PAUSE_S = 0.002
"""Between two pieces, so that what else this process does goes on."""
FRESH_S = 300.0
"""Older figures of health say nothing of now."""
MOST_GROUPS = 100
MOST_VALUES = 50
OTHER = "other"


@dataclass
class Census:
    """Counts by group (the value of the label) and by something else."""

    devices: Counter[tuple[str, str]] = field(default_factory=Counter)
    phases: Counter[tuple[str, str]] = field(default_factory=Counter)
    cameras: Counter[tuple[str, str]] = field(default_factory=Counter)
    faults: Counter[tuple[str, str]] = field(default_factory=Counter)
    blind_s: Counter[tuple[str, str]] = field(default_factory=Counter)
    results_s: Counter[tuple[str]] = field(default_factory=Counter)
    outbox_rows: Counter[tuple[str]] = field(default_factory=Counter)
    hot: Counter[tuple[str]] = field(default_factory=Counter)
    agents: Counter[tuple[str]] = field(default_factory=Counter)
    rollouts: Counter[tuple[str]] = field(default_factory=Counter)
    open_faults: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest_event: int = 0
    kept_bytes: Counter[tuple[str]] = field(default_factory=Counter)
    kept: Counter[tuple[str]] = field(default_factory=Counter)
    took_s: float = 0.0


class Groups:
    """Values of the label, bounded: those beyond the first `most` are `other`."""

    def __init__(self, label: str, most: int = MOST_GROUPS) -> None:
        self._label = label
        self._most = most
        self._known: set[str] = set()

    def of(self, labels: Mapping[str, str]) -> str:
        value = labels.get(self._label, "")
        if value in self._known or len(self._known) < self._most:
            self._known.add(value)
            return value
        return OTHER


def take(database: Database, label: str, at_wall: float) -> Census:
    """Count everything, in pieces. Takes about 80 µs of processor a device of four cameras."""
    begun_mono = time.monotonic()
    census, groups = Census(), Groups(label)
    with database.read() as session:
        for row in _devices(session):
            _count(census, groups.of(row.labels), row, at_wall)
        for phase, count in session.execute(
            select(RolloutRow.phase, func.count()).group_by(RolloutRow.phase)
        ):
            census.rollouts[(phase,)] = count
        _faults(session, census)
        census.newest_event = int(session.scalar(select(func.max(EventRow.row))) or 0)
        for name, table in (("clip", ClipRow), ("picture", PictureRow)):
            sums: Any = select(func.count(), func.coalesce(func.sum(table.size_bytes), 0))
            count, size = session.execute(sums).one()
            census.kept[(name,)], census.kept_bytes[(name,)] = int(count), int(size)
    for counter in (census.phases, census.faults, census.blind_s, census.agents):
        _bound(counter)
    census.took_s = time.monotonic() - begun_mono
    return census


def _devices(session: Session) -> Iterable[Any]:
    """Without those that are retired. The phase is taken out by the database: the rest of a reported state is long."""
    after = ""
    columns = (
        Device.id,
        Device.labels,
        Device.presence,
        Device.agent_version,
        Device.reported["phase"].as_string().label("phase"),
        Device.health,
        Device.health_at,
    )
    while True:
        query: Any = select(*columns).where(Device.id > after, Device.retired_at.is_(None))
        rows = session.execute(query.order_by(Device.id).limit(CHUNK_ROWS)).all()
        yield from rows
        if len(rows) < CHUNK_ROWS:
            return
        after = rows[-1].id
        time.sleep(PAUSE_S)


def _count(census: Census, group: str, row: Any, at_wall: float) -> None:
    census.devices[group, row.presence] += 1
    census.agents[(row.agent_version,)] += 1
    if row.phase:
        census.phases[group, str(row.phase)[:24]] += 1
    health = row.health
    if not isinstance(health, dict) or (row.health_at or 0.0) < at_wall - FRESH_S:
        return
    outbox = health.get("outbox")
    census.outbox_rows[(group,)] += _number(outbox.get("rows")) if isinstance(outbox, dict) else 0
    host = health.get("host")
    if isinstance(host, dict) and _number(host.get("temperature_celsius")) >= 85:
        census.hot[(group,)] += 1
    cameras = health.get("cameras")
    for camera in cameras.values() if isinstance(cameras, dict) else ():
        if isinstance(camera, dict):
            _count_camera(census, group, camera)


def _count_camera(census: Census, group: str, camera: Mapping[str, Any]) -> None:
    census.cameras[group, str(camera.get("state", ""))[:24]] += 1
    census.results_s[(group,)] += _number(camera.get("fps"))
    for fault in camera.get("faults") or ():
        if isinstance(fault, dict):
            census.faults[group, str(fault.get("reason", ""))[:64]] += 1
    for cause, blind_s in (camera.get("blind_hour_s") or {}).items():
        census.blind_s[group, str(cause)[:64]] += _number(blind_s)


def _faults(session: Session, census: Census) -> None:
    """Faults that are visible, causes and consequences told apart; alerts that fire. Their site is the label of that name."""
    sites = Groups("site")
    cause: Any = FaultRow.root == FaultRow.id
    found: Any = select(FaultRow.site, FaultRow.code, FaultRow.severity, cause, func.count())
    for site, code, severity, own, count in session.execute(
        found.where(FaultRow.cleared_at.is_(None)).group_by(
            FaultRow.site, FaultRow.code, FaultRow.severity, cause
        )
    ):
        key = (sites.of({"site": site}), code, severity, "cause" if own else "consequence")
        census.open_faults[key] += count
    told: Any = AlertRow.acknowledged_at.is_not(None)
    firing: Any = select(AlertRow.severity, told, func.count()).where(AlertRow.resolved_at.is_(None))
    for severity, acknowledged, count in session.execute(firing.group_by(AlertRow.severity, told)):
        census.alerts[severity, "true" if acknowledged else "false"] += count


def _number(value: Any) -> Any:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def _bound(counter: Counter[Any]) -> None:
    """What devices say may be anything: the rarest values beyond the bound become one."""
    totals: Counter[str] = Counter()
    for key, count in counter.items():
        totals[key[-1]] += count
    kept = {value for value, _ in totals.most_common(MOST_VALUES)}
    for key in [key for key in counter if key[-1] not in kept]:
        rest = (*key[:-1], OTHER)
        counter[rest] += counter.pop(key)
