"""All rollouts, the newest first."""

from __future__ import annotations

from typing import Any

from fleet.console import register
from fleet.console.pages.workflows import way
from fleet.console.parts import cells, live
from fleet.console.parts.layout import page_head, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Role, Seat

COLUMNS = (
    Column("name", "Name"),
    Column("phase", "State", "tight"),
    Column("wave", "Wave", "tight"),
    Column("devices", "Devices"),
    Column("judged", "Why"),
    Column("by", "By"),
    Column("since", "Begun", "tight"),
)
PHASES = {
    "RUNNING": ("running", "info"),
    "PAUSED": ("paused", "warn"),
    "AWAITING_APPROVAL": ("waits for approval", "warn"),
    "ROLLING_BACK": ("rolling back", "bad"),
    "DONE": ("done", "ok"),
    "ABORTED": ("aborted", "bad"),
    "ROLLED_BACK": ("rolled back", "bad"),
}
READ_S = 3.0


@register.page("/rollouts", "Rollouts", register.Menu("Deploy", 2, "rollout"))
async def rollouts(seat: Seat) -> None:
    with page_head(
        "Rollouts",
        "A change goes out in waves; each is judged before the next begins, and a bad one stops by itself.",
    ):
        tag("div", "grow")
        way(seat, "New rollout", "/rollout-draft", "primary", seat.denied_somewhere(Role.OPERATOR))

    async def load(cursor: str | None) -> Any:
        return await seat.api.get("/rollouts", limit=50, cursor=cursor)

    with section("Rollouts"):
        nothing = Empty(
            "No rollout yet", "Release a workflow or upload a model, then roll it out to some devices first."
        )
        table = Table("Rollouts", COLUMNS, load, _row, nothing)
    await table.refresh()
    live.every(READ_S, table.refresh)


def _row(row: Any) -> Row:
    words, tone = PHASES[row["phase"]]
    counts = ", ".join(f"{count:,} {status}" for status, count in sorted(row["devices"].items()))
    return Row(
        row["name"],
        {
            "name": cells.link(row["name"], f"/rollouts/{row['name']}"),
            "phase": cells.chip(words, tone),
            "wave": cells.words(f"{row['wave']} of {row['waves']}"),
            "devices": cells.words(counts),
            "judged": cells.words(row["judged"]),
            "by": cells.words(row["created_by"]),
            "since": cells.when(row["since"]),
        },
    )
