"""The binding under preparation: what nobody waits for any more must not stay attached to an engine."""

from __future__ import annotations

from typing import cast

from runtime.pipeline.active import Active, Candidate


class Closing:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def arrive(candidate: Candidate, ticket: str) -> Closing:
    active = Closing()
    candidate.arrived(ticket, cast("Active", active))
    return active


def test_the_expected_binding_is_taken_once() -> None:
    candidate = Candidate()
    candidate.expect("r2")
    active = arrive(candidate, "r2")
    assert len(candidate.living) == 1
    assert candidate.take("r1") is None
    assert candidate.take("r2") is cast("Active", active)
    assert candidate.take("r2") is None
    assert not active.closed


def test_a_binding_given_up_while_it_was_being_prepared_is_closed_when_it_arrives() -> None:
    candidate = Candidate()
    candidate.expect("r2")
    candidate.expect("")
    assert arrive(candidate, "r2").closed
    assert candidate.living == []


def test_a_newer_ticket_gives_up_the_older_binding_whenever_it_arrives() -> None:
    candidate = Candidate()
    candidate.expect("r2")
    early = arrive(candidate, "r2")
    candidate.expect("r3")
    late = arrive(candidate, "r2")
    assert early.closed
    assert late.closed
    newest = arrive(candidate, "r3")
    assert len(candidate.living) == 1
    assert not newest.closed
