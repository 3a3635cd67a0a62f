"""The gates of a wave in words: the same verdicts as those of the decision."""

from __future__ import annotations

from fleet.rollout.board import board
from fleet.rollout.members import observe
from fleet.rollout.plan import Compare, Gates, Plan, Wave
from fleet.rollout.state import Figures, Member, Seen, State, Status

PLAN = Plan(
    name="r",
    change={"settings": {}},
    waves=(
        Wave(
            percent=50,
            gates=Gates(
                soak_s=60,
                max_failed_percent=30,
                min_samples=2,
                approval=True,
                compare=(Compare(figure="confidence", ratio=1.1),),
            ),
        ),
        Wave(percent=100),
    ),
)


def state(*statuses: Status, settled_at: float | None = None) -> State:
    members = {f"d{i}": Member(f"d{i}", status) for i, status in enumerate(statuses)}
    return State(settled_at=settled_at, members=members)


def opinions(found: State, figures: dict[str, Figures], at: float = 100.0) -> dict[str, str]:
    return {line.gate: line.opinion for line in board(PLAN, found, figures, at)}


def test_nothing_is_judged_before_somebody_has_come_to_an_end() -> None:
    waiting = state(*[Status.WAITING] * 8)
    assert opinions(waiting, {}) == {
        "success": "wait", "failed": "pass", "samples": "wait", "soak": "wait", "confidence": "wait", "approval": "wait",
    }  # fmt: skip


def test_each_gate_tells_its_figure_and_limit() -> None:
    half = state(*[Status.DONE] * 3, Status.FAILED, *[Status.WAITING] * 4, settled_at=70.0)
    lines = board(PLAN, half, {"confidence": Figures(0.4, 0.8, 3, 4)}, 100.0)
    told = {line.gate: (line.figure, line.limit, line.opinion) for line in lines}
    assert told["success"] == ("75.0 % of 4", "at least 95 %", "fail")
    assert told["failed"] == ("1 of 4 (25.0 %)", "at most 30 %", "pass")
    assert told["samples"] == ("3 took it", "at least 2", "pass")
    assert told["soak"] == ("30 s", "60 s", "wait")
    assert told["confidence"] == ("0.4 on 3, 0.8 without on 4", "ratio 1.1", "fail")
    assert told["approval"][2] == "wait"


def test_a_device_that_went_back_still_says_why() -> None:
    going = Member(
        "a", Status.RETURNING, revision=5, back=True, reason="probation-failed", message="empty-output 0.99"
    )
    back = observe(going, Seen(True, newest=5, revision=5, offered=5, phase="COMMITTED"), PLAN.patience, 9.0)
    assert (back.status, back.reason, back.message) == (
        Status.RETURNED,
        "probation-failed",
        "empty-output 0.99",
    )
