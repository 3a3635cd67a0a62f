"""What is rolled up is what would be computed from every message, whenever it is done and however late a message comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, select

from fleet.db import Database
from fleet.errors import Refused
from fleet.health.buckets import DAY_S, MINUTE_S, QUARTER_S, Bucket, Increments, merge, start_of
from fleet.health.figures import figures, packed, unpacked
from fleet.health.history import History, Keep
from fleet.health.series import SeriesReader, Span
from fleet.health.tables import HealthMark, HealthRow, HealthStep
from fleet.tables import Device
from tests.unit.fleet.conftest import StillClock
from wire.doc import read
from wire.health import Health

BEGIN = 1_700_000_000.0 // DAY_S * DAY_S
KEEP = Keep(3 * 3600.0, 86400.0, 7 * 86400.0, 400 * 86400.0)
LEADS = True


def kept(cpu: float, results: int, blind_s: float = 0.0) -> dict[str, Any]:
    """What is kept of a document with one camera."""
    host = dict.fromkeys(
        ("uptime_s", "load_1m", "memory_total_bytes", "memory_available_bytes", "disk_total_bytes", "disk_free_bytes"), 1
    )  # fmt: skip
    camera = {"state": "streaming", "pipeline": "p", "results": results, "blind_s": {"camera-lost": blind_s}}
    document = {
        "revision": 1,
        "agent_uptime_s": 1.0,
        "host": {**host, "cpu_percent": cpu, "cpu_count": 4},
        "cameras": {"door": camera},
    }
    return figures(read(Health, document))


def history_of(database: Database, clock: StillClock) -> History:
    return History(database, clock, lambda: LEADS, lambda _session: None, KEEP)


def arrive(database: Database, device: str, at: float, received_at: float, what: dict[str, Any]) -> None:
    with database.write() as session:
        row = {"device": device, "at": at, "received_at": received_at, "revision": 1, "figures": packed(what)}
        session.execute(insert(HealthRow), [row])


@pytest.fixture
def fleet(database: Database) -> Database:
    with database.write() as session:
        for name in ("a", "b"):
            session.add(
                Device(id=name, created_at=0, enrolled_at=0, labels={}, token_hash=name, broker_hash="")
            )
    return database


def steps_of(documents: list[tuple[str, float, dict[str, Any]]], step: int) -> dict[tuple[str, int], Bucket]:
    """Every step computed from every message."""
    increments, found = Increments({}, KEEP.raw_s), {}
    for device, at, what in documents:
        increments.add(device, at, what)
    for (device, start), bucket in increments.minutes.items():
        merge(found.setdefault((device, start_of(start, step)), {}), bucket)
    return found


message = st.tuples(
    st.sampled_from("ab"),
    st.integers(1, 1500),  # seconds since the one before
    st.booleans(),  # whether it comes late, after others
    st.floats(0, 100).map(lambda share: round(share, 3)),
    st.integers(0, 500),
    st.integers(0, 3),  # how often is rolled up meanwhile
)


@given(messages=st.lists(message, min_size=1, max_size=12))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=12)
def test_rolled_up_is_recomputed_whatever_comes_when(
    fleet: Database, clock: StillClock, messages: list[tuple[str, int, bool, float, int, int]]
) -> None:
    with fleet.write() as session:
        for table in (HealthRow, HealthStep, HealthMark):
            session.execute(delete(table))
    history, clock.now_wall, arrived = history_of(fleet, clock), BEGIN, []
    for device, wait_s, late, cpu, results, rolls in messages:
        clock.now_wall += wait_s
        at = clock.now_wall - (4000.5 if late else 0)
        what = kept(cpu, results, results / 7)
        arrive(fleet, device, at, clock.now_wall, what)
        arrived.append((device, at, what))
        for _ in range(rolls):
            history.roll_up()
    read_early = SeriesReader(fleet, KEEP).chart(
        "a", Span(BEGIN - DAY_S, clock.now_wall + 60, 3600), clock.wall()
    )
    clock.now_wall += 2 * DAY_S
    history.settle()
    with fleet.read() as session:
        rows = list(session.scalars(select(HealthStep)))
    for step in (MINUTE_S, QUARTER_S, DAY_S):
        made = {(row.device, row.start): unpacked(row.figures) for row in rows if row.step == step}
        assert made == steps_of(arrived, step)
    hours = steps_of(arrived, 3600)
    for series in read_early.series:
        if series.figure == "results":
            for start, value in zip(read_early.times, series.values, strict=True):
                wanted = hours.get(("a", start), {}).get("camera/door", {}).get("results")
                assert value == (None if wanted is None else wanted / 1000)


def test_growth_is_counted_over_a_restart_and_a_repeated_message_once(
    fleet: Database, clock: StillClock
) -> None:
    told = ((0, 40.0, 100), (30, 60.0, 160), (30, 60.0, 160), (60, 50.0, 20), (90, 50.0, 50))
    for second, cpu, results in told:
        arrive(fleet, "a", BEGIN + second, BEGIN + second, kept(cpu, results))
    clock.now_wall = BEGIN + 200
    history_of(fleet, clock).settle()
    chart = SeriesReader(fleet, KEEP).chart(
        "a", Span(BEGIN, BEGIN + 120), clock.wall(), ["results", "cpu_percent"]
    )
    found = {series.figure: series for series in chart.series}
    assert (chart.step_s, chart.times) == (60, [BEGIN, BEGIN + 60])
    assert found["results"].values == [60.0, 50.0]
    cpu_percent = found["cpu_percent"]
    assert (cpu_percent.values, cpu_percent.low, cpu_percent.high) == (
        [50.0, 50.0],
        [40.0, 50.0],
        [60.0, 50.0],
    )


def test_another_leader_goes_on_where_the_former_was(fleet: Database, clock: StillClock) -> None:
    clock.now_wall = BEGIN + 100
    first, second = history_of(fleet, clock), history_of(fleet, clock)
    for leader, at, results in ((first, 0, 100), (second, 20, 140), (first, 40, 150)):
        arrive(fleet, "a", BEGIN + at, BEGIN + at, kept(50.0, results))
        leader.settle()
    chart = SeriesReader(fleet, KEEP).chart("a", Span(BEGIN, BEGIN + 60), clock.wall(), ["results"])
    assert [series.values for series in chart.series] == [[50.0]]


def test_each_step_is_forgotten_in_its_time_and_never_before_a_longer_one_has_it(
    fleet: Database, clock: StillClock
) -> None:
    for hour in range(36):
        arrive(fleet, "a", BEGIN + hour * 3600, BEGIN + hour * 3600, kept(50.0, hour))
    clock.now_wall = BEGIN + 36 * 3600
    history = history_of(fleet, clock)
    assert history.forget_old() == 0
    history.settle()
    history.forget_old()
    with fleet.read() as session:
        count = select(HealthStep.step, func.count()).group_by(HealthStep.step)
        assert {row[0]: row[1] for row in session.execute(count)} == {
            MINUTE_S: 24,
            QUARTER_S: 36,
            DAY_S: 1,
        }
        assert session.scalar(select(func.count()).select_from(HealthRow)) == 3
    chart = SeriesReader(fleet, KEEP).chart(
        "a", Span(BEGIN, clock.wall(), 3600), clock.wall(), ["cpu_percent"]
    )
    assert chart.series[0].values == [50.0] * 36


@pytest.mark.parametrize(
    ("span", "figures", "words"),
    [
        (Span(10.0, 10.0), [], "before"),
        (Span(0.0, 1e7, 90), [], "whole minutes"),
        (Span(0.0, 1e9, 60), [], "longer step"),
        (Span(0.0, 100.0), ["cpu"], "cpu_percent"),
    ],
)
def test_a_chart_that_cannot_be_drawn_is_refused_with_what_would_do(
    fleet: Database, span: Span, figures: list[str], words: str
) -> None:
    with pytest.raises(Refused, match=words):
        SeriesReader(fleet, KEEP).chart("a", span, 1e9, figures)
