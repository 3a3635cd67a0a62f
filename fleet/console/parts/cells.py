"""What stands in a cell of a table, as the browser draws it (`table.js`); and the words and tones of states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Cell = dict[str, Any]

TONES = {
    **dict.fromkeys(
        ("online", "ok", "streaming", "running", "serving", "committed", "ready", "enabled"), "ok"
    ),
    **dict.fromkeys(("silent", "rolling back", "degraded", "warning", "dark", "stalled"), "warn"),
    **dict.fromkeys(
        ("offline", "lost", "failed", "refused", "rejected", "rolled back", "critical", "blind"), "bad"
    ),
    **dict.fromkeys(("never", "retired", "idle", "disabled", "ended", "off", "none", "unknown"), ""),
}
"""Which states mean something good or bad, or nothing; every other one is under way."""


def words(value: object, under: str = "") -> Cell:
    """Text, with a quiet line under it."""
    return {"text": "" if value is None else str(value), "under": under}


def link(value: object, href: str, under: str = "") -> Cell:
    return {"text": str(value), "href": href, "under": under}


def chip(state: str, tone: str | None = None, title: str = "") -> Cell:
    """A state with its tone: ok, warn, bad, info or none."""
    return {"chip": said(state), "tone": tone_of(state) if tone is None else tone, "title": title}


def said(state: str) -> str:
    """A state as people read it."""
    return state.replace("_", " ").lower() if state.isupper() else state


def tone_of(state: str) -> str:
    return TONES.get(said(state), "info" if state else "")


def when(at: float | None, never: str = "never") -> Cell:
    """A time as how long ago it is."""
    return {"at": at} if at is not None else {"text": never, "quiet": True}


def labels(given: Mapping[str, str]) -> Cell:
    return {"labels": [f"{key}={value}" for key, value in sorted(given.items())]}


def code(value: object, title: str = "") -> Cell:
    """Something to be read letter by letter."""
    return {"code": str(value), "title": title}


def action(name: str, label: str, *, danger: bool = False, denied: str = "") -> dict[str, Any]:
    """A button of a row; `denied` says why it cannot be pressed."""
    return {"name": name, "label": label, "danger": danger, "denied": denied}


def actions(given: Sequence[dict[str, Any]]) -> Cell:
    return {"actions": list(given)}
