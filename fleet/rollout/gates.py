"""Whether a rollout may go on. Pure: each gate passes, fails, or cannot tell yet, and says why with figure and limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from fleet.rollout.plan import Compare, Gates
from fleet.rollout.state import Figures, State, Status

LESS_IS_WORSE = frozenset({"frames_per_s", "confidence"})


class Opinion(Enum):
    PASS = "pass"
    FAIL = "fail"
    WAIT = "wait"


@dataclass(frozen=True)
class Verdict:
    """`words` name the gate, the figure and the limit."""

    opinion: Opinion
    words: str = ""


PASS = Verdict(Opinion.PASS)


def failures(state: State, gates: Gates, reach: int) -> Verdict:
    """Judged at all times: too many devices have failed. `reach` is how many the waves begun so far may reach."""
    failed = state.count(Status.FAILED)
    if gates.max_failed is not None and failed > gates.max_failed:
        return Verdict(Opinion.FAIL, f"{failed} devices failed, at most {gates.max_failed} may")
    share = 100.0 * failed / max(reach, 1)
    if failed and share > gates.max_failed_percent:
        return Verdict(
            Opinion.FAIL,
            f"{failed} of {reach} devices failed ({share:.1f} %), at most {gates.max_failed_percent:g} % may",
        )
    return PASS


def end_of_wave(
    state: State, gates: Gates, figures: Mapping[str, Figures], reach: int, settled_s: float
) -> Verdict:
    """Judged once every device of the wave has come to an end, `settled_s` ago."""
    done, failed = state.count(Status.DONE), state.count(Status.FAILED)
    if done + failed:
        success = 100.0 * done / (done + failed)
        if success < gates.min_success_percent:
            return Verdict(
                Opinion.FAIL,
                f"{success:.1f} % of {done + failed} devices succeeded, at least {gates.min_success_percent:g} % must",
            )
    wanted = max(1, min(gates.min_samples, reach - failed))
    if done < wanted:
        return Verdict(Opinion.WAIT, f"{done} devices have taken the change, {wanted} must")
    if settled_s < gates.soak_s:
        return Verdict(Opinion.WAIT, f"soaks for {gates.soak_s - settled_s:.0f} s more")
    return _compared(gates, figures, settled_s)


def _compared(gates: Gates, figures: Mapping[str, Figures], settled_s: float) -> Verdict:
    verdicts = [compare(wanted, figures.get(wanted.figure)) for wanted in gates.compare]
    for verdict in verdicts:
        if verdict.opinion is Opinion.FAIL:
            return verdict
    for verdict in verdicts:
        if verdict.opinion is Opinion.WAIT:
            if settled_s > gates.soak_s + gates.compare_wait_s:
                return Verdict(Opinion.FAIL, f"cannot tell: {verdict.words}")
            return verdict
    return PASS


def compare(wanted: Compare, found: Figures | None) -> Verdict:
    """The devices with the change against those without. Without anybody left to compare with, it passes."""
    if found is None or found.treated is None or found.treated_devices < wanted.min_devices:
        have = found.treated_devices if found else 0
        return Verdict(
            Opinion.WAIT,
            f"{wanted.figure} is known of {have} devices with the change, {wanted.min_devices} are wanted",
        )
    if found.control is None or found.control_devices < wanted.min_devices:
        return PASS
    worse, base = found.treated, found.control
    if wanted.figure in LESS_IS_WORSE:
        worse, base = base, worse
    if wanted.ratio is not None:
        within = worse <= base * wanted.ratio
        limit = f"ratio {wanted.ratio:g}"
    else:
        assert wanted.difference is not None
        within = worse - base <= wanted.difference
        limit = f"difference {wanted.difference:g}"
    if within:
        return PASS
    return Verdict(
        Opinion.FAIL,
        f"{wanted.figure} is {found.treated:.4g} on {found.treated_devices} devices with the change, "
        f"{found.control:.4g} on {found.control_devices} without; limit: {limit}",
    )
