"""What a device says of its state: the applied revision, the phase of an update, each object with its reason."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wire.doc import Doc
from wire.inventory import Inventory
from wire.phase import Phase


class ObjectState(Doc):
    """The state of one camera, model, workflow or pipeline. `state` is ok, starting, degraded, failed or refused."""

    state: str
    digest: str | None = None
    reason: str | None = None
    message: str | None = None
    since: float | None = None


class SwapFigures(Doc):
    """What a swap cost one pipeline. Times in milliseconds; `frame_period_ms` is the camera's nominal period."""

    pipeline: str
    last_frame_old: int | None = None
    first_frame_new: int | None = None
    frames_lost: int = 0
    gap_ms: float | None = None
    longest_gap_ms: float | None = None
    frame_period_ms: float | None = None


class UpdateReport(Doc):
    """What came of the phases of the newest update, by the phase's name in small letters: a note, figures, or the broken `gate` with its
    figure and limit. `quarantined`: the digests that this device does not take. `began`: when each phase of it began, by the device's clock."""

    phases: dict[str, dict[str, Any]] = Field(default_factory=dict)
    began: dict[str, float] = Field(default_factory=dict)
    quarantined: tuple[str, ...] = ()


class Reported(Doc):
    """The reported state. `revision` runs; `offered` is the newest seen, with its phase and what is wrong with it. `agent_release`: the
    digest of the agent's release that runs; empty for the one installed with the system."""

    revision: int = 0
    offered: int = 0
    phase: Phase = Phase.IDLE
    reason: str | None = None
    message: str | None = None
    problems: tuple[dict[str, Any], ...] = ()
    progress: float | None = None
    agent_version: str = ""
    agent_release: str = ""
    cameras: dict[str, ObjectState] = Field(default_factory=dict)
    models: dict[str, ObjectState] = Field(default_factory=dict)
    workflows: dict[str, ObjectState] = Field(default_factory=dict)
    pipelines: dict[str, ObjectState] = Field(default_factory=dict)
    swaps: tuple[SwapFigures, ...] = ()
    update: UpdateReport = UpdateReport()
    inventory: Inventory | None = None


class Connection(Doc):
    """Birth (`online`) and last will (`offline`)."""

    state: str
    agent_version: str = ""
    boot: str = ""
