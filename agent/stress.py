"""Relief under stress: when heat, power or processor load pass their limits, cameras work on fewer of their frames. Pure.

Each step down waits to show its effect; each step up waits longer, so that the rate does not swing. The rule says so itself:
the reason travels with every skipped frame, and with the camera's health.
"""

from __future__ import annotations

from dataclasses import dataclass

from wire.reasons import Reason

STEP_DOWN = 0.7
STEP_UP = 1.25
LEAST_SHARE = 0.1
DOWN_AFTER_S = 10.0
UP_AFTER_S = 30.0
COOL_SHARE = 0.94
"""A figure has to fall below this share of its limit before the rate is raised again."""


@dataclass(frozen=True)
class Reading:
    """What the device says of itself; None where it says nothing."""

    celsius: float | None = None
    watts: float | None = None
    cpu_percent: float | None = None


@dataclass(frozen=True)
class StressLimits:
    """Above these the rates are lowered."""

    celsius: float
    watts: float
    cpu_percent: float


@dataclass(frozen=True)
class Relief:
    """The share of frames that cameras may work on, and why not all."""

    share: float = 1.0
    reason: Reason | None = None


class Stress:
    """Fed with readings, in order; `relief` is what holds."""

    def __init__(self, limits: StressLimits) -> None:
        self._limits = limits
        self.relief = Relief()
        self._changed_mono = -1e18
        self._calm_since_mono: float | None = None

    def read(self, reading: Reading, at_mono: float) -> Relief | None:
        """The new relief, where it changes."""
        reason = self._beyond(reading, 1.0)
        if reason is not None:
            self._calm_since_mono = None
            if at_mono - self._changed_mono < DOWN_AFTER_S or self.relief.share <= LEAST_SHARE:
                return None
            return self._become(Relief(max(LEAST_SHARE, self.relief.share * STEP_DOWN), reason), at_mono)
        if self.relief.reason is None or self._beyond(reading, COOL_SHARE) is not None:
            self._calm_since_mono = None
            return None
        if self._calm_since_mono is None:
            self._calm_since_mono = at_mono
        if at_mono - self._calm_since_mono < UP_AFTER_S:
            return None
        share = min(1.0, self.relief.share * STEP_UP)
        self._calm_since_mono = at_mono
        return self._become(Relief(share, self.relief.reason if share < 1.0 else None), at_mono)

    def _become(self, relief: Relief, at_mono: float) -> Relief:
        self.relief, self._changed_mono = relief, at_mono
        return relief

    def _beyond(self, reading: Reading, share: float) -> Reason | None:
        """The first limit of which the reading has reached this share."""
        figures = (
            (reading.celsius, self._limits.celsius, Reason.THERMAL_LIMIT),
            (reading.watts, self._limits.watts, Reason.POWER_LIMIT),
            (reading.cpu_percent, self._limits.cpu_percent, Reason.CPU_LIMIT),
        )
        for figure, limit, reason in figures:
            if figure is not None and figure > limit * share:
                return reason
        return None
