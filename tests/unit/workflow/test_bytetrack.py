from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.workflow.assignment import BEYOND, assign
from runtime.workflow.bytetrack import ByteTrack, Settings


def box(x: float, y: float = 100.0) -> list[float]:
    return [x, y, x + 40, y + 80]


def follow(tracker: ByteTrack, boxes: list[list[float]], score: float = 0.9) -> list[int]:
    ids: list[int] = tracker.update(np.array(boxes).reshape(-1, 4), np.full(len(boxes), score)).tolist()
    return ids


def test_boxes_of_the_first_frame_have_ids_at_once() -> None:
    assert follow(ByteTrack(Settings()), [box(0), box(300)]) == [1, 2]


def test_a_later_box_gets_its_id_when_it_is_seen_again() -> None:
    tracker = ByteTrack(Settings())
    follow(tracker, [box(0)])
    assert follow(tracker, [box(4), box(300)]) == [1, -1]
    assert follow(tracker, [box(8), box(300)]) == [1, 2]


def test_an_object_that_was_hidden_keeps_its_id() -> None:
    tracker = ByteTrack(Settings(lost_frames=10))
    for n in range(6):
        follow(tracker, [box(n * 6)])
    for _ in range(4):
        assert follow(tracker, []) == []
    assert follow(tracker, [box(60)]) == [1]


def test_an_object_that_was_away_too_long_is_forgotten() -> None:
    tracker = ByteTrack(Settings(lost_frames=2))
    follow(tracker, [box(0)])
    for _ in range(5):
        follow(tracker, [])
    assert len(tracker) == 0


def test_a_weak_box_continues_a_track_but_begins_none() -> None:
    tracker = ByteTrack(Settings())
    follow(tracker, [box(0)])
    assert follow(tracker, [box(2), box(300)], score=0.2) == [1, -1]
    assert follow(tracker, [box(4), box(300)], score=0.2) == [1, -1]


def test_ids_wait_for_as_many_frames_as_are_asked_for() -> None:
    tracker = ByteTrack(Settings(consecutive_frames=3))
    assert [follow(tracker, [box(n)])[0] for n in range(4)] == [-1, -1, 1, 1]


def test_the_cheapest_pairs_win_over_the_greedy_ones() -> None:
    rows, columns = assign(np.array([[0.1, 0.2], [0.15, 0.9]]), 0.8)
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


def test_pairs_above_the_limit_are_none() -> None:
    rows, _ = assign(np.array([[0.9, 0.95]]), 0.8)
    assert len(rows) == 0


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
def test_the_total_cost_is_the_least_of_all_possible_ones(rows: int, columns: int, seed: int) -> None:
    cost = np.random.default_rng(seed).uniform(0, 1, (rows, columns))
    capped = np.where(cost <= 0.6, cost, 0.6 + BEYOND)
    if rows > columns:
        cost, capped = cost.T, capped.T
    size = min(rows, columns)
    least = min(
        sum(capped[i, j] for i, j in enumerate(order))
        for order in itertools.permutations(range(capped.shape[1]), size)
    )
    first, second = assign(cost, 0.6)
    assert (cost[first, second] <= 0.6).all()
    assert len(set(first.tolist())) == len(set(second.tolist())) == len(first)
    total = cost[first, second].sum() + (size - len(first)) * (0.6 + BEYOND)
    assert abs(total - least) < 1e-9
