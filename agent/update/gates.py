"""What may refuse an update besides the work itself: before bytes are spent, beside what serves, and on probation.

The protocols, and the plain ones that every device has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.device import Device
from agent.pipelines import PipelineUnit
from agent.swap import Candidates
from agent.update.ground import Go, Refusal, Skip, Wait
from wire.desired import Desired
from wire.reasons import Reason

MAX_RESTARTS = 2
"""A part that has ended so often since the switch is not the part that was wanted."""
MIN_FRAMES = 20
BAD_SHARE = 0.5


class Admission(Protocol):
    async def admit(self, desired: Desired, running: Desired | None) -> Go | Refusal:
        """Whether it fits on this device, before its weights are fetched."""

    async def fits_beside(self, desired: Desired, running: Desired | None) -> bool:
        """Whether its new engines have room beside those that run; everything of it is there."""


class Shadow(Protocol):
    def wanted(self, desired: Desired) -> bool:
        """Whether the candidate is to be compared at all."""

    async def compare(self, desired: Desired, candidates: Candidates) -> Go | Skip | Refusal:
        """Compare what is ready with what serves; the caller sets the deadline."""


class Jury(Protocol):
    """Every method returns at once. `tick` comes with each of the supervisor's, whatever is going on."""

    def before(self, desired: Desired, running: Desired | None) -> None:
        """The switch is next: what holds now is the baseline."""

    def forgive(self) -> None:
        """What went wrong since `before` was on purpose: engines were ended before others were loaded."""

    def judge(self, desired: Desired, elapsed_s: float) -> Go | Wait | Refusal:
        """A look at what runs, `elapsed_s` after the begin of the probation in this process."""

    def tick(self, at_mono: float) -> None: ...


class NoAdmission:
    async def admit(self, desired: Desired, running: Desired | None) -> Go | Refusal:
        return Go()

    async def fits_beside(self, desired: Desired, running: Desired | None) -> bool:
        return True


class NoShadow:
    def wanted(self, desired: Desired) -> bool:
        return False

    async def compare(self, desired: Desired, candidates: Candidates) -> Go | Skip | Refusal:
        return Skip("no comparison is set up")


@dataclass(frozen=True)
class Books:
    """A pipeline's figures at a moment."""

    restarts: int = 0
    results: int = 0
    no_answer: int = 0
    step_errors: int = 0


class PlainJury:
    """Everything is up and stays up for `probation_s`; no pipeline is without answers, or has a step that fails, on half its frames."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._before: dict[str, Books] = {}
        self._engine_restarts: dict[str, int] = {}

    def before(self, desired: Desired, running: Desired | None) -> None:
        self.forgive()

    def forgive(self) -> None:
        self._before = {name: _books(unit) for name, unit in self._device.pipelines.items()}
        self._engine_restarts = {key: unit.keeper.restarts for key, unit in self._device.engines.items()}

    def judge(self, desired: Desired, elapsed_s: float) -> Go | Wait | Refusal:
        looks = [self._engines(), *(self._pipeline(name) for name in desired.pipelines)]
        for look in looks:
            if isinstance(look, Refusal):
                return look
        if waits := [look for look in looks if isinstance(look, Wait)]:
            return waits[0]
        return Go() if elapsed_s >= desired.settings.update.probation_s else Wait("probation goes on")

    def tick(self, at_mono: float) -> None:
        pass

    def _engines(self) -> Go | Wait | Refusal:
        waits: Wait | None = None
        for key, unit in self._device.engines.items():
            ends = unit.keeper.restarts - self._engine_restarts.setdefault(key, unit.keeper.restarts)
            if unit.state == "refused" or ends >= MAX_RESTARTS:
                names = ", ".join(digest[7:19] for digest in unit.spec.digests)
                return _breach(
                    "engine-restarts", f"engine of {names}: {unit.message}", ends, MAX_RESTARTS - 1
                )
            if unit.state != "ok":
                waits = Wait(f"engine {key} is {unit.state}")
        return waits or Go()

    def _pipeline(self, name: str) -> Go | Wait | Refusal:
        unit = self._device.pipelines.get(name)
        if unit is None:
            return Wait(f"pipeline {name} is not there")
        now = _books(unit)
        then = self._before.setdefault(name, now)
        if unit.refused is not None:
            return Refusal(unit.refused.reason, str(unit.refused), gate="pipeline")
        if (ends := now.restarts - then.restarts) >= MAX_RESTARTS:
            return _breach("pipeline-restarts", f"pipeline {name} ended", ends, MAX_RESTARTS - 1)
        if not unit.up:
            return Wait(f"pipeline {name} is {unit.state}")
        results, no_answer = now.results - then.results, now.no_answer - then.no_answer
        errors = now.step_errors - then.step_errors
        if results + no_answer >= MIN_FRAMES:
            for gate, bad in (("no-answer", no_answer), ("step-errors", errors)):
                if (share := bad / (results + no_answer)) > BAD_SHARE:
                    return _breach(gate, f"pipeline {name}: share of frames", share, BAD_SHARE)
        return Go()


def _books(unit: PipelineUnit) -> Books:
    totals = unit.ledger.totals()
    no_answer = sum(totals.no_answer.values())
    restarts = unit.keeper.restarts - unit.ends_by_camera
    return Books(restarts, totals.results, no_answer, max(totals.step_errors.values(), default=0))


def _breach(gate: str, what: str, figure: float, limit: float) -> Refusal:
    return Refusal(
        Reason.PROBATION_FAILED,
        f"gate {gate}: {what} {figure:.3g}, at most {limit:.3g}",
        gate=gate,
        figure=figure,
        limit=limit,
    )
