"""What an unfinished rollout needs of the registry: what it brings, and what its devices would go back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from fleet.registry import find
from fleet.rollout.change import REFERENCES
from fleet.rollout.state import ENDS
from fleet.rollout.tables import RolloutMember, RolloutRow
from fleet.tables import DesiredRevision
from wire.problem import Problem


def pinned(session: Session) -> Iterator[str]:
    """Digests that no clean-up may take."""
    running = RolloutRow.phase.not_in([phase.value for phase in ENDS])
    for plan in session.scalars(select(RolloutRow.plan).where(running)):
        yield from _brought(session, plan.get("change", {}))
    held = (
        select(DesiredRevision.digests)
        .join(RolloutMember, RolloutMember.device == DesiredRevision.device)
        .join(RolloutRow, RolloutRow.name == RolloutMember.rollout)
        .where(running)
        .where(
            or_(
                DesiredRevision.revision == RolloutMember.former,
                DesiredRevision.revision == RolloutMember.revision,
            )
        )
    )
    for digests in session.scalars(held):
        yield from digests


def _brought(session: Session, change: Mapping[str, Any]) -> Iterator[str]:
    for section, kind in REFERENCES.items():
        entries = change.get(section)
        for value in entries.values() if isinstance(entries, dict) else ():
            named = value.get(kind) or value.get("digest") if isinstance(value, dict) else value
            found = find(session, kind, named) if isinstance(named, str) else None
            if found is not None and not isinstance(found, Problem):
                yield found.digest
    agent = change.get("agent")
    named = (agent.get("release") or agent.get("digest")) if isinstance(agent, dict) else agent
    release = find(session, "release", named) if isinstance(named, str) else None
    if release is not None and not isinstance(release, Problem):
        yield release.digest
