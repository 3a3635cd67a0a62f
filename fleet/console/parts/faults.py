"""Faults that are there now, of one device or of the fleet: consequences are counted under their cause."""

from __future__ import annotations

from typing import Any

from fleet.console.parts import cells
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.seat import Seat

TONES = {"critical": "bad", "warning": "warn", "info": "info"}
TOLD = Column("state", "State", "tight")
"""Beside the others where past faults are shown too."""
COLUMNS = (
    Column("severity", "Severity", "tight"),
    Column("fault", "Fault"),
    Column("where", "Where"),
    Column("since", "Since", "tight"),
    Column("beneath", "Consequences", "number"),
)


class Faults(Table):
    """The table. Without a device those of the whole fleet."""

    def __init__(self, seat: Seat, device: str = "", limit: int = 20) -> None:
        async def load(cursor: str | None) -> Any:
            return await seat.api.get("/faults", device=device, limit=limit, cursor=cursor)

        super().__init__(
            "Faults", COLUMNS, load, row, Empty("No faults", "Everything that is watched is well.")
        )


def row(fault: Any) -> Row:
    """One fault."""
    device = fault["device"]
    where = fault["part"] or device or fault["site"]
    at = ", ".join(filter(None, (device if fault["part"] else "", fault["site"])))
    return Row(
        fault["id"],
        {
            "severity": cells.chip(fault["severity"], TONES.get(fault["severity"], "")),
            "fault": cells.words(fault["text"], (fault["message"] or fault["remedy"]).replace("`", "")),
            "where": cells.link(where, f"/devices/{device}", at) if device else cells.words(fault["subject"]),
            "since": cells.when(fault["opened_at"]),
            "state": cells.chip("over", "")
            if fault["cleared_at"]
            else cells.chip("there now", TONES[fault["severity"]]),
            "beneath": cells.words(fault["consequences"] or ""),
        },
    )
