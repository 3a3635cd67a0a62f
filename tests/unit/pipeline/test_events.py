"""Which results become events, and what is held until the agent has kept it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.pipeline import events
from runtime.pipeline.events import MAX_EVENT_BYTES, Held, Policy

ROOM = 1_000_000


def test_every_result_is_sent_where_the_policy_says_so() -> None:
    policy = Policy("every", 0.0)
    assert [policy.wants({"n": 1}, t / 10) for t in range(3)] == [True, True, True]


def test_unchanged_outputs_are_not_sent_again_even_when_their_ids_are_new() -> None:
    policy = Policy("changes", 0.0)

    def outputs(box: int, ident: str) -> dict[str, Any]:
        return {"p": {"predictions": [{"x": box, "detection_id": ident}]}}

    sent = [policy.wants(outputs(*each), float(t)) for t, each in enumerate([(1, "a"), (1, "b"), (2, "c")])]
    assert sent == [True, False, True]


def test_the_interval_holds_back_and_tolerates_jitter() -> None:
    policy = Policy("every", 1.0)
    assert [policy.wants({}, t) for t in (0.0, 0.5, 0.97, 1.2, 1.9)] == [True, False, True, False, True]


def test_a_policy_of_none_sends_nothing() -> None:
    assert not Policy("none", 0.0).wants({"n": 1}, 0.0)


def test_events_are_numbered_and_their_ids_unique() -> None:
    held = Held("boot", "door")
    for _ in range(3):
        held.add({}, 10)
    assert [(e.number, e.id) for e in held.due(ROOM)] == [(1, "boot-1"), (2, "boot-2"), (3, "boot-3")]
    assert held.due(ROOM) == []


def test_what_the_agent_kept_is_let_go() -> None:
    held = Held("boot", "door")
    for _ in range(3):
        held.add({}, 10)
    held.due(ROOM)
    held.kept(2)
    assert (len(held), held.kept_total) == (1, 2)


@given(st.lists(st.sampled_from(["add", "send", "keep"]), max_size=200))
def test_no_event_is_lost_without_being_counted(steps: list[str]) -> None:
    held = Held("b", "c")
    sent: list[int] = []
    for step in steps:
        if step == "add":
            held.add({}, 1)
        elif step == "send":
            sent += [event.number for event in held.due(ROOM)]
        elif sent:
            held.kept(sent[-1])
    assert held.kept_total + len(held) + held.dropped == held.total
    assert sent == sorted(set(sent))


def test_a_stuck_agent_costs_the_oldest_unsent_events_and_they_are_counted() -> None:
    held = Held("b", "c")
    for _ in range(events.MAX_HELD + 5):
        held.add({}, 1)
    assert (len(held), held.dropped) == (events.MAX_HELD, 5)
    assert held.due(ROOM)[0].number == 6


def test_what_is_sent_at_once_stays_within_the_room_of_the_link() -> None:
    held = Held("b", "c")
    for _ in range(5):
        held.add({}, 1000)
    assert [event.number for event in held.due(1500)] == [1, 2]
    assert held.due(0) == []
    assert [event.number for event in held.due(ROOM)] == [3, 4, 5]


def test_an_event_longer_than_a_message_is_dropped_and_counted() -> None:
    held = Held("b", "c")
    assert not held.add({}, MAX_EVENT_BYTES + 1)
    assert held.add({}, MAX_EVENT_BYTES)
    assert (held.total, held.dropped, [event.number for event in held.due(ROOM)]) == (2, 1, [2])
