"""The decisions of a lane: bounds, order, back-off, age. Any order of events keeps its books right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.sinks.lane import Cooldown, Figures, Lane, Limits, Parcel

LIMITS = Limits(
    max_waiting=3, max_bytes=100, max_attempts=3, max_age_s=10.0, retry_min_s=1.0, retry_max_s=3.0
)


def parcel(body: object = None, size_bytes: int = 1, offered_mono: float = 0.0) -> Parcel:
    return Parcel(body, size_bytes, offered_mono)


def test_the_oldest_gives_way_to_the_newest() -> None:
    lane = Lane(LIMITS)
    dropped = [p.body for number in range(5) for p in lane.offer(parcel(number))]
    assert dropped == [0, 1]
    assert lane.figures.dropped == 2
    taken = lane.take(0.0)
    assert taken is not None
    assert taken.body == 2


def test_what_is_under_way_is_not_dropped() -> None:
    lane = Lane(LIMITS)
    lane.offer(parcel("first"))
    lane.take(0.0)
    dropped = [p.body for number in range(4) for p in lane.offer(parcel(number))]
    assert dropped == [0, 1]


def test_a_parcel_larger_than_the_lane_is_delivered_alone() -> None:
    lane = Lane(LIMITS)
    assert lane.offer(parcel("huge", 101)) == []
    assert [p.body for p in lane.offer(parcel("next", 1))] == ["huge"], "the newest is worth the most"
    assert [p.body for p in lane.offer(parcel("larger", 102))] == ["next"]
    assert lane.take(0.0).body == "larger"  # type: ignore[union-attr]
    assert [p.body for p in lane.offer(parcel("small", 1))] == ["small"], "what is under way counts"


def test_a_failure_waits_twice_as_long_each_time_and_ends_as_dead() -> None:
    lane = Lane(LIMITS)
    lane.offer(parcel("a"))
    lane.offer(parcel("b"))
    at_mono, waits = 0.0, []
    while lane.figures.dead == 0:
        taken = lane.take(at_mono)
        assert taken is not None
        assert taken.body == "a", "the others wait behind it"
        if lane.failed(at_mono, "no", again=True, spread=1.0):
            due = lane.due_mono()
            assert due is not None
            waits.append(due - at_mono)
            assert lane.take(due - 0.01) is None
            at_mono = due
    assert waits == [1.0, 2.0]
    following = lane.take(at_mono)
    assert following is not None
    assert following.body == "b"


def test_a_refusal_is_not_tried_again() -> None:
    lane = Lane(LIMITS)
    lane.offer(parcel())
    lane.take(0.0)
    assert not lane.failed(0.0, "HTTP 404", again=False, spread=0.5)
    assert (lane.figures.dead, lane.figures.retried, lane.figures.error) == (1, 0, "HTTP 404")


def test_what_is_too_old_is_not_delivered() -> None:
    lane = Lane(LIMITS)
    lane.offer(parcel("old", offered_mono=0.0))
    lane.offer(parcel("new", offered_mono=8.0))
    assert [p.body for p in lane.expire(10.5)] == ["old"]
    assert lane.figures.expired == 1
    taken = lane.take(10.5)
    assert taken is not None
    assert taken.body == "new"


EVENT = st.one_of(
    st.tuples(st.just("offer"), st.integers(0, 120)),
    st.tuples(st.just("take"), st.just(0)),
    st.tuples(st.just("delivered"), st.just(0)),
    st.tuples(st.just("failed"), st.integers(0, 1)),
    st.tuples(st.just("wait"), st.integers(0, 8)),
    st.tuples(st.just("abandon"), st.just(0)),
)


@given(st.lists(EVENT, max_size=40))
def test_any_order_of_events_keeps_the_books_and_the_bounds(events: list[tuple[str, int]]) -> None:
    lane, at_mono, under_way = Lane(LIMITS), 0.0, False
    delivered: list[int] = []
    taken_now, number = -1, 0
    for kind, value in events:
        if kind == "offer":
            lane.offer(parcel(number, value, at_mono))
            number += 1
        elif kind == "wait":
            at_mono += value
        elif kind == "abandon":
            lane.abandon()
        elif kind == "take":
            lane.expire(at_mono)
            taken = lane.take(at_mono)
            assert not (under_way and taken), "one at a time"
            if taken is not None:
                under_way, taken_now = True, taken.body
        elif under_way and kind == "delivered":
            lane.delivered()
            delivered.append(taken_now)
            under_way = False
        elif under_way and kind == "failed":
            lane.failed(at_mono, "no", again=bool(value), spread=0.0)
            under_way = False
        f = lane.figures
        assert f.accepted == f.delivered + f.dropped + f.expired + f.dead + f.waiting
        assert f.waiting == len(lane) <= LIMITS.max_waiting + 1
    assert delivered == sorted(delivered), "in order"


def test_a_cooldown_lets_one_pass_and_a_clock_set_back_does_not_block() -> None:
    cooldown = Cooldown()
    assert [cooldown.passes(at_s, 5) for at_s in (100.0, 104.9, 105.0, 50.0)] == [True, False, True, True]
    assert Figures().failing is False


@pytest.mark.parametrize(("attempts", "most_s"), [(1, 1.0), (2, 2.0), (3, 3.0), (60, 3.0)])
def test_the_back_off_is_bounded(attempts: int, most_s: float) -> None:
    assert Lane(LIMITS).wait_s(attempts) == most_s
