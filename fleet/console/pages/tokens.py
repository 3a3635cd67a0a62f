"""API tokens: what there are, a new one, the end of one."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.enrolments import enrolments
from fleet.console.parts.layout import copyable, page_head, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

COLUMNS = (
    Column("name", "Name"),
    Column("grants", "May do"),
    Column("owner", "Speaks for"),
    Column("created", "Made", "tight"),
    Column("used", "Last used", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
DAYS = {"30": "30 days", "90": "90 days", "365": "1 year", "": "until it is ended"}


@register.page("/tokens", "API tokens", register.Menu("Administration", 20, "token"))
async def tokens(seat: Seat) -> None:
    with page_head(
        "API tokens", "For programs that speak to the API. A token may do no more than whoever makes it."
    ):
        tag("div", "grow")
        button("New token", lambda: _ask(seat, table), "primary")

    async def load(cursor: str | None) -> Any:
        return await seat.api.get("/tokens", limit=50, cursor=cursor)

    async def acted(name: str, key: str) -> None:
        await _end(seat, key, table)

    with section("Tokens", bare=True):
        nothing = Empty("No tokens yet", "Make one for a script, a dashboard or an integration.")
        table = Table("API tokens", COLUMNS, load, _row, nothing, acted)
    await table.refresh()
    await enrolments(seat)


def _row(token: Any) -> Row:
    ended = token["revoked_at"] is not None
    grants = token["role"] + (f" where {token['selector']}" if token["selector"] else "")
    return Row(
        token["id"],
        {
            "name": cells.words(token["name"]),
            "grants": cells.words(grants),
            "owner": cells.words(token["owner"] or "the fleet"),
            "created": cells.when(token["created_at"]),
            "used": cells.when(token["last_used_at"]),
            "state": _state(token),
            "actions": cells.actions([] if ended else [cells.action("end", "End", danger=True)]),
        },
    )


def _state(token: Any) -> cells.Cell:
    if token["revoked_at"] is not None:
        return cells.chip("ended", "")
    if token["expires_at"] is not None:
        return {**cells.when(token["expires_at"])}
    return cells.chip("no end", "")


async def _end(seat: Seat, token_id: str, table: Table) -> None:
    detail = "Whatever uses it is refused from now on. This cannot be taken back."
    if await confirmed("End this token?", detail, "End token"):

        async def end() -> None:
            await seat.api.change("DELETE", f"/tokens/{token_id}")

        await problem.attempt(end)
        await table.refresh()


async def _ask(seat: Seat, table: Table) -> None:
    highest = seat.rights.somewhere or Role.VIEWER
    with sheet("New API token") as dialog:
        name = ui.input("Name", placeholder="e.g. grafana").props("autofocus")
        role = ui.select([r.label for r in Role if r <= highest], label="Role", value="viewer")
        selector = ui.input(
            "Only devices with these labels", placeholder="e.g. site=north; empty is the whole fleet"
        )
        days = ui.select(DAYS, label="Good for", value="90")

        async def make() -> None:
            body = {"name": name.value, "role": role.value, "selector": selector.value}
            if days.value:
                body["lifetime_days"] = float(days.value)
            made = await seat.api.change("POST", "/tokens", body)
            dialog.close()
            await table.restart()
            _show(made)

        with tag("div", "actions"):
            close_button(dialog)
            button("Make token", make, "primary")


def _show(made: Any) -> None:
    lead = "This is the only time it is shown. Keep it where secrets are kept."
    with sheet(f"Token {made['name']}", lead, stays=True) as dialog:
        copyable(made["token"])
        with tag("div", "actions"):
            close_button(dialog, "Done", "primary")
