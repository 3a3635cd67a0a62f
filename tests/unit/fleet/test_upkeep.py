"""Who is called silent, and who is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleet.db import Database
from fleet.objects import LocalObjects
from fleet.tables import DesiredRevision, Device
from fleet.upkeep import Upkeep
from tests.unit.fleet.conftest import CountingIds, StillClock
from wire.names import FleetId


async def nothing(_topic: str, _payload: bytes) -> None:
    return


def add(
    database: Database, name: str, presence: str, seen_ago_s: float, health_s: float | None = None
) -> None:
    at = StillClock().now_wall
    with database.write() as session:
        session.add(
            Device(id=name, created_at=1.0, enrolled_at=1.0, labels={}, token_hash=name, broker_hash="",
                   presence=presence, last_seen_at=at - seen_ago_s)
        )  # fmt: skip
        if health_s is not None:
            session.flush()
            document = {"settings": {"health_s": health_s}}
            session.add(
                DesiredRevision(device=name, revision=1, document=document, signed={}, digests=[], created_at=1.0,
                                created_by="x")
            )  # fmt: skip


def test_devices_that_say_nothing_for_four_periods_are_called_silent(
    database: Database, clock: StillClock, ids: CountingIds, tmp_path: Path
) -> None:
    certificates: Any = None
    upkeep = Upkeep(FleetId("lab"), database, LocalObjects(tmp_path), certificates, clock, ids, nothing)
    add(database, "talks", "online", 100)
    add(database, "quiet", "online", 130)
    add(database, "polls", "polling", 130)
    add(database, "off", "offline", 9000)
    add(database, "slow", "online", 1000, health_s=300)
    add(database, "slow-gone", "online", 1300, health_s=300)
    assert upkeep.mark_silent() == 3
    with database.read() as session:
        silent = {device.id for device in session.query(Device) if device.presence == "silent"}
    assert silent == {"quiet", "polls", "slow-gone"}
    assert upkeep.mark_silent() == 0
