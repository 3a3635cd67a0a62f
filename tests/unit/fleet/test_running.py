"""What runs where, counted; and devices found by a part of their name."""

from __future__ import annotations

from typing import Any

from fleet.access.grants import Grant, Rights, Role, whole
from fleet.auth import Principal
from fleet.db import Database
from fleet.roster import Like, Roster
from fleet.running import FRESH_S, Artifact, Running
from fleet.selector import EVERYTHING, parse
from fleet.tables import Device, StoredObject, Version
from tests.unit.fleet.conftest import StillClock

NEW, OLD, LOOK = ("sha256:" + letter * 64 for letter in "abc")
EVERYBODY = whole(Role.VIEWER)


def add(database: Database, name: str, presence: str, site: str, models: dict[str, Any]) -> None:
    row = Device(
        id=name, created_at=0, enrolled_at=0, labels={"site": site}, token_hash=name, broker_hash="",
        presence=presence, reported={"models": models}, reported_at=1.0,
    )  # fmt: skip
    with database.write() as session:
        session.merge(row)


def fleet(database: Database) -> None:
    good, bad = {"state": "ok", "digest": NEW}, {"state": "failed", "digest": NEW}
    add(database, "gate-1", "online", "north", {"people": good})
    add(database, "gate-2", "offline", "north", {"people": bad, "faces": {"state": "ok", "digest": OLD}})
    add(database, "lane_1", "online", "south", {"people": good, "nonsense": 3})
    with database.write() as session:
        session.add(StoredObject(digest=NEW, size_bytes=1, created_at=0))
        session.flush()
        for number in (1, 2):
            session.add(
                Version(
                    kind="model", name=f"yolox-{number}", version=number, digest=NEW, size_bytes=1, card={},
                    created_at=0, created_by="x",
                )
            )  # fmt: skip


def test_models_are_counted_by_digest_under_the_names_of_the_registry(
    database: Database, clock: StillClock
) -> None:
    fleet(database)
    assert Running(database, clock).artifacts(EVERYBODY) == [
        Artifact("model", NEW, "yolox-2@2", 3, 2, 1),
        Artifact("model", OLD, "faces", 1, 0, 0),
    ]


def test_only_devices_that_may_be_seen_and_match_count(database: Database, clock: StillClock) -> None:
    fleet(database)
    running = Running(database, clock)
    south = Rights((Grant(Role.VIEWER, parse("site=south")),))
    assert [(each.name, each.devices) for each in running.artifacts(south)] == [("yolox-2@2", 1)]
    assert [each.devices for each in running.artifacts(EVERYBODY, parse("site=north"))] == [2, 1]


def test_a_device_that_reported_again_is_read_again_and_not_before(
    database: Database, clock: StillClock
) -> None:
    fleet(database)
    running = Running(database, clock)
    running.artifacts(EVERYBODY)
    with database.write() as session:
        device = session.get_one(Device, "gate-1")
        device.reported, device.presence = {"models": {"x": {"state": "ok", "digest": LOOK}}}, "offline"
    assert [each.online for each in running.artifacts(EVERYBODY)] == [2, 0]
    clock.now_wall += FRESH_S + 1
    assert [each.online for each in running.artifacts(EVERYBODY)] == [1, 0], "presence is read each time"
    with database.write() as session:
        session.get_one(Device, "gate-1").reported_at = 2.0
    clock.now_wall += FRESH_S + 1
    assert {each.digest for each in running.artifacts(EVERYBODY)} == {NEW, OLD, LOOK}


def test_devices_are_found_by_a_part_of_the_name_as_it_is_written(
    database: Database, clock: StillClock
) -> None:
    fleet(database)
    roster, who = Roster(database, clock), Principal("ada", EVERYBODY, "user")
    found = [row.id for row in roster.page(who, EVERYTHING, "", 10, Like("GATE"))]
    assert found == ["gate-1", "gate-2"]
    assert [row.id for row in roster.page(who, EVERYTHING, "", 10, Like("e_1"))] == ["lane_1"]
    assert [row.id for row in roster.page(who, EVERYTHING, "", 10, Like(presence="offline"))] == ["gate-2"]
