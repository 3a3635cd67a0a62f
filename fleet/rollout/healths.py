"""Health documents of a rollout's devices, read for the figures that its gates compare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.rollout import figures
from fleet.rollout.state import Figures, Status
from fleet.rollout.store import Rollout
from fleet.tables import Device

AT_ONCE = 500


def compared(session: Session, rollout: Rollout, most: int | None = None) -> dict[str, Figures]:
    """The figures that the rollout's wave compares: of devices that have taken the change, since they took it, and of those that were
    not told. `most`: look at so many of each side only."""
    wave = rollout.plan.waves[rollout.state.wave]
    wanted = [compare.figure for compare in wave.gates.compare]
    if not wanted:
        return {}
    members = rollout.state.members.values()
    done = {member.device: member.since for member in members if member.status is Status.DONE}
    rest = [member.device for member in members if member.status is Status.WAITING]
    treated = [
        health
        for device, health, at in _documents(session, list(done)[:most])
        if at is not None and at > done[device]
    ]
    return figures.compared(wanted, treated, [health for _, health, _ in _documents(session, rest[:most])])


def _documents(session: Session, devices: list[str]) -> list[tuple[str, Mapping[str, Any], float | None]]:
    found: list[tuple[str, Mapping[str, Any], float | None]] = []
    for start in range(0, len(devices), AT_ONCE):
        query = select(Device.id, Device.health, Device.health_at).where(
            Device.id.in_(devices[start : start + AT_ONCE])
        )
        found += [(name, health, at) for name, health, at in session.execute(query) if health]
    return found
