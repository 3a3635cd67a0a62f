"""The lease: who may lead, never two, and what a replica that was stopped too long may still do."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.db import Database
from fleet.errors import Transient
from fleet.lease import MARGIN, Leadership, Lease, decide
from tests.unit.fleet.conftest import StillClock

TERM_S = 10.0


def test_free_lease_is_taken_a_held_one_is_not_and_a_lapsed_one_gets_a_new_token() -> None:
    first = decide(None, "a", 100.0, TERM_S)
    assert first == Lease("a", 1, 110.0)
    assert decide(first, "b", 109.9, TERM_S) is None
    assert decide(first, "a", 105.0, TERM_S) == Lease("a", 1, 115.0)
    assert decide(first, "b", 110.0, TERM_S) == Lease("b", 2, 120.0)
    assert decide(first, "a", 110.0, TERM_S) == Lease("a", 2, 120.0)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 4), st.floats(0, 8)), max_size=60))
def test_never_two_believe_that_they_lead(steps: list[tuple[str, float, float]]) -> None:
    """Each step: a replica asks, and may be stopped between its question and the database's answer."""
    at, current = 0.0, None
    believes: dict[str, float] = {}
    tokens = [0]
    for replica, pause_s, stopped_s in steps:
        at += pause_s
        asked = at
        at += stopped_s
        lease = decide(current, replica, at, TERM_S)
        if lease is None:
            believes[replica] = 0.0
        else:
            current = lease
            believes[replica] = asked + TERM_S * (1 - MARGIN)
            tokens.append(lease.token)
        assert sum(until > at for until in believes.values()) <= 1
    assert tokens == sorted(tokens)


async def nothing() -> None:
    return


def test_leader_that_was_stopped_writes_nothing_once_another_leads(
    database: Database, clock: StillClock
) -> None:
    one, two = (Leadership(database, clock, name, TERM_S, nothing) for name in ("one", "two"))
    one.compete()
    two.compete()
    assert (one.leads, two.leads) == (True, False)
    with database.write() as session:
        one.check(session)
    clock.now_wall += TERM_S
    assert not one.leads
    two.compete()
    assert (two.leads, two.held.token) == (True, one.held.token + 1)
    one._until_mono = float("inf")  # a machine whose clock stood still while it slept
    with pytest.raises(Transient, match="another replica"), database.write() as session:
        one.check(session)


def test_released_lease_is_free_at_once_and_a_newcomer_is_told(database: Database, clock: StillClock) -> None:
    told: list[str] = []

    async def gained() -> None:
        told.append("two")

    one = Leadership(database, clock, "one", TERM_S, nothing)
    two = Leadership(database, clock, "two", TERM_S, gained)
    one.compete()
    one.release()

    async def compete() -> None:
        task = asyncio.create_task(two.run())
        while not told:  # noqa: ASYNC110 - a thread of the database answers
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(asyncio.wait_for(compete(), 10))
    assert (one.leads, two.leads, told) == (False, True, ["two"])


def test_replica_that_has_not_been_heard_of_is_named_until_it_is_forgotten(
    database: Database, clock: StillClock
) -> None:
    one, two = (Leadership(database, clock, name, TERM_S, nothing) for name in ("one", "two"))
    assert one.renew_presence("c.one") == []
    assert two.renew_presence("c.two") == []
    clock.now_wall += 3 * TERM_S + 1
    assert two.renew_presence("c.two") == ["c.one"]
    two.forget("c.one")
    assert two.renew_presence("c.two") == []
