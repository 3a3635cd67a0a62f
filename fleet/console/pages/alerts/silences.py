"""Silences: alerts that nobody is told of for a time."""

from __future__ import annotations

from typing import Any

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.pages.alerts.frame import heading
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import confirmed
from fleet.console.parts.layout import section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.seat import Seat

COLUMNS = (
    Column("which", "Alerts with"),
    Column("reason", "Why"),
    Column("by", "By"),
    Column("until", "Until", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)


@register.page("/silences", "Silences", under="/alerts")
async def silences(seat: Seat) -> None:
    heading(seat, "/silences")
    denied = seat.denied_somewhere(Role.OPERATOR)

    async def load(_cursor: str | None) -> Any:
        return await seat.api.get("/alert-silences", over="true")

    def row(silence: Any) -> Row:
        end = [cells.action("end", "End now", denied=denied)] if silence["active"] else []
        return Row(
            silence["id"],
            {
                "which": cells.labels(silence["matcher"]),
                "reason": cells.words(silence["reason"]),
                "by": cells.words(silence["created_by"]),
                "until": cells.when(silence["until_at"]),
                "state": cells.chip("active", "info") if silence["active"] else cells.chip("over", ""),
                "actions": cells.actions(end),
            },
        )

    async def acted(_name: str, key: str) -> None:
        if await confirmed(
            "End this silence?", "Alerts it covers are told again.", "End silence", danger=False
        ):

            async def end() -> None:
                await seat.api.change("DELETE", f"/alert-silences/{key}")

            await problem.attempt(end)
            await table.refresh()

    with section("Silences", bare=True):
        nothing = Empty("No silences", "Silence an alert on the tab Alerts, e.g. during maintenance.")
        table = Table("Silences", COLUMNS, load, row, nothing, acted)
    await table.refresh()
