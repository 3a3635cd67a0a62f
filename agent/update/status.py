"""What the agent says of updates in reported state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wire.desired import Desired
from wire.phase import Phase
from wire.reported import SwapFigures, UpdateReport


@dataclass(frozen=True)
class Status:
    """`running` is what `current` names; `offered` the revision that was worked on last, with its phase and what is wrong with it."""

    running: Desired | None = None
    offered: int = 0
    phase: Phase = Phase.IDLE
    reason: str | None = None
    message: str | None = None
    problems: tuple[dict[str, Any], ...] = ()
    progress: float | None = None
    swaps: tuple[SwapFigures, ...] = ()
    report: UpdateReport = field(default_factory=UpdateReport)

    @property
    def revision(self) -> int:
        return self.running.revision if self.running else 0
