"""The health of a device over time."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.pages.device.frame import Head
from fleet.console.parts import live
from fleet.console.parts.chart import Line, chart, update
from fleet.console.parts.layout import empty, section
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

SPANS = {"3600": "1 hour", "21600": "6 hours", "86400": "1 day", "604800": "1 week", "2592000": "30 days"}
REFRESH_S = 15.0
MOST_LINES = 6


@register.page("/devices/{device}/health", "Health")
async def health(seat: Seat, device: str, span: str = "21600") -> None:
    head = Head(seat, await seat.api.get(f"/devices/{device}"), "/health")
    charts: dict[tuple[str, str], ui.echart] = {}
    with section("Figures") as bar:
        place = tag("div", "section-body charts")
        nothing = tag("div")
        with nothing:
            empty(
                "No figures yet", "They come with the health messages of the device, every 30 s by default."
            )
    with bar:
        tag("div", "grow")
        chosen = ui.select(SPANS, value=span if span in SPANS else "21600", label="Last").style("width: 8rem")

    async def refresh() -> None:
        until = time.time()
        asked = {"from": until - float(chosen.value), "to": until}
        shown = await seat.api.get(f"/devices/{device}/health", **asked)
        grouped = group(shown["series"])
        nothing.set_visibility(not grouped)
        for key, (unit, lines) in grouped.items():
            if key in charts:
                update(charts[key], unit, shown["times"], lines)
            else:
                with place:
                    charts[key] = chart(key[1].replace("_", " "), unit, shown["times"], lines)

    async def both() -> None:
        head.show(await seat.api.get(f"/devices/{device}"))
        await refresh()

    await refresh()
    chosen.on_value_change(refresh)
    live.every(REFRESH_S, both)


def group(series: list[Any]) -> dict[tuple[str, str], tuple[str, list[Line]]]:
    """One chart a figure of the device, the cameras and the models; those without any value are left out."""
    found: dict[tuple[str, str], tuple[str, list[Line]]] = {}
    lines: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for one in series:
        if all(value is None for value in one["values"]):
            continue
        key = (one["scope"], f"{one['scope']} {one['figure']}".removeprefix("device ").removeprefix("host "))
        lines[key].append(Line(one["name"] or one["figure"].replace("_", " "), one["values"]))
        found[key] = (one["unit"], lines[key][:MOST_LINES])
    return found
