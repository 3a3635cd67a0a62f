"""The gates of a rollout's wave as people read them: each with its figure, its limit, and whether it holds. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fleet.rollout import decision, gates
from fleet.rollout.gates import Opinion
from fleet.rollout.plan import Compare, Gates, Plan
from fleet.rollout.state import Figures, State, Status


@dataclass(frozen=True)
class Line:
    """One gate. `opinion` is pass, fail or wait."""

    gate: str
    figure: str
    limit: str
    opinion: str


def board(plan: Plan, state: State, figures: Mapping[str, Figures], at: float) -> list[Line]:
    """Every gate of the wave that the rollout is in. `at`: wall clock seconds."""
    wave = plan.waves[state.wave]
    most = decision.reach(plan, state)
    lines = [_success(state, wave.gates), _failed(state, wave.gates, most), _samples(state, wave.gates, most)]
    lines.append(_soak(state, wave.gates, at))
    lines += _compared(wave.gates, figures)
    if wave.gates.approval:
        given = state.approved > state.wave
        lines.append(Line("approval", "given" if given else "not yet", "an approver", _pass(given)))
    return lines


def _pass(holds: bool, otherwise: Opinion = Opinion.WAIT) -> str:
    return (Opinion.PASS if holds else otherwise).value


def _success(state: State, limits: Gates) -> Line:
    done, failed = state.count(Status.DONE), state.count(Status.FAILED)
    limit = f"at least {limits.min_success_percent:g} %"
    if not done + failed:
        return Line("success", "nobody has come to an end", limit, Opinion.WAIT.value)
    share = 100.0 * done / (done + failed)
    holds = share >= limits.min_success_percent
    return Line("success", f"{share:.1f} % of {done + failed}", limit, _pass(holds, Opinion.FAIL))


def _failed(state: State, limits: Gates, most: int) -> Line:
    failed = state.count(Status.FAILED)
    limit = f"at most {limits.max_failed_percent:g} %"
    if limits.max_failed is not None:
        limit += f" and {limits.max_failed}"
    figure = f"{failed} of {most} ({100.0 * failed / max(most, 1):.1f} %)"
    return Line("failed", figure, limit, gates.failures(state, limits, most).opinion.value)


def _samples(state: State, limits: Gates, most: int) -> Line:
    done = state.count(Status.DONE)
    wanted = max(1, min(limits.min_samples, most - state.count(Status.FAILED)))
    return Line("samples", f"{done} took it", f"at least {wanted}", _pass(done >= wanted))


def _soak(state: State, limits: Gates, at: float) -> Line:
    limit = f"{limits.soak_s:g} s"
    if state.settled_at is None:
        return Line("soak", "devices are under way", limit, Opinion.WAIT.value)
    soaked_s = max(0.0, at - state.settled_at)
    return Line("soak", f"{min(soaked_s, limits.soak_s):.0f} s", limit, _pass(soaked_s >= limits.soak_s))


def _compared(limits: Gates, figures: Mapping[str, Figures]) -> Iterator[Line]:
    for wanted in limits.compare:
        found = figures.get(wanted.figure)
        yield Line(wanted.figure, _sides(found), _limit(wanted), gates.compare(wanted, found).opinion.value)


def _sides(found: Figures | None) -> str:
    if found is None or found.treated is None:
        return "not known yet"
    ours = f"{found.treated:.4g} on {found.treated_devices}"
    return ours + (
        f", {found.control:.4g} without on {found.control_devices}"
        if found.control is not None
        else ", nobody left to compare with"
    )


def _limit(wanted: Compare) -> str:
    return f"ratio {wanted.ratio:g}" if wanted.ratio is not None else f"difference {wanted.difference:g}"
