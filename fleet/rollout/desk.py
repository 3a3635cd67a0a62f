"""Rollouts as people handle them: created after a look at everything that could refuse them, listed, and told what to do."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet import audit
from fleet.access.grants import Role
from fleet.auth import Principal
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import Refused
from fleet.resolution import resolve
from fleet.rollout import change, decision, healths, orders, store
from fleet.rollout.board import Line, board
from fleet.rollout.plan import Plan
from fleet.rollout.runner import matching_devices
from fleet.rollout.state import ENDS, Member, State
from fleet.rollout.store import Rollout
from fleet.rollout.tables import RolloutNote, RolloutRow
from fleet.tables import DesiredRevision, Device
from wire.doc import read
from wire.errors import Refused as WireRefused
from wire.problem import Problem, nearest
from wire.reasons import Reason

TRIED = 50
"""Devices whose desired state is tried with the change before a rollout is made; the others are tried when their turn comes."""
SHOWN_PROBLEMS = 20
LOOKED_AT = 200
"""Devices of each side whose figures are shown; the decision looks at all of them."""

ORDERS: dict[str, tuple[Role, Callable[[State], State]]] = {
    "pause": (Role.OPERATOR, orders.pause),
    "resume": (Role.OPERATOR, orders.resume),
    "approve": (Role.APPROVER, orders.approve),
    "abort": (Role.OPERATOR, orders.abort),
    "roll-back": (Role.OPERATOR, orders.roll_back),
}


@dataclass(frozen=True)
class Preview:
    """What a plan would do: devices in all and at the end of each wave, those of the first wave, and what would refuse it."""

    devices: int
    waves: list[int]
    first: list[str]
    problems: list[Problem]


class Rollouts:
    """Thread-safe; each call is one transaction."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, body: object, who: Principal) -> Rollout:
        """:raises Refused: the plan makes no sense, names nobody, or a device's desired state does not take the change
        :raises NotAllowed: who asks is not operator of every device it reaches
        :raises Taken: there is one of this name
        """
        plan = _plan(body)
        at = self._clock.wall()
        with self._database.write() as session:
            devices = matching_devices(session, plan.selector)
            self._check(session, plan, devices, who)
            state = decision.begin(devices, at)
            store.create(session, plan, state, who.actor)
            store.note(
                session,
                plan.name,
                at,
                who.actor,
                f"created for {len(devices)} devices, {len(plan.waves)} waves",
            )
            audit.record(
                session,
                at,
                who.actor,
                "rollout.create",
                plan.name,
                after=plan.to_json(),
                devices=len(devices),
            )
        return self.get(plan.name)

    def preview(self, body: object, who: Principal) -> Preview:
        """What a rollout would reach, and what would refuse it. Nothing is kept.

        :raises Refused: the plan makes no sense by itself
        :raises NotAllowed: who asks is not operator of every device it reaches
        """
        plan = _plan(body)
        with self._database.read() as session:
            devices = matching_devices(session, plan.selector)
            found: list[Problem] = []
            try:
                self._check(session, plan, devices, who)
            except Refused as e:
                found = list(e.problems or (Problem("", e.reason, str(e)),))
            if store.exists(session, plan.name):
                found.append(
                    Problem("name", Reason.ROLLOUT_STATE, f"there is a rollout called {plan.name!r}")
                )
        first = decision.order(plan, devices)[: plan.waves[0].limit(len(devices))]
        return Preview(len(devices), [wave.limit(len(devices)) for wave in plan.waves], first, found)

    def gates(self, name: str) -> list[Line]:
        """The gates of its wave, with figures.

        :raises NotFound: no such rollout
        """
        with self._database.read() as session:
            found = store.load(session, name)
            figures = healths.compared(session, found, LOOKED_AT)
        return board(found.plan, found.state, figures, self._clock.wall())

    def _check(self, session: Session, plan: Plan, devices: frozenset[str], who: Principal) -> None:
        labels = {
            name: kept for name, kept in session.execute(select(Device.id, Device.labels)) if name in devices
        }
        if plan.dynamic:
            who.require(Role.OPERATOR)
        for name, kept in sorted(labels.items()):
            who.require_on(kept, Role.OPERATOR, name)
        if not devices and not plan.dynamic:
            raise Refused(
                Reason.ROLLOUT_INVALID, f"no device matches {plan.selector!r}; look with fleet device list"
            )
        strangers = [name for name in plan.first if name not in devices]
        if strangers:
            hint = nearest(strangers[0], devices)
            raise Refused(
                Reason.ROLLOUT_INVALID,
                f"first: {', '.join(strangers)} are not among the devices it reaches; {hint}",
            )
        found = [
            problem
            for name in decision.order(plan, devices)[:TRIED]
            for problem in _problems(session, name, plan.change)
        ]
        if found:
            raise Refused(
                found[0].reason,
                f"{len(found)} problem(s) with the change: {'; '.join(map(str, found[:3]))}",
                found[:SHOWN_PROBLEMS],
            )

    def get(self, name: str) -> Rollout:
        """:raises NotFound: no such rollout"""
        with self._database.read() as session:
            return store.load(session, name)

    def page(self, before: tuple[float, str], limit: int) -> list[tuple[RolloutRow, dict[str, int]]]:
        """The newest first, with devices by status, beginning before a start and name."""
        query = select(RolloutRow).order_by(RolloutRow.since.desc(), RolloutRow.name.desc())
        since, name = before
        query = query.where(
            (RolloutRow.since < since) | ((RolloutRow.since == since) & (RolloutRow.name < name))
        )
        with self._database.read() as session:
            rows = list(session.scalars(query.limit(limit)))
            counts = store.counts(session)
            return [(row, counts.get(row.name, {})) for row in rows]

    def members(self, name: str, after: str, limit: int, visible: Collection[str]) -> list[Member]:
        """Devices by name, of those that may be seen.

        :raises NotFound: no such rollout
        """
        found = self.get(name).state.members
        return [found[device] for device in sorted(found) if device > after and device in visible][:limit]

    def notes(self, name: str, limit: int) -> list[RolloutNote]:
        """:raises NotFound: no such rollout"""
        with self._database.read() as session:
            store.load(session, name)
            return store.notes(session, name, limit)

    def order(self, name: str, verb: str, who: Principal) -> Rollout:
        """Pause, resume, approve, abort, roll back.

        :raises Refused: its state does not allow it
        :raises NotAllowed: who asks may not
        """
        role, apply = ORDERS[verb]
        return self._change(name, verb, who, role, apply)

    def retry(self, name: str, devices: list[str], who: Principal) -> Rollout:
        """Tell failed devices once more; all of them where none is named."""

        def apply(state: State) -> State:
            return orders.retry(state, devices or state.members, self._clock.wall())

        return self._change(name, "retry", who, Role.OPERATOR, apply)

    def remove(self, name: str, who: Principal) -> None:
        """Forget a rollout that has ended.

        :raises Refused: it has not
        """
        with self._database.write() as session:
            found = store.load(session, name)
            self._require(session, found, who, Role.OPERATOR)
            if found.state.phase not in ENDS:
                raise Refused(
                    Reason.ROLLOUT_STATE, f"rollout {name!r} is {found.state.phase.value}; abort it first"
                )
            store.remove(session, name)
            audit.record(session, self._clock.wall(), who.actor, "rollout.remove", name)

    def _change(
        self, name: str, verb: str, who: Principal, role: Role, apply: Callable[[State], State]
    ) -> Rollout:
        at = self._clock.wall()
        with self._database.write() as session:
            before = store.load(session, name)
            self._require(session, before, who, role)
            after = apply(before.state)
            store.save(session, name, before, after)
            store.note(
                session, name, at, who.actor, f"{verb}: {before.state.phase.value} → {after.phase.value}"
            )
            audit.record(session, at, who.actor, f"rollout.{verb}", name, phase=after.phase.value)
        return self.get(name)

    def _require(self, session: Session, rollout: Rollout, who: Principal, role: Role) -> None:
        if rollout.plan.dynamic:
            who.require(role)
        wanted = rollout.state.members.keys()
        for device, labels in session.execute(select(Device.id, Device.labels)):
            if device in wanted:
                who.require_on(labels, role, device)


def _plan(body: object) -> Plan:
    try:
        return read(Plan, body)
    except WireRefused as e:
        raise Refused(Reason.ROLLOUT_INVALID, str(e), e.problems) from e


def _problems(session: Session, device: str, wanted: Mapping[str, Any]) -> list[Problem]:
    newest = session.scalar(
        select(DesiredRevision.document)
        .where(DesiredRevision.device == device)
        .order_by(DesiredRevision.revision.desc())
        .limit(1)
    )
    header = {"device": device, "revision": 1, "issued_at": 0.0}
    try:
        resolve(session, change.patched(newest, wanted), header)
    except Refused as e:
        return [
            Problem(
                f"{device}: {problem.path}", problem.reason, problem.message, problem.expected, problem.remedy
            )
            for problem in e.problems or (Problem("", e.reason, str(e)),)
        ]
    return []
