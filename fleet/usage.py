"""Which artifacts a device has been told to run, runs, and may go back to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.tables import DesiredRevision, Device, RevisionRun

NEWEST = 3
"""Desired states that a device may still be offered or be working on; it may fetch what they need."""
RUN_KEPT = 16
"""Of the revisions a device has run, so many are taken to be there still. It keeps at least its two last committed ones."""
SCAN_ROWS = 500


@dataclass(frozen=True)
class Use:
    """One device's artifacts, by digest. `kept` holds the others too."""

    device: str
    wanted: frozenset[str]
    running: frozenset[str]
    kept: frozenset[str]


def of_fleet(session: Session) -> Iterator[Use]:
    """Every device, by name."""
    after = ""
    while True:
        query = select(Device.id, Device.reported).where(Device.id > after).order_by(Device.id)
        rows = session.execute(query.limit(SCAN_ROWS)).all()
        for row in rows:
            yield _of(session, row.id, row.reported or {})
        if len(rows) < SCAN_ROWS:
            return
        after = rows[-1].id


def _of(session: Session, device: str, reported: dict[str, Any]) -> Use:
    own = select(DesiredRevision.revision, DesiredRevision.digests).where(DesiredRevision.device == device)
    newest = session.execute(own.order_by(DesiredRevision.revision.desc()).limit(NEWEST)).all()
    run = select(RevisionRun.revision).where(RevisionRun.device == device)
    numbers = set(session.scalars(run.order_by(RevisionRun.last_at.desc()).limit(RUN_KEPT)))
    if isinstance(reported.get("revision"), int):
        numbers.add(reported["revision"])
    back = session.execute(own.where(DesiredRevision.revision.in_(numbers))).all()
    running = frozenset(_reported_digests(reported))
    kept = running.union(*(row.digests for row in (*newest, *back)))
    wanted = frozenset(newest[0].digests) if newest else frozenset()
    return Use(device, wanted, running, kept)


def _reported_digests(reported: dict[str, Any]) -> Iterator[str]:
    for kind in ("models", "workflows"):
        section = reported.get(kind)
        for state in section.values() if isinstance(section, dict) else ():
            if isinstance(state, dict) and isinstance(state.get("digest"), str):
                yield state["digest"]
    if isinstance(reported.get("agent_release"), str):
        yield reported["agent_release"]
