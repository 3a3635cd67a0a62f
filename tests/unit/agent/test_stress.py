"""When cameras are relieved, and when no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.backoff import Budget
from agent.stress import LEAST_SHARE, UP_AFTER_S, Reading, Relief, Stress, StressLimits
from wire.reasons import Reason

LIMITS = StressLimits(celsius=90.0, watts=20.0, cpu_percent=100.0)


def test_heat_lowers_the_rate_step_by_step_and_calm_raises_it_again() -> None:
    stress = Stress(LIMITS)
    assert stress.read(Reading(celsius=95.0), 0.0) == Relief(0.7, Reason.THERMAL_LIMIT)
    assert stress.read(Reading(celsius=95.0), 5.0) is None, "the step has not had time to work"
    lower = stress.read(Reading(celsius=95.0), 11.0)
    assert lower is not None
    assert lower.share < 0.5
    assert stress.read(Reading(celsius=88.0), 60.0) is None, "just below the limit is not cool"
    assert stress.read(Reading(celsius=60.0), 70.0) is None
    raised = stress.read(Reading(celsius=60.0), 70.0 + UP_AFTER_S)
    assert raised is not None
    assert lower.share < raised.share < 1.0
    at = 100.0
    while stress.relief.reason is not None and at < 1000.0:
        at += 5.0
        stress.read(Reading(celsius=60.0), at)
    assert stress.relief == Relief()


def test_a_device_that_says_nothing_is_not_under_stress() -> None:
    stress = Stress(LIMITS)
    assert stress.read(Reading(), 0.0) is None
    assert stress.read(Reading(cpu_percent=100.0), 10.0) is None


@given(st.lists(st.tuples(st.floats(0, 200), st.floats(0, 50), st.floats(0.1, 60)), max_size=60))
def test_the_share_stays_in_bounds_and_only_full_rate_has_no_reason(
    readings: list[tuple[float, float, float]],
) -> None:
    stress, at = Stress(LIMITS), 0.0
    for celsius, watts, wait_s in readings:
        at += wait_s
        stress.read(Reading(celsius, watts), at)
        assert LEAST_SHARE <= stress.relief.share <= 1.0
        assert (stress.relief.share == 1.0) == (stress.relief.reason is None)


def test_a_budget_is_spent_by_failures_close_together_only() -> None:
    budget = Budget(3, 100.0)
    assert [budget.spend(at) for at in (0.0, 1.0, 2.0, 3.0)] == [False, False, False, True]
    slow = Budget(3, 100.0)
    assert not any(slow.spend(at) for at in range(0, 2000, 40))
