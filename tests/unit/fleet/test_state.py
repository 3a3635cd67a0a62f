"""What the control plane keeps: schema, tokens, ingest, desired states. No socket, no child."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, inspect, select, update

from fleet.access.grants import Grant, Role
from fleet.api.device import parse_range
from fleet.auth import Tokens, token_hash
from fleet.config import Broker, Config, DataDir, load, save
from fleet.db import Database, check_schema
from fleet.desired import DesiredStates
from fleet.devices import Devices
from fleet.enrolment import Wanted
from fleet.errors import Misconfigured, NotAllowed, NotAuthenticated, NotFound, Refused, Transient
from fleet.ingest import Ingest
from fleet.link import Incoming
from fleet.schema import Base
from fleet.signing import Signer, create_key, load_signer
from fleet.tables import AuditRow, Device, EventRow, StoredObject, Version
from tests.unit.fleet.conftest import CountingIds, StillClock
from wire import desired
from wire.enrol import EnrolRequest
from wire.envelope import Envelope, decode
from wire.names import FleetId

LAB = FleetId("lab")
DIGEST = "sha256:" + "1" * 64


def enrolled(database: Database, clock: StillClock, ids: CountingIds, name: str = "a") -> Devices:
    devices = Devices(database, clock, ids)
    _, token = devices.enrolment_tokens.create(Wanted(60.0, device=name), "test")
    devices.enrol(EnrolRequest(token=token))
    return devices


def test_migrations_make_exactly_the_tables_of_the_code(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_backup_has_every_table(database: Database) -> None:
    """Asked of a process of its own: here the tests have imported more."""
    code = "import fleet.backup; from fleet.tables import Base; print(*Base.metadata.tables)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(told.split()) == set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_database_without_schema_is_not_served(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'empty.db'}")
    with pytest.raises(Misconfigured, match="fleet db upgrade DIR"):
        check_schema(database)
    database.close()


def test_configuration_survives_its_file(tmp_path: Path) -> None:
    config = Config(fleet="lab", broker=Broker(port=0, password="hush"))
    save(DataDir(tmp_path), config)
    assert load(DataDir(tmp_path)) == config
    assert "hush" not in repr(config)


def test_every_problem_of_the_configuration_is_told(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('fleet = "a/b"\n[http]\nport = 99999\nprot = 1\n')
    with pytest.raises(Misconfigured) as refused:
        load(DataDir(tmp_path))
    assert {problem.path for problem in refused.value.problems} == {"fleet", "http.port", "http.prot"}


def test_signing_key_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "state.pem"
    create_key(path)
    before = load_signer(path).public_keys
    create_key(path)
    assert load_signer(path).public_keys == before
    path.chmod(0o644)
    with pytest.raises(Misconfigured, match="chmod 600"):
        load_signer(path)


def test_api_token_ends_with_its_time_and_its_revocation(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    tokens = Tokens(database, clock, ids)
    _, brief = tokens.create("brief", Grant(Role.VIEWER), "test", clock.wall() + 10)
    kept, lasting = tokens.create("lasting", Grant(Role.OPERATOR), "test")
    assert tokens.principal(brief).rights.everywhere is Role.VIEWER
    clock.now_wall += 11
    with pytest.raises(NotAuthenticated):
        tokens.principal(brief)
    tokens.principal(lasting).require(Role.OPERATOR)
    with pytest.raises(NotAllowed):
        tokens.principal(lasting).require(Role.ADMIN)
    tokens.revoke(kept.id, "test")
    with pytest.raises(NotAuthenticated):
        tokens.principal(lasting)


def test_tokens_are_kept_as_hashes_and_every_change_is_audited(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    _, token = Tokens(database, clock, ids).create("someone", Grant(Role.ADMIN), "test")
    with database.read() as session:
        assert session.scalars(select(AuditRow.action)).all() == ["token.create"]
    database.close()
    stored = b"".join(
        path.read_bytes() for path in Path(database.engine.url.database or "").parent.glob("*.db*")
    )
    assert token.encode() not in stored
    assert token_hash(token).encode() in stored


def test_expired_enrolment_token_is_refused(database: Database, clock: StillClock, ids: CountingIds) -> None:
    devices = Devices(database, clock, ids)
    _, token = devices.enrolment_tokens.create(Wanted(60.0), "test")
    clock.now_wall += 61
    with pytest.raises(Refused, match="expired 1 s ago"):
        devices.enrol(EnrolRequest(token=token, device="late"))
    with pytest.raises(NotFound):
        devices.get("late")


def message(topic: str, data: dict[str, Any], message_id: str = "m") -> Incoming:
    return Incoming(f"outrider/1/lab/{topic}", Envelope(message_id, 1.0, "boot", 1, data).encode(), False)


def event(camera: str = "door", seq: int = 1) -> dict[str, Any]:
    return {
        "camera": camera,
        "pipeline": "p",
        "revision": 1,
        "frame_seq": seq,
        "frame_wall": 1.0,
        "workflow": "w",
    }


def take(ingest: Ingest, *messages: Incoming) -> None:
    asyncio.run(ingest.take(messages))


def test_event_delivered_twice_is_stored_once(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids)
    ingest = Ingest(LAB, database, clock, lambda _d, _r: None)
    take(ingest, message("a/event/door", event(), "1"), message("a/event/door", event(), "1"))
    take(ingest, message("a/event/door", event(), "1"), message("a/event/door", event(), "2"))
    ingest.close()
    with database.read() as session:
        assert session.scalars(select(EventRow.id).order_by(EventRow.row)).all() == ["1", "2"]
    assert (ingest.counters.stored_events, ingest.counters.repeated_events) == (2, 2)


def test_same_id_of_another_device_is_another_event(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids, "a")
    enrolled(database, clock, ids, "b")
    ingest = Ingest(LAB, database, clock, lambda _d, _r: None)
    take(ingest, message("a/event/door", event(), "1"), message("b/event/door", event(), "1"))
    ingest.close()
    assert ingest.counters.stored_events == 2


def test_goodbye_that_comes_after_a_device_was_retired_does_not_bring_it_back(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids, "a")
    enrolled(database, clock, ids, "b")
    with database.write() as session:
        session.execute(update(Device).where(Device.id == "a").values(presence="retired", retired_at=1.0))
    ingest = Ingest(LAB, database, clock, lambda _d, _r: None)
    take(ingest, message("a/conn", {"state": "offline"}), message("b/conn", {"state": "offline"}))
    ingest.close()
    with database.read() as session:
        found = session.execute(select(Device.id, Device.presence)).all()
    assert {tuple(row) for row in found} == {("a", "retired"), ("b", "offline")}


def test_message_of_an_unknown_device_is_counted_and_dropped(database: Database, clock: StillClock) -> None:
    ingest = Ingest(LAB, database, clock, lambda _d, _r: None)
    take(ingest, message("ghost/event/door", event()), message("ghost/reported", {}))
    ingest.close()
    assert ingest.counters.refused == {"unknown-device": 1}
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(EventRow)) == 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["camera", "revision", "frame_seq", "state", "host", "rid", "phase", "agent_version", "x"]
)


@given(
    kind=st.sampled_from(["conn", "reported", "health", "event/door", "rsp/1", "cmd/x", "", "event/../x"]),
    data=st.dictionaries(FIELDS, json_values, max_size=6),
    message_id=st.text(max_size=5),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_message_stops_the_ingest(
    database: Database, clock: StillClock, kind: str, data: dict[str, Any], message_id: str
) -> None:
    with database.write() as session:
        session.merge(
            Device(
                id="a",
                created_at=0,
                enrolled_at=0,
                labels={},
                token_hash="h",
                broker_hash="h",
                presence="never",
            )
        )
    body = {"v": 1, "id": message_id, "at": 1.0, "boot": "b", "seq": 1, "data": {**event(), **data}}
    ingest = Ingest(LAB, database, clock, lambda _d, _r: None)
    take(ingest, Incoming(f"outrider/1/lab/a/{kind}", json.dumps(body).encode(), False))
    take(ingest, message("a/event/yard", event("yard"), f"{ingest.counters.received}"))
    ingest.close()
    assert ingest.counters.received == 2
    assert ingest.counters.stored_events + ingest.counters.repeated_events >= 1


def states(
    database: Database, clock: StillClock, ids: CountingIds, sent: list[tuple[str, bytes]], away: bool = False
) -> tuple[DesiredStates, Signer]:
    async def publish(topic: str, payload: bytes) -> None:
        if away:
            from wire.reasons import Reason

            raise Transient(Reason.BROKER_UNAVAILABLE, "away")
        sent.append((topic, payload))

    signer = Signer(Ed25519PrivateKey.generate())
    return DesiredStates(LAB, database, signer, clock, ids, 10.0, publish), signer


def test_revision_grows_and_the_newest_is_published_signed(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids)
    sent: list[tuple[str, bytes]] = []
    desired_states, signer = states(database, clock, ids, sent)
    revisions = [asyncio.run(desired_states.set("a", {}, "test"))[0].revision for _ in range(3)]
    assert revisions == [1, 2, 3]
    assert {topic for topic, _ in sent} == {"outrider/1/lab/a/desired"}
    for (_, payload), revision in zip(sent, revisions, strict=True):
        opened = desired.open_signed(
            decode(payload).data,
            signer.public_keys,
            device="a",
            above_revision=revision - 1,
            at_wall=clock.wall(),
        )
        assert opened.revision == revision


def test_desired_state_is_kept_while_the_broker_is_away(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids)
    desired_states, _ = states(database, clock, ids, [], away=True)
    row, published = asyncio.run(desired_states.set("a", {}, "test"))
    assert (row.revision, published) == (1, False)
    sent: list[tuple[str, bytes]] = []
    again, _ = states(database, clock, ids, sent)
    asyncio.run(again.publish_all())
    assert len(sent) == 1


def test_old_document_is_signed_anew_under_its_revision(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids)
    sent: list[tuple[str, bytes]] = []
    desired_states, signer = states(database, clock, ids, sent)
    asyncio.run(desired_states.set("a", {}, "test"))
    asyncio.run(desired_states.set("a", {"cameras": {"c": {"source": "0"}}}, "test"))
    assert asyncio.run(desired_states.renew()) == 0
    clock.now_wall += 6 * 86400
    assert asyncio.run(desired_states.renew()) == 1
    clock.now_wall += 6 * 86400
    opened = desired.open_signed(
        decode(sent[-1][1]).data, signer.public_keys, device="a", above_revision=1, at_wall=clock.wall()
    )
    assert (opened.revision, set(opened.cameras)) == (2, {"c"})


def registered(database: Database, kind: str, name: str, card: dict[str, Any]) -> None:
    with database.write() as session:
        session.merge(StoredObject(digest=DIGEST, size_bytes=1, created_at=0))
        session.add(
            Version(
                kind=kind,
                name=name,
                version=1,
                digest=DIGEST,
                size_bytes=1,
                card=card,
                created_at=0,
                created_by="test",
            )
        )


def test_unknown_fields_of_an_entry_are_kept_and_names_become_digests(
    database: Database, clock: StillClock, ids: CountingIds
) -> None:
    enrolled(database, clock, ids)
    registered(database, "model", "yolo", {})
    desired_states, _ = states(database, clock, ids, [])
    wanted = {"models": {"m": {"model": "yolo", "engine": {"threads": 2}, "future": [1]}}}
    row, _ = asyncio.run(desired_states.set("a", wanted, "test"))
    model = row.document["models"]["m"]
    assert (model["digest"], model["engine"]["threads"], model["future"]) == (DIGEST, 2, [1])
    assert model["version"] == "yolo@1"
    assert wanted == {"models": {"m": {"model": "yolo", "engine": {"threads": 2}, "future": [1]}}}


@given(
    document=json_values
    | st.dictionaries(st.sampled_from(["cameras", "models", "pipelines", "settings"]), json_values)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_document_is_taken_or_refused_with_problems(
    database: Database, clock: StillClock, ids: CountingIds, document: Any
) -> None:
    if not _known(database, "a"):
        enrolled(database, clock, ids)
    desired_states, _ = states(database, clock, ids, [])
    refused = _refusal(desired_states, document)
    assert refused is None or refused.problems


def _refusal(desired_states: DesiredStates, document: Any) -> Refused | None:
    try:
        asyncio.run(desired_states.set("a", document, "test"))
    except Refused as e:
        return e
    return None


def _known(database: Database, name: str) -> bool:
    with database.read() as session:
        return session.get(Device, name) is not None


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-9", (0, 10)),
        ("bytes=90-", (90, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=100-", None),
        ("bytes=-0", None),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=0-1,4-5", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
    ],
)
def test_range_is_cut_from_the_object(header: str, part: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == part
