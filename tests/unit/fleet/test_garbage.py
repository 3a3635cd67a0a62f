"""What a clean-up of the registry takes, and what it never does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from fleet.aliases import Aliases
from fleet.audit import AuditLog
from fleet.db import Database
from fleet.errors import Overtaken
from fleet.garbage import Garbage, Rules
from fleet.rollout.pins import pinned
from fleet.rollout.tables import RolloutMember, RolloutRow
from fleet.tables import ArtifactFile, DesiredRevision, Device, RevisionRun, StoredObject, Version
from tests.unit.fleet.conftest import StillClock

ALL = Rules(keep_newest=1, older_than_days=0)


class Shelf:
    """Objects that are only names."""

    def __init__(self, digests: set[str]) -> None:
        self.digests = digests

    async def remove(self, digest: str) -> None:
        self.digests.remove(digest)

    async def put(self, digest: str, content: bytes) -> None: ...
    async def put_file(self, digest: str, path: Any) -> None: ...
    async def holds(self, digest: str) -> bool:
        return digest in self.digests

    async def stream(self, digest: str, start: int, end: int) -> AsyncIterator[bytes]:
        yield b""

    async def address(self, digest: str) -> str | None:
        return None


def digest(name: str) -> str:
    return "sha256:" + name.rjust(64, "0")


def add(database: Database, number: int, files: tuple[str, ...], kind: str = "model") -> None:
    """Version `number` of the model or release m, of these files."""
    own = digest(f"a{number}")
    with database.write() as session:
        for name in (own, *map(digest, files)):
            session.merge(StoredObject(digest=name, size_bytes=10, created_at=1.0))
        session.flush()
        for name in files:
            session.add(ArtifactFile(artifact=own, path=name, digest=digest(name), size_bytes=10))
        session.add(
            Version(
                kind=kind, name="m", version=number, digest=own, size_bytes=10, card={}, created_at=1.0, created_by="t"
            )
        )  # fmt: skip


def device(database: Database, name: str, revisions: dict[int, int], run: set[int], reported: int) -> None:
    """A device whose desired revision → model version are these, and that has run some of them."""
    with database.write() as session:
        session.add(
            Device(
                id=name, created_at=1.0, enrolled_at=1.0, labels={}, token_hash=name, broker_hash="", presence="never",
                reported={"revision": reported},
            )
        )  # fmt: skip
        session.flush()
        for revision, version in revisions.items():
            session.add(
                DesiredRevision(
                    device=name, revision=revision, document={}, signed={}, digests=[digest(f"a{version}")],
                    created_at=1.0, created_by="t", expires_at=None,
                )
            )  # fmt: skip
        session.add_all(RevisionRun(device=name, revision=r, last_at=float(r)) for r in run)


@pytest.fixture
def shelf(database: Database) -> Shelf:
    for number in range(1, 6):
        add(database, number, (f"f{number}", "f0"))
    return Shelf({digest(f"{kind}{n}") for kind in "af" for n in range(1, 6)} | {digest("f0")})


def test_what_nothing_needs_goes_with_the_files_that_only_it_had(
    database: Database, clock: StillClock, shelf: Shelf
) -> None:
    garbage = Garbage(database, shelf, clock)
    device(database, "d", {1: 2, 2: 3}, set(), 2)
    plan = garbage.plan(ALL)
    assert sorted(v.version for v in plan.versions) == [1, 4]
    assert len(shelf.digests) == 11, "a plan removes nothing"
    garbage.collect(ALL, plan.name, "user:a")
    assert shelf.digests == {digest(f"{kind}{n}") for kind in "af" for n in (2, 3, 5)} | {digest("f0")}
    assert [row.action for row in AuditLog(database).rows()] == ["registry.collect"]
    assert garbage.plan(ALL).versions == ()


def test_alias_newest_and_young_versions_stay(database: Database, clock: StillClock, shelf: Shelf) -> None:
    Aliases(database, clock).set("model", "m", "production", 1, "user:a")
    garbage = Garbage(database, shelf, clock)
    assert sorted(v.version for v in garbage.plan(ALL).versions) == [2, 3, 4]
    assert sorted(v.version for v in garbage.plan(Rules(3, 0)).versions) == [2]
    clock.now_wall = 10 * 86400.0
    assert garbage.plan(Rules(1, 30)).versions == ()


def test_revision_a_device_ran_long_ago_stays_though_many_were_refused_since(
    database: Database, clock: StillClock, shelf: Shelf
) -> None:
    device(database, "d", {1: 1, 2: 2, **dict.fromkeys(range(3, 40), 5)}, {1, 2}, 2)
    versions = {v.version for v in Garbage(database, shelf, clock).plan(ALL).versions}
    assert versions == {3, 4}


def test_release_of_the_agent_that_runs_stays_whatever_is_wanted_by_now(
    database: Database, clock: StillClock
) -> None:
    """A desired state without `agent` leaves a device what it has, and a rollout may still bring another."""
    for number in range(1, 6):
        add(database, number, (f"f{number}",), "release")
    garbage = Garbage(database, Shelf(set()), clock, (pinned,))
    device(database, "d", {1: 9}, set(), 1)
    assert {v.version for v in garbage.plan(ALL).versions} == {1, 2, 3, 4}
    with database.write() as session:
        row = session.get_one(Device, "d")
        row.reported = {"revision": 1, "agent_release": digest("a1")}
        plan = {"change": {"agent": {"release": "m@3"}}}
        session.add(
            RolloutRow(
                name="r", plan=plan, phase="PAUSED", wave=0, since=1.0, approved=0, judged="", created_by="t", version=1
            )
        )  # fmt: skip
    assert {v.version for v in garbage.plan(ALL).versions} == {2, 4}


def test_plan_that_was_overtaken_is_not_carried_out(
    database: Database, clock: StillClock, shelf: Shelf
) -> None:
    garbage = Garbage(database, shelf, clock)
    plan = garbage.plan(ALL)
    device(database, "late", {1: 1}, set(), 0)
    with pytest.raises(Overtaken):
        garbage.collect(ALL, plan.name, "user:a")
    assert len(shelf.digests) == 11


@pytest.mark.parametrize(("phase", "goes"), [("PAUSED", {4}), ("DONE", {1, 2, 3, 4})])
def test_unfinished_rollout_keeps_what_it_brings_and_what_devices_had_before(
    database: Database, clock: StillClock, shelf: Shelf, phase: str, goes: set[int]
) -> None:
    device(database, "d", {1: 1, 2: 2, 3: 5, 4: 5, 5: 5}, set(), 0)
    plan = {"change": {"models": {"m": "m@3"}}}
    with database.write() as session:
        session.add(
            RolloutRow(
                name="r", plan=plan, phase=phase, wave=0, since=1.0, approved=0, judged="", created_by="t", version=1
            )
        )  # fmt: skip
        session.flush()
        session.add(
            RolloutMember(
                rollout="r", device="d", status="told", since=1.0, attempts=1, revision=2, former=1, back=False,
                reason="", message="",
            )
        )  # fmt: skip
    garbage = Garbage(database, shelf, clock, (pinned,))
    assert {v.version for v in garbage.plan(ALL).versions} == goes


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_file_of_what_a_device_may_go_back_to_ever_goes(
    data: st.DataObject, database: Database, clock: StillClock
) -> None:
    with database.write() as session:
        for table in (RevisionRun, DesiredRevision, Device, ArtifactFile, Version, StoredObject):
            session.execute(delete(table))
    files = st.sets(st.sampled_from(["f1", "f2", "f3", "f4"]), min_size=1)
    held = {number: tuple(sorted(data.draw(files))) for number in range(1, 6)}
    for number, names in held.items():
        add(database, number, names)
    revisions = data.draw(st.dictionaries(st.integers(1, 8), st.integers(1, 5), min_size=1))
    run = data.draw(st.sets(st.sampled_from(sorted(revisions))))
    device(database, "d", revisions, run, data.draw(st.sampled_from([0, *revisions])))
    garbage = Garbage(database, Shelf(set()), clock)
    plan = garbage.plan(ALL)
    back = {revisions[r] for r in run} | {revisions[max(revisions)]}
    assert back.isdisjoint(v.version for v in plan.versions)
    needed = {digest(name) for number in back for name in (*held[number], f"a{number}")}
    assert needed.isdisjoint(plan.objects)
