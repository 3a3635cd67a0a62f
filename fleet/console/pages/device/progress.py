"""The newest update of a device: how far it has come, and what stopped it."""

from __future__ import annotations

from typing import Any

from fleet.console.parts.cells import tone_of
from fleet.console.parts.layout import section
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

WAY = ("OFFERED", "VERIFIED", "FETCHING", "STAGED", "PREPARE", "SHADOW", "SWAPPING", "PROBATION", "COMMITTED")
ASIDE = {
    "WAIT_WINDOW": "STAGED",
    "REJECTED": "PREPARE",
    "ROLLING_BACK": "PROBATION",
    "ROLLED_BACK": "PROBATION",
}
"""Where on the way the other phases stand."""


class Progress:
    """A line of phases with the one that is reached."""

    def __init__(self, seat: Seat, name: str, here: bool = False) -> None:
        self._said: tuple[Any, ...] = ()
        with section("Update") as head:
            with head:
                self._note = text("", "quiet")
            self._way = tag("ol", "steps")
            self._trouble = tag("div", "section-body")
        with head:
            tag("div", "grow")
            if not here:
                text("Desired and reported", name="a", href=seat.href(f"/devices/{name}/state"))

    def show(self, device: Any) -> None:
        """As it was reported last."""
        reported = device["reported"] or {}
        phase = str(reported.get("phase") or "IDLE")
        said = (
            phase,
            reported.get("offered"),
            reported.get("revision"),
            reported.get("reason"),
            reported.get("progress"),
            reported.get("message"),
        )
        if said == self._said:
            return
        self._said = said
        self._note.text = _note(phase, reported)
        self._way.clear()
        with self._way:
            _way(phase)
        self._trouble.clear()
        self._trouble.set_visibility(bool(reported.get("reason")))
        if reported.get("reason"):
            with self._trouble:
                text(reported["reason"], "code")
                text(f" {reported.get('message') or ''}")


def _note(phase: str, reported: Any) -> str:
    if not reported.get("offered"):
        return "none yet"
    words = f"revision {reported['offered']} offered, {reported.get('revision') or 'none'} runs"
    progress = reported.get("progress")
    return f"{words}, {100 * progress:.0f} %" if progress is not None and phase != "COMMITTED" else words


def _way(phase: str) -> None:
    reached = ASIDE.get(phase, phase)
    at = WAY.index(reached) if reached in WAY else -1
    for number, step in enumerate(WAY):
        here = number == at
        words = (phase if here else step).replace("_", " ").lower()
        kind = f"here {tone_of(phase)}" if here else "past" if number < at else ""
        text(words, kind, "li", aria_current="step" if here else None)
