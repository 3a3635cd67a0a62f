"""The fleet at a glance."""

from __future__ import annotations

from fleet.console import register
from fleet.console.parts.layout import figure, page_head
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat


@register.page("/", "Overview", register.Menu("Fleet", 0, "home"))
async def overview(seat: Seat) -> None:
    with page_head("Overview"):
        pass
    health = await seat.api.get("/health")
    with tag("div", "figures"):
        figure("devices", f"{health['devices']:,}")
        figure("messages taken in", f"{health['ingest']['received']:,}")
