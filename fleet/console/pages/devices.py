"""The devices: found by name, labels and presence."""

from __future__ import annotations

from typing import Any

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.pages.device import enrolment
from fleet.console.parts import cells, filters, live
from fleet.console.parts.buttons import button
from fleet.console.parts.layout import page_head, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

COLUMNS = (
    Column("device", "Device"),
    Column("presence", "Presence", "tight"),
    Column("labels", "Labels"),
    Column("revision", "Revision", "number"),
    Column("phase", "Update", "tight"),
    Column("seen", "Last seen", "tight"),
)
PRESENCES = ("online", "silent", "offline", "never", "retired")
REFRESH_S = 5.0
PAGE = 50


@register.page("/devices", "Devices", register.Menu("Fleet", 10, "device"))
async def devices(seat: Seat, name: str = "", selector: str = "", presence: str = "") -> None:
    with page_head("Devices"):
        tag("div", "grow")
        denied = seat.denied_somewhere(Role.OPERATOR)
        button("Add a device", lambda: enrolment.ask(seat), "primary", denied)

    async def load(cursor: str | None) -> Any:
        wanted = {"name": by_name.value, "selector": by_label.value, "presence": by_presence.value}
        return await seat.api.get("/devices", limit=PAGE, cursor=cursor, **wanted)

    async def changed() -> None:
        await table.restart()

    with section("Devices", bare=True):
        with filters.bar():
            by_name = filters.words("Name", name, changed, "part of a name")
            by_label = filters.words("Labels", selector, changed, "site=north, line in (1, 2), !spare")
            by_presence = filters.choice("Presence", PRESENCES, presence, changed)
        nothing = Empty("No device here", "Loosen the filter, or add a device with the button above.")
        table = Table("Devices", COLUMNS, load, _row, nothing)
    await table.refresh()
    live.every(REFRESH_S, table.refresh)


def _row(device: Any) -> Row:
    phase = device["phase"] or ""
    return Row(
        device["id"],
        {
            "device": cells.link(device["id"], f"/devices/{device['id']}", device["agent_version"]),
            "presence": cells.chip(device["presence"]),
            "labels": cells.labels(device["labels"]),
            "revision": cells.words(device["revision"] or "none"),
            "phase": cells.chip(phase, title=device["reason"] or "") if phase else cells.words("none"),
            "seen": cells.when(device["last_seen_at"]),
        },
    )
