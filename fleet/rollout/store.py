"""Rollouts in the database: rows to states and back. A state is written only over the version it was read from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from fleet.errors import NotFound, Taken
from fleet.rollout.plan import Plan
from fleet.rollout.state import Member, Phase, State, Status
from fleet.rollout.tables import RolloutMember, RolloutNote, RolloutRow
from wire.doc import read
from wire.problem import nearest
from wire.reasons import Reason

MEMBER_FIELDS = tuple(f.name for f in fields(Member))
MEMBER_COLUMNS = tuple(getattr(RolloutMember, name) for name in MEMBER_FIELDS)


@dataclass(frozen=True)
class Rollout:
    """One rollout as it was read."""

    plan: Plan
    state: State
    created_by: str
    version: int


def load(session: Session, name: str) -> Rollout:
    """:raises NotFound: no such rollout"""
    row = session.get(RolloutRow, name)
    if row is None:
        raise NotFound("rollout", name, nearest(name, session.scalars(select(RolloutRow.name))))
    rows = session.execute(select(*MEMBER_COLUMNS).where(RolloutMember.rollout == name))
    members = {member.device: member for member in map(_member, rows)}
    state = State(Phase(row.phase), row.wave, row.since, row.settled_at, row.approved, row.judged, members)
    return Rollout(read(Plan, row.plan), state, row.created_by, row.version)


def exists(session: Session, name: str) -> bool:
    """Whether there is one of this name."""
    return session.get(RolloutRow, name) is not None


def names(session: Session, phases: Iterable[Phase]) -> list[str]:
    """Of the rollouts in one of these phases, the oldest first."""
    wanted = [phase.value for phase in phases]
    query = (
        select(RolloutRow.name)
        .where(RolloutRow.phase.in_(wanted))
        .order_by(RolloutRow.since, RolloutRow.name)
    )
    return list(session.scalars(query))


def create(session: Session, plan: Plan, state: State, actor: str) -> None:
    """:raises Taken: there is one of this name"""
    if session.get(RolloutRow, plan.name) is not None:
        raise Taken(Reason.ROLLOUT_STATE, f"there is a rollout called {plan.name!r}; take another name")
    session.add(
        RolloutRow(name=plan.name, plan=plan.to_json(), created_by=actor, version=1, **_columns(state))
    )
    session.flush()
    save_members(session, plan.name, list(state.members.values()))


def save(session: Session, name: str, before: Rollout, after: State) -> None:
    """Write what has changed.

    :raises Taken: somebody else has written meanwhile
    """
    row = session.get(RolloutRow, name, with_for_update=True)
    if row is None or row.version != before.version:
        raise Taken(Reason.ROLLOUT_STATE, f"rollout {name!r} has changed meanwhile; look again")
    row.version += 1
    for column, value in _columns(after).items():
        setattr(row, column, value)
    was = before.state.members
    save_members(
        session, name, [member for device, member in after.members.items() if was.get(device) is not member]
    )


def members_of(session: Session, name: str, devices: Sequence[str]) -> dict[str, Member]:
    """Of some devices."""
    rows = session.execute(
        select(*MEMBER_COLUMNS).where(RolloutMember.rollout == name, RolloutMember.device.in_(devices))
    )
    return {member.device: member for member in map(_member, rows)}


def save_members(session: Session, name: str, members: Sequence[Member]) -> None:
    """Write the rows of these devices."""
    if not members:
        return
    make: Any = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = make(RolloutMember)
    new = {field: statement.excluded[field] for field in MEMBER_FIELDS if field != "device"}
    session.connection().execute(
        statement.on_conflict_do_update(index_elements=["rollout", "device"], set_=new),
        [{"rollout": name, **_values(member)} for member in members],
    )


def note(session: Session, name: str, at: float, actor: str, words: str) -> None:
    """Add a line to the history."""
    session.add(RolloutNote(rollout=name, at=at, actor=actor, words=words))


def notes(session: Session, name: str, limit: int) -> list[RolloutNote]:
    """The history's last lines, the oldest first."""
    query = (
        select(RolloutNote).where(RolloutNote.rollout == name).order_by(RolloutNote.row.desc()).limit(limit)
    )
    return list(session.scalars(query))[::-1]


def counts(session: Session) -> dict[str, dict[str, int]]:
    """Rollout → status → devices."""
    query = select(RolloutMember.rollout, RolloutMember.status, func.count()).group_by(
        RolloutMember.rollout, RolloutMember.status
    )
    found: dict[str, dict[str, int]] = {}
    for rollout, status, number in session.execute(query):
        found.setdefault(rollout, {})[status] = number
    return found


def remove(session: Session, name: str) -> None:
    """Forget a rollout with its devices and its history."""
    for table in (RolloutNote, RolloutMember):
        session.execute(delete(table).where(table.rollout == name))
    session.execute(delete(RolloutRow).where(RolloutRow.name == name))


def _member(row: Sequence[Any]) -> Member:
    values = dict(zip(MEMBER_FIELDS, row, strict=True))
    return Member(**{**values, "status": Status(values["status"])})


def _values(member: Member) -> dict[str, Any]:
    return {**vars(member), "status": member.status.value, "message": member.message[:2000]}


def _columns(state: State) -> dict[str, Any]:
    return {
        "phase": state.phase.value,
        "wave": state.wave,
        "since": state.since,
        "settled_at": state.settled_at,
        "approved": state.approved,
        "judged": state.judged,
    }
