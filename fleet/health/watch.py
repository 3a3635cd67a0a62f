"""Watches the fleet for faults: reads what has changed, has `decision` decide, writes what is told. Decides nothing itself.

Only the leading replica watches. What is not told yet is in its memory alone: another leader begins to wait anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import FleetError
from fleet.health import decision, signs
from fleet.health.decision import Fault, Key, Kinds, Subject
from fleet.health.groups import places_of
from fleet.health.tables import FaultRow, Signs
from fleet.health.world import Known, World
from fleet.tables import DesiredRevision, Device

log = logging.getLogger(__name__)

OVERLAP_S = 30.0
"""How far back changes are read again: a transaction may end later than a younger one, and another replica's clock may be late."""
LABELS_TICKS = 6
"""Labels change seldom, and to read them all costs more than the rest of a tick."""
AT_ONCE = 500
PAUSE_S = 0.02
"""Between two transactions others write."""
DAY_S = 86_400.0


@dataclass(frozen=True)
class ToldFault:
    """A fault that is told now. `since`: when it was told, or when it ceased to be a consequence."""

    id: str
    code: str
    severity: str
    subject: str
    site: str
    device: str
    part: str
    message: str
    since: float
    consequence: bool


class Watch:
    """`run` ticks until cancelled, while `leads` says so. `guard` raises in a transaction that only a leader may make."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
        kinds: Kinds,
        site_label: str,
        tick_s: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._leads = leads
        self._guard = guard
        self._kinds = kinds
        self._site_label = site_label
        self._tick_s = tick_s
        self.passes = 0
        """How often the fleet has been looked at, or at least tried to."""
        self._forget()

    def _forget(self) -> None:
        self._loaded = False
        self._world = World()
        self._faults: dict[Key, Fault] = {}
        self._names: dict[Key, str] = {}
        self._looked_at = 0.0
        self._ticks = 0
        self._in_service: dict[str, str] = {}
        self._told: tuple[ToldFault, ...] = ()

    @property
    def loaded(self) -> bool:
        """Whether the faults of now are known here."""
        return self._loaded

    async def run(self) -> None:
        while True:
            if not self._leads():
                self._forget()
            else:
                try:
                    await asyncio.to_thread(self.tick)
                except FleetError as e:
                    log.info("faults are looked at later", extra={"cause": str(e)})
                    self._forget()
                except Exception:  # the boundary: the next tick begins anew from the database
                    log.exception("faults cannot be worked on")
                    self._forget()
                self.passes += 1
            await asyncio.sleep(self._tick_s)

    def tick(self) -> None:
        """Look, decide, write."""
        at = self._clock.wall()
        with self._database.read() as session:
            if not self._loaded:
                self._load(session)
            self._look(session)
        if not self._world.changed and not decision.restless(self._faults):
            return
        before = self._faults
        after = decision.decide(before, self._world.seen(), self._world.above, at, self._kinds)
        self._write(before, after)
        self._faults = {key: fault for key, fault in after.items() if fault.cleared_at is None}
        self._names = {key: name for key, name in self._names.items() if key in self._faults}
        self._told = self._tell_all()

    def told(self) -> tuple[ToldFault, ...]:
        """The faults of now, as the last tick has left them. For the leader only."""
        return self._told

    # --- looking ------------------------------------------------------------------------------------------------------

    def _load(self, session: Session) -> None:
        """The faults that were told."""
        rows = list(session.scalars(select(FaultRow).where(FaultRow.cleared_at.is_(None))))
        keys = {row.id: key_of(row) for row in rows}
        for row in rows:
            self._names[keys[row.id]] = row.id
            self._faults[keys[row.id]] = Fault(
                row.opened_at,
                row.message,
                row.visible_at,
                row.clearing_at,
                None,
                keys.get(row.parent or ""),
                row.root_at,
                row.returns,
            )
        self._loaded = True
        self._told = self._tell_all()

    def _tell_all(self) -> tuple[ToldFault, ...]:
        return tuple(
            ToldFault(
                self._names[key],
                key[0],
                self._kinds[key[0]].severity.value if key[0] in self._kinds else "info",
                str(key[1]),
                key[1].site or self._world.site_of(key[1].device),
                key[1].device,
                key[1].part,
                fault.message,
                max(fault.visible_at, fault.root_at or 0.0),
                fault.parent is not None,
            )
            for key, fault in self._faults.items()
            if fault.visible_at is not None and key in self._names
        )

    def _look(self, session: Session) -> None:
        if self._ticks % LABELS_TICKS == 0:
            rows = session.execute(select(Device.id, Device.labels).where(Device.revoked_at.is_(None)))
            self._in_service = {name: str(labels.get(self._site_label, "")) for name, labels in rows}
        self._ticks += 1
        presence = {row.id: row.presence for row in session.execute(select(Device.id, Device.presence))}
        self._world.set_devices(
            {
                name: Known(presence[name], site)
                for name, site in self._in_service.items()
                if presence.get(name, "retired") != "retired"
            }
        )
        query = select(Signs).where(Signs.changed_at >= self._looked_at - OVERLAP_S)
        self._looked_at = self._clock.wall()
        for row in session.scalars(query):
            self._world.set_signs(row.device, row.source, map(signs.of_row, row.signs))
        if self._world.changed:
            for device in self._world.several_lost():
                self._world.set_places(device, _places(session, device))

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, before: Mapping[Key, Fault], after: Mapping[Key, Fault]) -> None:
        told = {key: fault for key, fault in after.items() if fault.visible_at is not None}
        changed = [key for key, fault in told.items() if before.get(key) is not fault]
        moved = {key for key in changed if _parent_of(before.get(key)) != _parent_of(told[key])}
        for key in told:
            if key not in self._names:
                self._names[key] = self._ids.unique()
        roots = {key: self._names[decision.root_of(key, told)] for key in told}
        if moved:  # what stands beneath what has moved has another root
            changed += [key for key in told if told[key].parent is not None and before.get(key) is told[key]]
        for start in range(0, len(changed), AT_ONCE):
            if start:
                time.sleep(PAUSE_S)
            self._write_some(before, told, changed[start : start + AT_ONCE], roots)

    def _write_some(
        self,
        before: Mapping[Key, Fault],
        told: Mapping[Key, Fault],
        keys: list[Key],
        roots: Mapping[Key, str],
    ) -> None:
        new: list[dict[str, Any]] = []
        old: list[dict[str, Any]] = []
        for key in keys:
            former = before.get(key)
            row = self._row(key, told[key], roots[key])
            (old if former is not None and former.visible_at is not None else new).append(row)
        with self._database.write() as session:
            self._guard(session)
            if new:
                session.execute(insert(FaultRow), new)
            if old:
                session.execute(update(FaultRow), old)
        for key in keys:
            _tell(before.get(key), told[key], key)

    def _row(self, key: Key, fault: Fault, root: str) -> dict[str, Any]:
        code, subject = key
        kind = self._kinds.get(code)
        return {
            "id": self._names[key],
            "code": code,
            "severity": kind.severity.value if kind else "info",
            "subject": str(subject),
            "site": subject.site or self._world.site_of(subject.device),
            "device": subject.device,
            "part": subject.part,
            "message": fault.message,
            "opened_at": fault.opened_at,
            "visible_at": fault.visible_at,
            "clearing_at": fault.clearing_at,
            "cleared_at": fault.cleared_at,
            "parent": self._names.get(fault.parent) if fault.parent else None,
            "root": root,
            "root_at": fault.root_at,
            "returns": fault.returns,
        }

    def forget_old(self, days: float) -> int:
        """Remove faults that ended longer ago; how many."""
        until = self._clock.wall() - days * DAY_S
        with self._database.write() as session:
            result: Any = session.execute(delete(FaultRow).where(FaultRow.cleared_at < until))
        return int(result.rowcount)


def key_of(row: FaultRow) -> Key:
    scope = row.subject.partition(":")[0]
    site = row.site if scope == "site" else ""
    return row.code, Subject(scope, site, row.device, row.part)


def _parent_of(fault: Fault | None) -> Key | None:
    return fault.parent if fault is not None else None


def _places(session: Session, device: str) -> dict[str, tuple[str, str]]:
    """Where the cameras are that the newest desired state has watched."""
    query = select(DesiredRevision.document).where(DesiredRevision.device == device)
    document = session.scalar(query.order_by(DesiredRevision.revision.desc()).limit(1)) or {}
    watched = {pipeline.get("camera") for pipeline in document.get("pipelines", {}).values()}
    cameras = document.get("cameras", {})
    return places_of({name: str(cameras[name].get("source", "")) for name in watched & cameras.keys()})


def _tell(before: Fault | None, fault: Fault, key: Key) -> None:
    """One line for each change of state."""
    fields = {"code": key[0], "subject": str(key[1]), "detail": fault.message}
    if fault.cleared_at is not None:
        log.info("fault over", extra=fields)
    elif before is None or before.visible_at is None:
        log.warning("fault", extra=fields)
