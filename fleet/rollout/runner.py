"""Carries rollouts out: looks at the fleet, has `decision` decide, writes the new state and tells devices. Decides nothing itself.

Only the leading replica ticks. Devices are told in one transaction with their rows, which also checks that the rollout still runs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.desired import DesiredStates, newest_of
from fleet.errors import FleetError, NotFound, Refused, Taken, Transient
from fleet.rollout import change, decision, healths, store
from fleet.rollout.decision import GoBack, Tell, World
from fleet.rollout.plan import Plan
from fleet.rollout.state import Figures, Member, Phase, Seen, Status
from fleet.rollout.store import Rollout
from fleet.rollout.tables import RolloutRow
from fleet.selector import parse
from fleet.tables import DesiredRevision, Device
from wire.doc import read
from wire.reasons import Reason

log = logging.getLogger(__name__)

TICK_S = 1.0
TOLD_AT_ONCE = 10
"""Devices in one transaction: about 30 ms, in which nobody else writes."""
WORKED_ON = (Phase.RUNNING, Phase.ROLLING_BACK, Phase.PAUSED, Phase.AWAITING_APPROVAL, Phase.DONE)
TELLING = {
    Tell: frozenset({Phase.RUNNING.value, Phase.DONE.value}),
    GoBack: frozenset({Phase.ROLLING_BACK.value}),
}
PUBLISHED_AT_ONCE = 100
SYSTEM = "rollout"


@dataclass
class Effort:
    """What decisions have taken since the start, s."""

    decisions: int = 0
    total_s: float = 0.0
    most_s: float = 0.0

    def add(self, took_s: float) -> None:
        self.decisions += 1
        self.total_s += took_s
        self.most_s = max(self.most_s, took_s)

    @property
    def mean_s(self) -> float:
        return self.total_s / self.decisions if self.decisions else 0.0


class Runner:
    """`run` ticks until cancelled, while `leads` says so. `guard` raises in a transaction that only a leader may make."""

    def __init__(
        self,
        database: Database,
        desired: DesiredStates,
        clock: Clock,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
        tick_s: float = TICK_S,
    ) -> None:
        self._database = database
        self._desired = desired
        self._clock = clock
        self._leads = leads
        self._guard = guard
        self._tick_s = tick_s
        self.effort = Effort()

    async def run(self) -> None:
        while True:
            if self._leads():
                await self.tick()
            await asyncio.sleep(self._tick_s)

    async def tick(self) -> None:
        """Each rollout once. One that fails does not hold up the others."""
        for name in await asyncio.to_thread(self._names):
            try:
                await self._carry_out(name, await asyncio.to_thread(self._decide, name))
            except Taken as e:
                log.info("a rollout has changed meanwhile", extra={"rollout": name, "cause": str(e)})
            except FleetError as e:
                log.warning("a rollout is held up", extra={"rollout": name, "cause": str(e)})
            except Exception:  # the boundary: other rollouts go on
                log.exception("a rollout cannot be worked on", extra={"rollout": name})

    def _names(self) -> list[str]:
        with self._database.read() as session:
            return store.names(session, WORKED_ON)

    # --- looking and deciding -----------------------------------------------------------------------------------------

    def _decide(self, name: str) -> tuple[Tell | GoBack, ...]:
        began_mono = self._clock.mono()
        try:
            return self._decided(name)
        finally:
            self.effort.add(self._clock.mono() - began_mono)

    def _decided(self, name: str) -> tuple[Tell | GoBack, ...]:
        with self._database.read() as session:
            before = store.load(session, name)
            world = self._world(session, before)
        decided = decision.decide(before.plan, before.state, world)
        after = decided.state
        if after != before.state:
            with self._database.write() as session:
                self._guard(session)
                store.save(session, name, before, after)
                if words := _news(before, after):
                    store.note(session, name, world.at, SYSTEM, words)
                    log.info("rollout", extra={"rollout": name, "words": words})
        return decided.actions

    def _world(self, session: Session, rollout: Rollout) -> World:
        at = self._clock.wall()
        matching = matching_devices(session, rollout.plan.selector) if rollout.plan.dynamic else frozenset()
        found = seen(session, rollout.state.members.keys() | matching)
        return World(
            at, found, matching & found.keys(), self._figures(session, rollout), rollout.plan.is_open(at)
        )

    def _figures(self, session: Session, rollout: Rollout) -> dict[str, Figures]:
        """Only where the wave has settled and is going to be compared: health documents are large."""
        if rollout.state.settled_at is None or rollout.state.phase is not Phase.RUNNING:
            return {}
        return healths.compared(session, rollout)

    # --- doing --------------------------------------------------------------------------------------------------------

    async def _carry_out(self, name: str, actions: Sequence[Tell | GoBack]) -> None:
        """Tell devices, some in each transaction: with many devices most of the time would go to waiting for the disk."""
        for start in range(0, len(actions), PUBLISHED_AT_ONCE):
            some = actions[start : start + PUBLISHED_AT_ONCE]
            told: list[str] = []
            try:
                for first in range(0, len(some), TOLD_AT_ONCE):
                    told += await asyncio.to_thread(self._tell, name, some[first : first + TOLD_AT_ONCE])
            finally:
                await self._publish(name, told)

    async def _publish(self, name: str, devices: Sequence[str]) -> None:
        try:
            await self._desired.publish_some(devices)
        except Transient as e:
            log.warning("desired states wait for the broker", extra={"rollout": name, "cause": str(e)})

    def _tell(self, name: str, actions: Sequence[Tell | GoBack]) -> list[str]:
        """The devices that have a new desired state now."""
        told: list[str] = []
        with self._database.write() as session:
            self._guard(session)
            row = session.get(RolloutRow, name)
            phase = row.phase if row is not None else None
            if row is None or any(phase not in TELLING[type(action)] for action in actions):
                raise Taken(Reason.ROLLOUT_STATE, f"rollout {name!r} is {phase} by now; nobody is told")
            patch = read(Plan, row.plan).change
            members = store.members_of(session, name, [action.device for action in actions])
            made = []
            for action in actions:
                member = members[action.device]
                after = self._told(session, name, patch, action, member)
                if after is not None:
                    made.append(after)
                    told += [action.device] if after.status is not Status.FAILED else []
            store.save_members(session, name, made)
        return told

    def _told(
        self, session: Session, name: str, patch: Mapping[str, Any], action: Tell | GoBack, member: Member
    ) -> Member | None:
        """The member after its device was told, or refused the change; None where there is no such device any more."""
        at, device = self._clock.wall(), action.device
        newest = newest_of(session, device)
        revision = newest.revision if newest else 0
        if isinstance(action, Tell):
            wanted = change.patched(newest.document if newest else None, patch)
        else:
            before = session.get(DesiredRevision, (device, member.former))
            wanted = change.former(before.document if before else {}, patch)
        try:
            row = self._desired.add(session, device, wanted, f"{SYSTEM}:{name}", revision)
        except NotFound:
            return None
        except Refused as e:
            store.note(session, name, at, SYSTEM, f"{device} does not take the change: {e}")
            return decision.member_refused(member, e.reason.value, str(e), at)
        if isinstance(action, Tell):
            return decision.member_told(member, row.revision, revision, at)
        return decision.member_sent_back(member, row.revision, at)


def seen(session: Session, devices: Any) -> dict[str, Seen]:
    """What is known of the devices now; those that are no more are absent."""
    newest = (
        select(DesiredRevision.device, func.max(DesiredRevision.revision).label("newest"))
        .group_by(DesiredRevision.device)
        .subquery()
    )
    reported = Device.reported
    query = select(
        Device.id,
        Device.presence,
        func.coalesce(newest.c.newest, 0),
        *(reported[name].as_integer() for name in ("revision", "offered")),
        *(reported[name].as_string() for name in ("phase", "reason", "message")),
    ).outerjoin(newest, newest.c.device == Device.id)
    wanted = set(devices)
    return {
        name: Seen(
            presence == "online", given, revision or 0, offered or 0, phase or "", reason or "", message or ""
        )
        for name, presence, given, revision, offered, phase, reason, message in session.execute(query)
        if name in wanted
    }


def matching_devices(session: Session, selector: str) -> frozenset[str]:
    """The devices whose labels match, those without an identity any more left out."""
    wanted = parse(selector)
    rows = session.execute(select(Device.id, Device.labels).where(Device.revoked_at.is_(None)))
    return frozenset(name for name, labels in rows if wanted.matches(labels))


def _news(before: Rollout, after: Any) -> str:
    """What the history should say; empty where only counts have changed."""
    was = before.state
    if after.phase is not was.phase:
        return f"{after.phase.value}: {after.judged}" if after.judged else str(after.phase.value)
    if after.wave != was.wave:
        return f"wave {was.wave + 1} has passed; wave {after.wave + 1} of {len(before.plan.waves)} begins"
    return ""
