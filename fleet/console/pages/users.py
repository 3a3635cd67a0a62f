"""People: who may sign in, and what they may do where."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.layout import page_head, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

COLUMNS = (
    Column("name", "Name"),
    Column("roles", "May do"),
    Column("way", "Signs in by"),
    Column("last", "Last sign-in", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)


@register.page("/users", "Users", register.Menu("Administration", 30, "user", Role.ADMIN))
async def users(seat: Seat) -> None:
    with page_head("Users", "A role holds for the devices with certain labels, or for the whole fleet."):
        tag("div", "grow")
        button("New user", lambda: _ask(seat, table), "primary", seat.denied(Role.ADMIN))

    async def load(cursor: str | None) -> Any:
        return await seat.api.get("/users", limit=50, cursor=cursor)

    async def acted(name: str, key: str) -> None:
        if name == "edit":
            read = await seat.api.tagged(f"/users/{key}")
            await _ask(seat, table, read.body, read.tag)
        elif name == "remove":
            await _remove(seat, key, table)

    with section("Users", bare=True):
        nothing = Empty("No users yet", "Make one; until then only API tokens can do anything.")
        table = Table("Users", COLUMNS, load, _row, nothing, acted)
    await table.refresh()


def _row(user: Any) -> Row:
    ways = [
        way for way, has in (("password", user["password"]), ("identity provider", user["provider"])) if has
    ]
    roles = "; ".join(
        b["role"] + (f" where {b['selector']}" if b["selector"] else "") for b in user["bindings"]
    )
    return Row(
        user["name"],
        {
            "name": cells.words(user["name"], user["full_name"]),
            "roles": cells.words(roles or "nothing"),
            "way": cells.words(", ".join(ways) or "no way yet"),
            "last": cells.when(user["last_sign_in_at"]),
            "state": cells.chip("disabled" if user["disabled"] else "enabled"),
            "actions": cells.actions(
                [cells.action("edit", "Change"), cells.action("remove", "Remove", danger=True)]
            ),
        },
    )


async def _remove(seat: Seat, name: str, table: Table) -> None:
    detail = "Sessions and API tokens end with the user. The audit log keeps the name."
    if await confirmed(f"Remove {name}?", detail, "Remove user"):

        async def remove() -> None:
            await seat.api.change("DELETE", f"/users/{name}")

        await problem.attempt(remove)
        await table.refresh()


class _Bindings:
    """Rows of a role and its selector."""

    def __init__(self, given: list[dict[str, str]]) -> None:
        self._fields: list[tuple[ui.select, ui.input]] = []
        self._place = tag("div", "bindings")
        for binding in given or [{"role": "viewer", "selector": ""}]:
            self._add(binding["role"], binding["selector"])

        async def more() -> None:
            self._add("viewer", "")

        button("Another role", more, "small")

    def _add(self, role: str, selector: str) -> None:
        with self._place, tag("div", "binding"):
            chosen = ui.select(["", *(r.label for r in Role)], value=role, label="Role")
            where = ui.input("Where", value=selector, placeholder="site=north; empty is everywhere")
        self._fields.append((chosen, where))

    @property
    def value(self) -> list[dict[str, str]]:
        return [{"role": r.value, "selector": (s.value or "").strip()} for r, s in self._fields if r.value]


async def _ask(seat: Seat, table: Table, user: Any = None, tag_read: str = "") -> None:
    with sheet(f"Change {user['name']}" if user else "New user") as dialog:
        name = ui.input("Name", value=user["name"] if user else "")
        if user:
            name.props("readonly")
        else:
            name.props("autofocus autocomplete=off")
        full_name = ui.input("Full name", value=user["full_name"] if user else "")
        password = ui.input(
            "New password" if user else "Password", password=True, password_toggle_button=True
        )
        password.props("autocomplete=new-password")
        with tag("p", "quiet"):
            text(
                "Without a password only the identity provider can sign the user in."
                if not user
                else "Empty leaves it. A new one ends the user's sessions."
            )
        bindings = _Bindings(user["bindings"] if user else [])
        disabled = ui.checkbox("May not sign in", value=bool(user and user["disabled"]))

        async def save() -> None:
            body: dict[str, Any] = {"full_name": full_name.value or "", "bindings": bindings.value}
            if password.value:
                body["password"] = password.value
            if user:
                body["disabled"] = bool(disabled.value)
                await seat.api.change("PATCH", f"/users/{user['name']}", body, if_match=tag_read)
            else:
                await seat.api.change("POST", "/users", {"name": name.value or "", **body})
            dialog.close()
            await table.refresh()

        disabled.set_visibility(bool(user))
        with tag("div", "actions"):
            close_button(dialog)
            button("Save" if user else "Make user", save, "primary")
