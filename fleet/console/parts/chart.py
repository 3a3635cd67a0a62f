"""Figures over time, drawn by ECharts, which NiceGUI brings along. Greys that can be read on light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nicegui import ui

COLOURS = ("#0f9488", "#3b82c4", "#b7791f", "#a855a7", "#64748b", "#c2513f")
TEXT, RULE = "#7c8792", "#7c879233"


@dataclass(frozen=True)
class Line:
    """Values at times; None is a gap."""

    name: str
    values: Sequence[float | None]


def chart(title: str, unit: str, times: Sequence[float], lines: Sequence[Line]) -> ui.echart:
    """`times` are seconds since the epoch."""
    made = ui.echart(options(title, unit, times, lines)).classes("chart")
    made.props(f'role=img aria-label="{title}"')
    return made


def update(made: ui.echart, unit: str, times: Sequence[float], lines: Sequence[Line]) -> None:
    """Other values instead."""
    made.options["series"] = _series(unit, times, lines)
    made.options["xAxis"] |= _ends(times)
    made.options["legend"]["data"] = [line.name for line in lines]
    made.update()


def options(title: str, unit: str, times: Sequence[float], lines: Sequence[Line]) -> dict[str, Any]:
    axis = {"color": TEXT, "fontSize": 11}
    return {
        "animation": False,
        "color": list(COLOURS),
        "textStyle": {"fontFamily": "Roboto, sans-serif"},
        "title": {
            "text": f"{title}, {unit}" if unit else title,
            "textStyle": {"fontSize": 12, "fontWeight": 500, "color": TEXT},
            "left": 0,
            "top": 0,
        },
        "legend": {
            "show": len(lines) > 1,
            "right": 0,
            "top": 0,
            "itemWidth": 10,
            "itemHeight": 6,
            "textStyle": {"fontSize": 11, "color": TEXT},
            "data": [line.name for line in lines],
            "type": "scroll",
            "left": "45%",
        },
        "grid": {"left": 44, "right": 10, "top": 30, "bottom": 24},
        "tooltip": {"trigger": "axis", "confine": True, "textStyle": {"fontSize": 12}},
        "xAxis": {
            "type": "time",
            **_ends(times),
            "axisLabel": {**axis, "hideOverlap": True},
            "axisLine": {"lineStyle": {"color": RULE}},
            "axisTick": {"show": False},
        },
        "yAxis": {"type": "value", "axisLabel": axis, "splitLine": {"lineStyle": {"color": RULE}}},
        "series": _series(unit, times, lines),
    }


def _ends(times: Sequence[float]) -> dict[str, float]:
    """The whole span, also where nothing is known of a part of it."""
    return {"min": times[0] * 1000, "max": times[-1] * 1000} if times else {}


def _series(unit: str, times: Sequence[float], lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "name": line.name,
            "type": "line",
            "showSymbol": sum(value is not None for value in line.values) < 3,
            "symbolSize": 4,
            "lineStyle": {"width": 1.5},
            "connectNulls": False,
            "data": [[at * 1000, value] for at, value in zip(times, line.values, strict=False)],
        }
        for line in lines
    ]
