"""The table of an update's life: what holds for any order of events."""

from __future__ import annotations

import random
from dataclasses import fields
from pathlib import Path

import pytest

from agent.update.table import FIRST, ROWS, TABLE, Event, NoSuchArrow, after_cut, follow, rendered
from agent.update.wishes import Deadlines, Wishes, deadline_s
from wire.phase import TERMINAL, Phase
from wire.update import Update

PAGE = Path(__file__).resolve().parents[3] / "docs" / "updates.md"
LIFE = 4000
"""More events than any life of an update can have: each phase allows a bounded number of cuts."""


def lives(count: int) -> list[tuple[list[Phase], list[Event]]]:
    """Lives under any order of events, cuts among them; `starts` is counted as the executor counts."""
    return [_life(random.Random(seed)) for seed in range(count)]


def _life(dice: random.Random) -> tuple[list[Phase], list[Event]]:
    phases, events, starts, live = [FIRST], [], 0, False
    for _ in range(LIFE):
        phase = phases[-1]
        if phase in TERMINAL:
            break
        event = dice.choice(list(Event))
        if event is Event.STARTS:
            continue
        if event is Event.CUT:
            starts += 1
            if phase is Phase.SWAPPING:
                live = dice.random() < 0.5
            following = after_cut(phase, starts, live=live)
        else:
            try:
                following = follow(phase, event)
            except NoSuchArrow:
                continue
            if following in TABLE and TABLE[following].anew:
                starts = 0
            if phase is Phase.SWAPPING:
                live = event is Event.PASS
            if following is Phase.ROLLED_BACK:
                live = False
        phases.append(following)
        events.append(event)
    return phases, events


def test_every_life_ends() -> None:
    assert all(phases[-1] in TERMINAL for phases, _ in lives(400))


def test_nothing_is_live_that_was_rejected_and_nothing_rejected_was_live() -> None:
    for phases, _ in lives(400):
        if phases[-1] is Phase.REJECTED:
            assert not {Phase.PROBATION, Phase.ROLLING_BACK} & set(phases)


def test_a_failed_gate_is_never_passed() -> None:
    for phases, events in lives(400):
        failed = next((i for i, event in enumerate(events) if event is Event.FAIL), None)
        if failed is not None:
            assert Phase.COMMITTED not in phases[failed:]


def test_the_only_ways_to_the_commit_lead_through_the_switch_and_the_probation() -> None:
    for phases, _ in lives(400):
        if phases[-1] is Phase.COMMITTED:
            assert phases[-2] is Phase.PROBATION
            assert {Phase.SWAPPING, Phase.PREPARE, Phase.FETCHING} <= set(phases)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.phase.value)
def test_a_newer_revision_counts_until_the_switch_and_not_from_there_on(row: object) -> None:
    phase = row.phase  # type: ignore[attr-defined]
    before = phase in (
        Phase.OFFERED, Phase.VERIFIED, Phase.FETCHING, Phase.STAGED, Phase.WAIT_WINDOW, Phase.PREPARE, Phase.SHADOW,
    )  # fmt: skip
    for event in (Event.SUPERSEDE, Event.CANCEL):
        if before:
            assert follow(phase, event) is Phase.REJECTED
        else:
            with pytest.raises(NoSuchArrow):
                follow(phase, event)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.phase.value)
def test_what_may_be_live_fails_by_going_back_and_the_rest_by_a_refusal(row: object) -> None:
    live = row.live  # type: ignore[attr-defined]
    assert (row.fails is Phase.REJECTED) == (not live)  # type: ignore[attr-defined]


def test_a_switch_that_was_cut_goes_on_as_current_says() -> None:
    assert after_cut(Phase.SWAPPING, 1, live=True) is Phase.PROBATION
    assert after_cut(Phase.SWAPPING, 1, live=False) is Phase.PREPARE


def test_the_third_start_in_probation_goes_back() -> None:
    assert after_cut(Phase.PROBATION, 2, live=True) is Phase.PROBATION
    assert after_cut(Phase.PROBATION, 3, live=True) is Phase.ROLLING_BACK
    assert after_cut(Phase.PROBATION, 1, live=True, limit=1) is Phase.ROLLING_BACK


def test_an_ended_update_has_no_more_events() -> None:
    for phase in TERMINAL:
        with pytest.raises(NoSuchArrow):
            follow(phase, Event.PASS)
        assert after_cut(phase, 99, live=True) is phase


def test_the_plain_wishes_have_the_defaults_of_the_wire() -> None:
    there = {name: field.default for name, field in Update.model_fields.items()}
    assert there.items() >= {field.name: field.default for field in fields(Wishes)}.items()


def test_the_page_shows_the_table_as_the_code_has_it() -> None:
    assert rendered() in PAGE.read_text(), "run python -m tests.unit.agent.test_update_table"


def write() -> None:
    begin, end = "<!-- table -->\n", "<!-- /table -->"
    text = PAGE.read_text()
    before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    PAGE.write_text(before + rendered() + after)


if __name__ == "__main__":
    write()


def test_a_release_of_the_agent_has_its_own_time_to_be_installed() -> None:
    plain = {"settings": {"prepare_deadline_s": 60, "update": {"lock_deferral_s": 0}}}
    own = Deadlines(step_s=1.0, install_s=500.0)
    assert deadline_s(Phase.PREPARE, own, plain) == 61.0
    assert deadline_s(Phase.PREPARE, own, {**plain, "agent": {"digest": "sha256:x"}}) == 561.0
