"""What is wrong in the fleet."""

from __future__ import annotations

from typing import Any

from fleet.console import register
from fleet.console.pages.alerts.frame import heading
from fleet.console.parts import faults, filters, live
from fleet.console.parts.layout import section
from fleet.console.parts.table import Empty, Table
from fleet.console.seat import Seat

REFRESH_S = 5.0
SHOWN = {"": "those there now", "all": "past ones too"}
PAGE = 50


@register.page("/faults", "Faults", under="/alerts")
async def faults_page(seat: Seat, severity: str = "", site: str = "") -> None:
    heading(seat, "/faults")

    async def load(cursor: str | None) -> Any:
        return await seat.api.get(
            "/faults",
            limit=PAGE,
            cursor=cursor,
            severity=by_severity.value,
            site=by_site.value,
            selector=by_label.value,
            active="false" if by_time.value else "true",
        )

    async def changed() -> None:
        await table.restart()

    with section("Faults", "one that follows from another is counted under it"):
        with filters.bar():
            by_severity = filters.choice("Severity", ("critical", "warning", "info"), severity, changed)
            by_site = filters.words("Site", site, changed, "north")
            by_label = filters.words("Labels", "", changed, "line in (1, 2)")
            by_time = filters.choice("Show", SHOWN, "", changed)
        nothing = Empty("No faults", "Everything that is watched is well.")
        table = Table("Faults", (*faults.COLUMNS, faults.TOLD), load, faults.row, nothing)
    await table.refresh()
    live.every(REFRESH_S, table.refresh)
