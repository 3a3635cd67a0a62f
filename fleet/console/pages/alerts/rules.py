"""The rules that say which alerts there are, each written in a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.alert_form import ABOUT, RULE, rule_document, rule_problems, shown_rule
from fleet.console.calls import ApiProblem
from fleet.console.fields import Complaints, span_words
from fleet.console.pages.alerts import asking
from fleet.console.pages.alerts.frame import heading, remove
from fleet.console.parts import cells
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import sheet
from fleet.console.parts.form import Form
from fleet.console.parts.layout import section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

COLUMNS = (
    Column("name", "Rule"),
    Column("about", "About"),
    Column("after", "After", "number"),
    Column("targets", "Tells"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
PATH = "/alert-rules"


@register.page(PATH, "Rules", under="/alerts")
async def rules(seat: Seat) -> None:
    heading(seat, PATH)
    denied = seat.denied(Role.ADMIN)

    async def load(_cursor: str | None) -> Any:
        return await seat.api.get(PATH)

    async def acted(name: str, key: str) -> None:
        if name == "remove":
            await remove(seat, f"{PATH}/{key}", key)
            await table.refresh()
            return
        rows = (await load(None))["items"]
        await _ask(seat, table, key, next(row["rule"] for row in rows if row["name"] == key))

    with section("Rules", "of several that fit, the first has it") as head:
        table = Table("Rules", COLUMNS, load, lambda rule: _row(rule, denied), Empty("No rules"), acted)
    with head:
        tag("div", "grow")
        button("New rule", lambda: _ask(seat, table), "primary", denied)
    await table.refresh()


def _row(row: Any, denied: str) -> Row:
    rule = row["rule"]
    actions = [cells.action("change", "Change", denied=denied)]
    if not row["built_in"]:
        actions.append(cells.action("remove", "Remove", danger=True, denied=denied))
    return Row(
        row["name"],
        {
            "name": cells.words(row["name"], "built in" if row["built_in"] else row["set_by"]),
            "about": cells.words(about(rule), _where(rule)),
            "after": cells.words(span_words(rule["for_s"])),
            "targets": cells.words(", ".join(rule["targets"]).replace("*", "every target")),
            "state": cells.chip("on", "ok") if rule["enabled"] else cells.chip("off"),
            "actions": cells.actions(actions),
        },
    )


def about(rule: Mapping[str, Any]) -> str:
    """What a rule tells of, in a line."""
    limit = rule.get("limit")
    if not limit:
        return f"{rule['min_severity']} or worse: {', '.join(rule['codes'])}"
    bound = f"above {limit['above']:g}" if limit.get("above") is not None else f"below {limit['below']:g}"
    return f"{limit['figure'].replace('_', ' ')} {bound} over {span_words(limit['window_s'])}"


def _where(rule: Mapping[str, Any]) -> str:
    parts = [
        f"{title} {', '.join(rule[key])}"
        for key, title in (("sites", "sites"), ("devices", "devices"))
        if rule[key] != ["*"]
    ]
    return "; ".join([*parts, *([f"labels {rule['selector']}"] if rule["selector"] else [])])


async def _offered(seat: Seat) -> dict[str, list[str]]:
    """What a rule may name."""
    kinds = (await seat.api.get("/fault-kinds"))["items"]
    sites = (await seat.api.get("/overview"))["sites"]
    targets = (await seat.api.get("/alert-targets"))["items"]
    return {
        "codes": sorted(each["code"] for each in kinds),
        "sites": sorted(each["site"] for each in sites if each["site"]),
        "targets": sorted(each["name"] for each in targets),
    }


async def _ask(seat: Seat, table: Table, name: str = "", rule: Mapping[str, Any] | None = None) -> None:
    offered = await _offered(seat)
    given = shown_rule(rule or {})
    with sheet(f"Change {name}" if name else "New rule", wide=True) as dialog:
        called = asking.Name(name, "e.g. cameras")
        kind = ui.select(ABOUT, label="Tells of", value="figure" if given["limit"] else "faults")
        form = Form(RULE, given, offered)
        form.show(kind.value)
        kind.on_value_change(lambda: form.show(kind.value))

        def found(problem: ApiProblem) -> Complaints:
            told = ApiProblem(problem.status, problem.title, problem.detail)
            told.problems = rule_problems(problem.problems)
            return asking.located(RULE)(told)

        async def save() -> None:
            chosen = str(kind.value)
            if await asking.put(seat, PATH, called, form, lambda: rule_document(form.values, chosen), found):
                dialog.close()
                await table.refresh()

        asking.buttons(dialog, save, {})
