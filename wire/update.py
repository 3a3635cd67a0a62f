"""How updates are done on a device: `settings.update` of its desired state."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wire.doc import Doc
from wire.gates import Gates

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TimeOfDay = r"^([01]?\d|2[0-3]):[0-5]\d$"


class Window(Doc):
    """A time in which updates may be applied: `days` (all where none is named), `start` and `end` of the day, over midnight where the
    end is not after the start; or `cron`, five fields, and how many `minutes` it is open from each start on."""

    days: tuple[Day, ...] = ()
    start: str = Field(default="00:00", pattern=TimeOfDay)
    end: str = Field(default="00:00", pattern=TimeOfDay)
    cron: str = Field(default="", max_length=100)
    minutes: int = Field(default=60, ge=1, le=1440)


class Update(Doc):
    """`time_zone` is an IANA name, the device's own where it is empty. `jitter_s` spreads devices over the beginning of a window.
    `lock_deferral_s`: so long an application's lock may hold an update back. `probation_s`: so long at least every gate must hold
    before the revision is committed; without a verdict by `probation_deadline_s` the device goes back. `starts` in probation without a
    commit do so too. `contact_s`: so long a change of the connection may leave the control plane unreached before it is taken back.
    `shadow_s`: so long at most a new model is compared with the one at work before it serves, on at most `shadow_frames` pictures of
    each camera; 0 leaves that out. `stop_then_load`: where the new engines do not fit in memory beside those they replace, these are
    ended first, and the cameras are blind meanwhile; otherwise such a revision is refused. `gates`: the limits it is judged by afterwards.
    """

    windows: tuple[Window, ...] = ()
    time_zone: str = Field(default="", max_length=64)
    jitter_s: float = Field(default=0.0, ge=0.0, le=86400.0)
    window_deadline_s: float = Field(default=7 * 86400.0, ge=1.0, le=90 * 86400.0)
    lock_deferral_s: float = Field(default=3600.0, ge=0.0, le=7 * 86400.0)
    shadow_deadline_s: float = Field(default=300.0, ge=1.0, le=86400.0)
    probation_s: float = Field(default=5.0, ge=0.0, le=86400.0)
    probation_deadline_s: float = Field(default=300.0, ge=1.0, le=7 * 86400.0)
    starts: int = Field(default=3, ge=1, le=100)
    contact_s: float = Field(default=120.0, ge=1.0, le=86400.0)
    shadow_s: float = Field(default=10.0, ge=0.0, le=86400.0)
    shadow_frames: int = Field(default=30, ge=1, le=1_000_000)
    stop_then_load: bool = True
    gates: Gates = Gates()
