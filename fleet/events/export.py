"""Events taken away: JSON lines and CSV, streamed, oldest first."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from typing import Any

from fleet.events.filter import Filter, reached
from fleet.events.live import Show
from fleet.events.log import EventLog
from fleet.shapes import EventView

PAGE = 500
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would take for a formula (OWASP, CSV injection)."""
FIXED = ("at", "received_at", "device", "camera", "workflow", "kind", "step", "frame_seq", "id", "clip")
REST = "outputs"
MOST_COLUMNS = 64


async def pages(log: EventLog, wanted: Filter, show: Show) -> AsyncIterator[Sequence[EventView]]:
    """Everything that is there when it begins."""
    last = await asyncio.to_thread(log.newest_row)
    row = 0
    while True:
        found = await asyncio.to_thread(log.after, wanted, row, PAGE)
        yield await asyncio.to_thread(show, [each for each in found.rows if each.row <= last])
        if found.end or found.reached >= last:
            return
        row = found.reached


async def json_lines(log: EventLog, wanted: Filter, show: Show) -> AsyncIterator[bytes]:
    """An event a line, as the API shows it."""
    async for views in pages(log, wanted, show):
        yield b"".join(json.dumps(view, separators=(",", ":")).encode() + b"\n" for view in views)


async def table(
    log: EventLog, wanted: Filter, show: Show, columns: Sequence[str] = ()
) -> AsyncIterator[bytes]:
    """CSV with a heading. `columns` are paths into the event's document; without them its outputs are one column, as JSON."""
    yield _lines([[*FIXED, *(columns or (REST,))]])
    async for views in pages(log, wanted, show):
        yield _lines([_row(view, columns or (REST,)) for view in views])


def _row(view: EventView, columns: Sequence[str]) -> list[Any]:
    body = view["data"]
    fixed = [
        _time(view["at"]),
        _time(view["received_at"]),
        *(view[name] for name in ("device", "camera", "workflow", "kind")),
        body.get("step", ""),
        view["frame_seq"],
        view["id"],
        body.get("clip", ""),
    ]
    return [_cell(value) for value in [*fixed, *(_at(body, column) for column in columns)]]


def _at(body: dict[str, Any], path: str) -> Any:
    """What is at a path; several values as a list."""
    found = list(reached(body, tuple(path.split("."))))
    return found if "*" in path.split(".") else found[0] if found else None


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return f"'{text}" if text.startswith(FORMULA) else text


def _lines(rows: Sequence[Sequence[Any]]) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def _time(at_wall: float) -> str:
    return datetime.fromtimestamp(at_wall, timezone.utc).isoformat(timespec="milliseconds")
