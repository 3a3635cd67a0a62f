"""The health of a device over time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.pages.device.frame import Head
from fleet.console.parts import live
from fleet.console.parts.chart import Line, chart, update
from fleet.console.parts.layout import empty, section
from fleet.console.parts.tags import Tag, tag
from fleet.console.seat import Seat

SPANS = {"3600": "1 hour", "21600": "6 hours", "86400": "1 day", "604800": "1 week", "2592000": "30 days"}
REFRESH_S = 15.0
MOST_LINES = 8
SCOPES = {"device": "Machine", "camera": "Cameras", "model": "Models"}
TITLES = {
    "fps": "Frames a second",
    "latency_p95_ms": "Latency, 95th percentile",
    "blind_s": "Blind time",
    "cpu_percent": "Processor",
    "temperature_celsius": "Temperature",
    "memory_available_mib": "Memory available",
    "disk_free_mib": "Disk free",
    "agent_rss_mib": "Memory of the agent",
    "infer_p50_ms": "Engine, median",
    "infer_p95_ms": "Engine, 95th percentile",
    "rss_mib": "Memory of the engine",
    "batch_mean": "Batch",
    "no_answer": "Frames without an answer",
    "loss_share": "Packets lost",
    "outbox_rows": "Messages waiting",
}
"""As people say it; another figure goes by its own name."""
FIRST = ("Frames a", "Latency", "Blind", "Processor", "Temperature", "Memory", "Gpu", "Engine")
"""What is looked at first; the rest follows by name."""


@dataclass(frozen=True)
class Group:
    """One chart: a figure of the device, of its cameras or of its models."""

    scope: str
    title: str
    unit: str
    lines: tuple[Line, ...]


@register.page("/devices/{device}/health", "Health")
async def health(seat: Seat, device: str, span: str = "21600") -> None:
    head = Head(seat, await seat.api.get(f"/devices/{device}"), "/health")
    with tag("div", "filters bare"):
        chosen = ui.select(SPANS, value=span if span in SPANS else "21600", label="The last")
    nothing = tag("div", "section")
    with nothing:
        empty("No figures yet", "They come with the health messages of the device, every 30 s by default.")
    charts = _Charts()

    async def refresh() -> None:
        until = time.time()
        asked = {"from": until - float(chosen.value), "to": until}
        shown = await seat.api.get(f"/devices/{device}/health", **asked)
        groups = group(shown["series"])
        nothing.set_visibility(not groups)
        charts.show(groups, shown["times"])

    async def both() -> None:
        head.show(await seat.api.get(f"/devices/{device}"))
        await refresh()

    await refresh()
    chosen.on_value_change(refresh)
    live.every(REFRESH_S, both)


class _Charts:
    """A section for the machine, the cameras and the models; charts are added as figures come."""

    def __init__(self) -> None:
        self._charts: dict[tuple[str, str], ui.echart] = {}
        self._sections: dict[str, tuple[Tag, Tag]] = {}
        for scope, title in SCOPES.items():
            with section(title) as head:
                place = tag("div", "section-body charts")
            outer = head.parent_slot.parent if head.parent_slot else head
            outer.set_visibility(False)
            self._sections[scope] = (outer, place)  # type: ignore[assignment]

    def show(self, groups: Sequence[Group], times: Sequence[float]) -> None:
        """Other figures instead."""
        for each in groups:
            outer, place = self._sections[each.scope]
            outer.set_visibility(True)
            key = (each.scope, each.title)
            if key in self._charts:
                update(self._charts[key], each.unit, times, each.lines)
                continue
            with place:
                self._charts[key] = chart(each.title, each.unit, times, each.lines)


def group(series: Sequence[Any]) -> list[Group]:
    """Charts in the order they are looked at. What is unknown all the time is left out, and what is counted and never happened."""
    lines: dict[tuple[str, str, str], list[Line]] = {}
    for one in series:
        if one["scope"] not in SCOPES or all(value is None for value in one["values"]):
            continue
        if one["counter"] and not any(one["values"]):
            continue
        key = (one["scope"], one["figure"], one["unit"])
        title = titled(one["figure"])
        lines.setdefault(key, []).append(Line(one["name"] or title, one["values"]))
    found = [
        Group(scope, titled(figure), unit, tuple(drawn[:MOST_LINES]))
        for (scope, figure, unit), drawn in lines.items()
    ]
    return sorted(found, key=lambda each: (list(SCOPES).index(each.scope), _rank(each.title), each.title))


def titled(figure: str) -> str:
    """The figure's name without its unit, which stands beside it."""
    if figure in TITLES:
        return TITLES[figure]
    words = figure.split("_")
    if words[-1] in ("ms", "s", "mib", "celsius", "percent", "watts") and len(words) > 1:
        words = words[:-1]
    return " ".join(words).capitalize()


def _rank(title: str) -> int:
    return next((rank for rank, start in enumerate(FIRST) if title.startswith(start)), len(FIRST))
