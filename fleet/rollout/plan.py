"""What a rollout is to do, as people write it: whom it reaches, the change, the waves, and the gates between them."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import ConfigDict, Field, model_validator

from wire import windows
from wire.doc import Doc
from wire.names import Name
from wire.update import Window

HOUR_S = 3600.0
DAY_S = 86400.0


class OnFailure(str, Enum):
    """What a failed gate does."""

    PAUSE = "pause"
    ROLL_BACK = "roll-back"


class Written(Doc):
    """What a person writes: a field that is not known is a slip, and refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Compare(Written):
    """A figure of the devices that have the change against those that have not. `limit` is the largest ratio, or the largest
    difference, of the two medians in the direction that is worse.

    `figure`: frames_per_s (less is worse), latency_p95_ms, error_share, empty_share, blind_share, confidence (less is worse),
    temperature_celsius.
    """

    figure: Literal[
        "frames_per_s",
        "latency_p95_ms",
        "error_share",
        "empty_share",
        "blind_share",
        "confidence",
        "temperature_celsius",
    ]
    ratio: float | None = Field(default=None, gt=0)
    difference: float | None = Field(default=None, ge=0)
    min_devices: int = Field(default=1, ge=1)
    """Of each side; with fewer nothing is judged."""

    @model_validator(mode="after")
    def _one_limit(self) -> Compare:
        if (self.ratio is None) == (self.difference is None):
            raise ValueError("give either ratio or difference")
        return self


class Gates(Written):
    """What must hold before the next wave begins; `max_failed_*` stop at once. Shares are of the devices that came to an end."""

    min_success_percent: float = Field(default=95.0, ge=0, le=100)
    max_failed: int | None = Field(default=None, ge=0)
    """Devices, over the whole rollout; None is no limit but the percentage."""
    max_failed_percent: float = Field(default=5.0, ge=0, le=100)
    """Of the devices the waves begun so far may reach."""
    min_samples: int = Field(default=1, ge=1)
    """Devices that have taken the change, over the whole rollout, where there are so many."""
    soak_s: float = Field(default=300.0, ge=0, le=30 * DAY_S)
    """From the end of the wave's last device."""
    compare: tuple[Compare, ...] = Field(default=(), max_length=16)
    compare_wait_s: float = Field(default=HOUR_S, ge=0, le=30 * DAY_S)
    """How long beyond the soak figures may be missing; then the rollout pauses, since it cannot tell."""
    approval: bool = False
    """A person must say yes before the next wave."""


class Wave(Written):
    """How far the rollout may have come at the end of this wave, the waves before included: a share, or a number of devices."""

    percent: float | None = Field(default=None, gt=0, le=100)
    devices: int | None = Field(default=None, ge=1)
    gates: Gates = Field(default_factory=Gates)

    @model_validator(mode="after")
    def _one_size(self) -> Wave:
        if (self.percent is None) == (self.devices is None):
            raise ValueError("give either percent or devices")
        return self

    def limit(self, eligible: int) -> int:
        """How many of so many devices it may reach: at least one, percentages rounded down."""
        if self.devices is not None:
            return min(self.devices, eligible)
        assert self.percent is not None
        return min(eligible, max(1, int(eligible * self.percent / 100.0 + 1e-9)))


class Pace(Written):
    """How fast devices are told. `per_minute` 0 is no limit."""

    concurrent: int = Field(default=50, ge=1, le=100_000)
    per_minute: float = Field(default=0.0, ge=0)


class Patience(Written):
    """How long to wait for devices. An offline device leaves the count after `offline_s`, and joins later under the same gates."""

    offline_s: float = Field(default=HOUR_S, ge=0, le=30 * DAY_S)
    device_s: float = Field(default=2 * HOUR_S, gt=0, le=30 * DAY_S)
    """From being told to an end, for a device that is online; one that takes longer has failed."""
    attempts: int = Field(default=1, ge=1, le=10)
    retry_after_s: float = Field(default=600.0, ge=0, le=DAY_S)


CANARY = (
    Wave(devices=1, gates=Gates(soak_s=600.0)),
    Wave(percent=10.0),
    Wave(percent=50.0),
    Wave(percent=100.0),
)


class Plan(Written):
    """A rollout as it is created. `change` is a merge patch (RFC 7396) of each device's desired state, with names of the registry as
    references; `selector` says whom it reaches: those it matches now, or with `dynamic` those who come to match it too."""

    name: Name
    change: dict[str, Any] = Field(min_length=1)
    selector: str = Field(default="", max_length=2000)
    dynamic: bool = False
    waves: tuple[Wave, ...] = Field(default=CANARY, min_length=1, max_length=32)
    on_failure: OnFailure = OnFailure.PAUSE
    windows: tuple[Window, ...] = Field(default=(), max_length=64)
    """Times in which devices are told, in `time_zone` (an IANA name); always without any. Devices may have windows of their own besides."""
    time_zone: str = Field(default="UTC", max_length=64)
    deadline_s: float = Field(default=30 * DAY_S, gt=0, le=365 * DAY_S)
    """From its start; what has not ended by then is aborted, and late devices are told no more."""
    pace: Pace = Field(default_factory=Pace)
    patience: Patience = Field(default_factory=Patience)
    first: tuple[str, ...] = Field(default=(), max_length=1000)
    """Devices to begin with, the canaries; the others follow in an order of chance that stays the same."""

    def is_open(self, at: float) -> bool:
        """Whether devices may be told at this time (wall clock)."""
        return windows.is_open([window.to_json() for window in self.windows], at, ZoneInfo(self.time_zone))

    @model_validator(mode="after")
    def _windows_make_sense(self) -> Plan:
        for window in self.windows:
            windows.check(window.to_json())
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as e:
            raise ValueError(f"{self.time_zone!r} is no time zone; expected e.g. Europe/Paris") from e
        return self

    @model_validator(mode="after")
    def _last_wave_is_all(self) -> Plan:
        last = self.waves[-1]
        if last.percent != 100.0:
            raise ValueError("the last wave must reach 100 percent")
        sizes = [wave.percent for wave in self.waves if wave.percent is not None]
        counts = [wave.devices for wave in self.waves if wave.devices is not None]
        if sizes != sorted(sizes) or counts != sorted(counts):
            raise ValueError("waves must grow")
        return self
