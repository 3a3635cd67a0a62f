"""Where alerts go: written in a form, tried out at the press of a button."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.alert_form import TARGETS, target_document
from fleet.console.calls import ApiProblem
from fleet.console.pages.alerts import asking
from fleet.console.pages.alerts.frame import heading, remove
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import sheet
from fleet.console.parts.form import Form
from fleet.console.parts.layout import section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

COLUMNS = (
    Column("name", "Target"),
    Column("kind", "Kind", "tight"),
    Column("where", "Where"),
    Column("from", "From", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
PATH = "/alert-targets"


@register.page(PATH, "Targets", under="/alerts")
async def targets(seat: Seat) -> None:
    heading(seat, PATH)
    denied = seat.denied(Role.ADMIN)

    async def load(_cursor: str | None) -> Any:
        return await seat.api.get(PATH)

    async def acted(name: str, key: str) -> None:
        if name == "test":
            await problem.attempt(lambda: _test(seat, key))
        elif name == "remove":
            await remove(seat, f"{PATH}/{key}", key)
        else:
            rows = (await load(None))["items"]
            await _ask(seat, table, key, next(row["target"] for row in rows if row["name"] == key))
            return
        await table.refresh()

    with section("Targets", "who is told") as head:
        nothing = Empty("Nobody is told yet", "Add a webhook, a chat, a mail address or a topic.")
        table = Table("Targets", COLUMNS, load, lambda target: _row(target, denied), nothing, acted)
    with head:
        tag("div", "grow")
        button("New target", lambda: _ask(seat, table), "primary", denied)
    await table.refresh()


async def _test(seat: Seat, name: str) -> None:
    trial = await seat.api.change("POST", f"{PATH}/{name}/test")
    if not trial["ok"]:
        raise ApiProblem(
            502, "The target did not take it", trial["error"], remedy="Look at its address and secrets."
        )
    problem.done(f"{name} took a test message in {trial['took_s']:.1f} s")


def _row(target: Any, denied: str) -> Row:
    document = target["target"]
    where = document.get("url") or ", ".join(document.get("to") or ()) or document.get("topic", "")
    state = (
        cells.chip("fails", "bad", target["last_error"])
        if target["last_error"]
        else cells.chip("ok" if document["enabled"] else "off")
    )
    return Row(
        target["name"],
        {
            "name": cells.words(target["name"], f"{target['waiting']} waiting" if target["waiting"] else ""),
            "kind": cells.words(document["kind"]),
            "where": cells.words(where, target["last_error"]),
            "from": cells.words(document["min_severity"]),
            "state": state,
            "actions": cells.actions(
                [
                    cells.action("test", "Test", denied=denied),
                    cells.action("change", "Change", denied=denied),
                    cells.action("remove", "Remove", danger=True, denied=denied),
                ]
            ),
        },
    )


async def _ask(seat: Seat, table: Table, name: str = "", document: Mapping[str, Any] | None = None) -> None:
    offered = {"secrets": [each["name"] for each in (await seat.api.get("/alert-secrets"))["items"]]}
    kinds = {kind: of_kind.title for kind, of_kind in TARGETS.items()}
    with sheet(f"Change {name}" if name else "New target", wide=True) as dialog:
        called = asking.Name(name, "e.g. night-shift")
        kind = ui.select(kinds, label="Kind", value=(document or {"kind": "webhook"})["kind"])
        lead = text("", "quiet", "p")
        place = tag("div")
        forms: list[Form] = []

        def choose() -> None:
            lead.text = TARGETS[kind.value].lead
            place.clear()
            given = document if document and document["kind"] == kind.value else {}
            with place:
                forms[:] = [Form(TARGETS[kind.value].fields, given, offered)]

        async def save() -> str:
            form, chosen = forms[0], str(kind.value)
            put = await asking.put(
                seat,
                PATH,
                called,
                form,
                lambda: target_document(chosen, form.values),
                asking.located(TARGETS[chosen].fields, chosen),
            )
            await table.refresh()
            return put

        async def save_and_close() -> None:
            if await save():
                dialog.close()

        async def save_and_test() -> None:
            if put := await save():
                try:
                    await _test(seat, put)
                finally:
                    await table.refresh()

        choose()
        kind.on_value_change(choose)
        asking.buttons(dialog, save_and_close, {"Save and test": save_and_test})
