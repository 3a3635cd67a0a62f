"""How an update is to be done: `settings.update` of a document as plain values, and the deadline of each phase. Standard library only.

The document is checked where it comes in (`wire.update`); what is missing here has the same default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from wire.phase import Phase


@dataclass(frozen=True)
class Wishes:
    """Those of `settings.update`; `windows` as they are written there."""

    windows: tuple[Mapping[str, Any], ...] = ()
    time_zone: str = ""
    jitter_s: float = 0.0
    window_deadline_s: float = 7 * 86400.0
    lock_deferral_s: float = 3600.0
    shadow_deadline_s: float = 300.0
    probation_s: float = 5.0
    probation_deadline_s: float = 300.0
    starts: int = 3
    contact_s: float = 120.0


def wishes(document: Mapping[str, Any]) -> Wishes:
    """What the document's settings ask for."""
    update = (document.get("settings") or {}).get("update") or {}
    known = {field.name for field in fields(Wishes)}
    values = {name: value for name, value in update.items() if name in known and value is not None}
    return Wishes(**{**values, "windows": tuple(values.get("windows", ()))})


@dataclass(frozen=True)
class Deadlines:
    """The agent's own, in seconds; a document's settings name the others."""

    step_s: float = 60.0
    admit_s: float = 300.0
    fetch_s: float = 86400.0
    swap_s: float = 60.0
    back_s: float = 60.0
    prepare_s: float = 120.0
    install_s: float = 1800.0
    """Besides, where the document names a release of the agent."""


def deadline_s(phase: Phase, own: Deadlines, document: Mapping[str, Any]) -> float:
    """How long this phase of this document may take."""
    asked = wishes(document)
    settings = document.get("settings") or {}
    prepare_s = float(settings.get("prepare_deadline_s") or own.prepare_s)
    prepare_s += own.install_s if document.get("agent") else 0.0
    return {
        Phase.VERIFIED: own.admit_s,
        Phase.FETCHING: own.fetch_s,
        Phase.WAIT_WINDOW: asked.window_deadline_s,
        # The phase ends by itself at the document's deadline; the margin is for saying what was not ready.
        Phase.PREPARE: prepare_s + asked.lock_deferral_s + own.step_s,
        Phase.SHADOW: asked.shadow_deadline_s,
        # Engines that do not fit beside the others are loaded here; the switch itself has its own deadline.
        Phase.SWAPPING: own.swap_s + prepare_s,
        Phase.PROBATION: asked.probation_deadline_s,
        Phase.ROLLING_BACK: own.back_s,
    }.get(phase, own.step_s)
