"""The spans of an update, from the click to its end on the device. Pure.

Ids are made from what is told of (fleet, rollout or device and revision), so that whoever tells it again tells the same trace. The update of
a device belongs to the trace of its rollout, or is one of its own.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wire.phase import TERMINAL, Phase

GOOD = frozenset({Phase.COMMITTED, Phase.IDLE})


@dataclass(frozen=True)
class Span:
    """Times are seconds since the epoch. `parent` 0 is the trace's root. `error`: why it failed, empty where it did not."""

    trace: int
    id: int
    parent: int
    name: str
    begin_wall: float
    end_wall: float
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class Told:
    """A desired state: when and by whom it was made; `rollout`: whose it is, empty for a person's."""

    device: str
    revision: int
    at_wall: float
    by: str
    rollout: str = ""


def number(*parts: str | int, size_bytes: int) -> int:
    """An id, never 0."""
    content = "\0".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(content).digest()[:size_bytes], "big") or 1


def trace_of(fleet: str, told: Told) -> int:
    if told.rollout:
        return number(fleet, "rollout", told.rollout, size_bytes=16)
    return number(fleet, "revision", told.device, told.revision, size_bytes=16)


def of_update(fleet: str, told: Told, reported: Mapping[str, Any]) -> list[Span]:
    """The spans of a revision that has come to its end, as the device reports it; none where it has not, or tells no times."""
    update = reported.get("update")
    began = update.get("began") if isinstance(update, dict) else None
    phase = str(reported.get("phase", ""))
    if not isinstance(began, dict) or reported.get("offered") != told.revision or phase not in set(TERMINAL):
        return []
    times = _in_order(began, told.at_wall)
    if not times or times[-1][0] != phase.lower():
        return []
    trace = trace_of(fleet, told)
    root = number(trace, told.device, told.revision, size_bytes=8)
    parent = number(trace, "root", size_bytes=8) if told.rollout else 0
    about: dict[str, str | int | float | bool] = {
        "outrider.fleet": fleet,
        "outrider.device": told.device,
        "outrider.revision": told.revision,
        "outrider.phase": phase,
        "outrider.by": told.by,
    }
    error = (
        ""
        if phase == Phase.COMMITTED
        else f"{reported.get('reason') or phase}: {reported.get('message') or ''}"
    )
    whole = Span(trace, root, parent, f"update {told.device}", told.at_wall, times[-1][1], about, error[:500])
    deliver = Span(
        trace, number(root, "deliver", size_bytes=8), root, "deliver", told.at_wall, times[0][1],
        {"outrider.device": told.device},
    )  # fmt: skip
    phases = update.get("phases") if isinstance(update, dict) else None
    steps = [
        Span(
            trace,
            number(root, name, size_bytes=8),
            root,
            name,
            at,
            until,
            {"outrider.device": told.device, **_notes(phases, name)},
        )
        for (name, at), (_, until) in itertools.pairwise(times)
    ]
    return [whole, deliver, *steps]


def of_rollout(fleet: str, name: str, phase: str, by: str, begin_wall: float, end_wall: float) -> Span:
    """The root of a rollout's trace, once it is over."""
    trace = number(fleet, "rollout", name, size_bytes=16)
    about: dict[str, str | int | float | bool] = {
        "outrider.fleet": fleet,
        "outrider.rollout": name,
        "outrider.phase": phase,
        "outrider.by": by,
    }
    error = "" if phase == "DONE" else phase
    root = number(trace, "root", size_bytes=8)
    return Span(trace, root, 0, f"rollout {name}", begin_wall, max(begin_wall, end_wall), about, error)


def _in_order(began: Mapping[str, Any], not_before: float) -> list[tuple[str, float]]:
    """Phases with the times at which they began. A device's clock may be behind: nothing begins before the click."""
    times = [(name, float(at)) for name, at in began.items() if isinstance(at, (int, float))]
    ordered, last = [], not_before
    for name, at in sorted(times, key=lambda each: each[1]):
        last = max(last, at)
        ordered.append((str(name), last))
    return ordered


def _notes(phases: Any, name: str) -> dict[str, str | int | float | bool]:
    found = phases.get(name) if isinstance(phases, dict) else None
    if not isinstance(found, dict):
        return {}
    return {
        f"outrider.{key}": value
        for key, value in list(found.items())[:16]
        if isinstance(value, (str, int, float, bool))
    }
