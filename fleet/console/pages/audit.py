"""Who did what: the audit log, newest first, and its head."""

from __future__ import annotations

import json
from typing import Any

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.parts import cells, filters
from fleet.console.parts.layout import page_head, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import text
from fleet.console.seat import Seat

COLUMNS = (
    Column("seq", "Row", "number"),
    Column("at", "When", "tight"),
    Column("actor", "Who"),
    Column("action", "What"),
    Column("subject", "On"),
    Column("detail", "Details"),
)
PAGE = 50
DETAIL_CHARACTERS = 200


@register.page("/audit", "Audit log", register.Menu("Administration", 10, "audit", Role.ADMIN))
async def audit(seat: Seat, actor: str = "", action: str = "", subject: str = "") -> None:
    with page_head("Audit log", "Every change and who made it. Each row holds the hash of the one before."):
        pass
    head = await seat.api.get("/audit/head")

    async def load(cursor: str | None) -> Any:
        wanted = {"actor": by_actor.value, "action": by_action.value, "subject": by_subject.value}
        return await seat.api.get("/audit", limit=PAGE, cursor=cursor, order="newest", **wanted)

    async def changed() -> None:
        await table.restart()

    with section("Rows", f"{head['count']:,} in all") as top:
        with filters.bar():
            by_actor = filters.words("Who", actor, changed, "user:ada")
            by_action = filters.words("What", action, changed, "device.*")
            by_subject = filters.words("On", subject, changed, "gate-1")
        table = Table("Audit log", COLUMNS, load, _row, Empty("No such rows", "Loosen the filter."))
    with top:
        text(f"head {head['hash'][:16]}", "code quiet", title=head["hash"])
    await table.refresh()


def _row(row: Any) -> Row:
    detail = ", ".join(f"{key} {_short(value)}" for key, value in row["detail"].items())
    return Row(
        str(row["seq"]),
        {
            "seq": cells.words(row["seq"]),
            "at": cells.when(row["at"]),
            "actor": cells.words(row["actor"]),
            "action": cells.code(row["action"]),
            "subject": cells.words(row["subject"]),
            "detail": cells.words(detail[:DETAIL_CHARACTERS]),
        },
    )


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={_short(each)}" for key, each in value.items()) or "none"
    return value if isinstance(value, str) else json.dumps(value)
