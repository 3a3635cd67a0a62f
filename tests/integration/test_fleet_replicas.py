"""Two control planes as processes on one PostgreSQL and one external broker; one of them is killed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet import accounts
from fleet.db import Database
from fleet.tables import EventRow, LeaseRow
from tests.fakes.external_broker import ExternalBroker, ports
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.integration import backing
from tests.integration.enrolled import Enrolled
from tests.integration.fleet_stand import Stand, eventually
from wire.names import FleetId

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(bool(backing.missing()), reason=backing.missing() or "-"),
]
TERM_S = 3.0


@dataclass
class Fleet:
    """The replicas `a` and `b`, and their broker."""

    a: Stand
    b: Stand
    broker: ExternalBroker

    @property
    def leader(self) -> Stand:
        return next(stand for stand in (self.a, self.b) if leads(stand))


def leads(stand: Stand) -> bool:
    if stand.process.poll() is not None:
        return False
    with stand.client() as client:
        return bool(client.health()["replica"]["leads"])


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv(backing.VARIABLE, backing.SERVERS)
    port, control_port = ports()
    a = Stand(
        tmp_path / "a",
        "external",
        secure=True,
        start=False,
        port=port,
        control_port=control_port,
        certificates=True,
        more={"replica": "a", "limits": {"lease_s": TERM_S}},
    )
    broker = ExternalBroker(tmp_path / "broker", a.data, port, control_port)
    broker.start(accounts.acl_file(FleetId("lab")))
    b = a.replica(tmp_path / "b", "b")
    a.start()
    b.start()
    yield Fleet(a, b, broker)
    for stand in (a, b):
        stand.kill()
    broker.stop()


def rows(fleet: Fleet) -> list[str]:
    database = Database(fleet.a.data.database_url(fleet.a.config))
    try:
        with database.read() as session:
            return [row.id for row in session.query(EventRow)]
    finally:
        database.close()


@pytest.mark.timeout(300)
def test_killed_replica_loses_and_doubles_no_event_and_the_other_one_leads(
    fleet: Fleet, tmp_path: Path
) -> None:
    leader = eventually(lambda: fleet.leader)
    other = fleet.b if leader is fleet.a else fleet.a
    assert not leads(other)
    device = Enrolled(other, tmp_path / "device", "door-1")
    sent: list[str] = []
    halfway = threading.Event()

    def publish() -> None:
        with device.mqtt() as mqtt:
            for n in range(400):
                assert mqtt.event("door", n, f"e-{n}") < 128
                sent.append(f"e-{n}")
                if n == 150:
                    halfway.set()

    worker = threading.Thread(target=publish)
    worker.start()
    assert halfway.wait(120)
    token_before = lease(fleet)
    leader.kill()
    worker.join(120)
    assert len(sent) == 400
    eventually(lambda: leads(other), 60)
    assert lease(fleet) == token_before + 1
    # What the broker had kept for the killed one is taken over once it has been silent for three terms.
    eventually(lambda: set(rows(fleet)) >= set(sent), 90)
    assert sorted(rows(fleet)) == sorted(sent)


def lease(fleet: Fleet) -> int:
    database = Database(fleet.a.data.database_url(fleet.a.config))
    try:
        with database.read() as session:
            row = session.get(LeaseRow, "leader")
            assert row is not None
            return row.token
    finally:
        database.close()


@pytest.mark.timeout(240)
def test_answer_reaches_the_replica_that_asked_and_both_ingest(fleet: Fleet, tmp_path: Path) -> None:
    from wire import command, envelope

    device = Enrolled(fleet.a, tmp_path / "device", "door-2")
    with device.mqtt() as mqtt:
        assert mqtt.subscribe(mqtt.topics.commands) < 128
        answers = []
        for stand in (fleet.a, fleet.b):
            with stand.client() as client:
                asking = threading.Thread(
                    target=lambda client=client: answers.append(client.command("door-2", "ping", {}, 30.0))
                )
                asking.start()
                rid = envelope.decode(mqtt.next_message()[1]).rid
                assert rid is not None
                mqtt.publish(
                    mqtt.topics.response(rid), command.Response(rid=rid, name="ping", ok=True).to_json()
                )
                asking.join(60)
        assert [answer["ok"] for answer in answers] == [True, True]
        for n in range(40):
            assert mqtt.event("door", n, f"both-{n}") < 128
    eventually(lambda: len(rows(fleet)) == 40)
    taken = []
    for stand in (fleet.a, fleet.b):
        with stand.client() as client:
            taken.append(client.health()["ingest"]["events"])
    assert sum(taken) == 40
    assert min(taken) > 0
