"""Where alerts go, tried out at the press of a button; and the rules that say which alerts there are. Both are documents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.pages.alerts.frame import heading
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import button, confirmed
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.layout import section
from fleet.console.parts.table import Acted, Column, Empty, Row, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

TARGETS = (
    Column("name", "Target"),
    Column("kind", "Kind", "tight"),
    Column("where", "Where"),
    Column("from", "From", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
RULES = (
    Column("name", "Rule"),
    Column("about", "About"),
    Column("after", "After", "number"),
    Column("targets", "Tells"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
EXAMPLES: dict[str, dict[str, Any]] = {
    "webhook": {"kind": "webhook", "url": "https://example.org/hook", "min_severity": "warning"},
    "slack": {"kind": "slack", "url": "secret:slack-url", "min_severity": "critical"},
    "email": {
        "kind": "email",
        "host": "mail.example.org",
        "sender": "outrider@example.org",
        "to": ["team@example.org"],
    },
    "mqtt": {"kind": "mqtt", "topic": "alerts"},
}
NEW_RULE = {"codes": ["camera-*"], "min_severity": "warning", "sites": ["*"], "for_s": 300, "targets": ["*"]}


@register.page("/alert-targets", "Targets", under="/alerts")
async def targets(seat: Seat) -> None:
    heading(seat, "/alert-targets")
    denied = seat.denied(Role.ADMIN)

    async def load(_cursor: str | None) -> Any:
        return await seat.api.get("/alert-targets")

    async def acted(name: str, key: str) -> None:
        if name == "test":
            await problem.attempt(lambda: _test(seat, key))
        elif name == "remove":
            await _remove(seat, f"/alert-targets/{key}", key, table)
        else:
            rows = (await load(None))["items"]
            _write(
                seat,
                "target",
                "/alert-targets",
                key,
                next(r["target"] for r in rows if r["name"] == key),
                table,
            )
            return
        await table.refresh()

    with section("Targets", "who is told") as head:
        nothing = Empty(
            "Nobody is told yet", "Add a webhook, a chat, a mail address or a topic with a button above."
        )
        table = Table("Targets", TARGETS, load, lambda target: _target(target, denied), nothing, acted)
    with head:
        tag("div", "grow")
        for kind, example in EXAMPLES.items():
            button(f"Add {kind}", _opener(seat, kind, example, table), "small", denied)
    await table.refresh()


def _opener(seat: Seat, kind: str, example: dict[str, Any], table: Table) -> Any:
    async def opened() -> None:
        _write(seat, "target", "/alert-targets", "", example, table, kind)

    return opened


async def _test(seat: Seat, name: str) -> None:
    trial = await seat.api.change("POST", f"/alert-targets/{name}/test")
    if not trial["ok"]:
        raise ApiProblem(
            502, "The target did not take it", trial["error"], remedy="Look at its address and secrets."
        )
    problem.done(f"{name} took a test message in {trial['took_s']:.1f} s")


def _target(target: Any, denied: str) -> Row:
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


@register.page("/alert-rules", "Rules", under="/alerts")
async def rules(seat: Seat) -> None:
    heading(seat, "/alert-rules")
    denied = seat.denied(Role.ADMIN)

    async def load(_cursor: str | None) -> Any:
        return await seat.api.get("/alert-rules")

    async def acted(name: str, key: str) -> None:
        if name == "remove":
            await _remove(seat, f"/alert-rules/{key}", key, table)
            await table.refresh()
            return
        rows = (await load(None))["items"]
        _write(seat, "rule", "/alert-rules", key, next(r["rule"] for r in rows if r["name"] == key), table)

    async def new() -> None:
        _write(seat, "rule", "/alert-rules", "", NEW_RULE, table)

    with section("Rules", "of several that fit, the first has it") as head:
        on_act: Acted = acted
        table = Table("Rules", RULES, load, lambda rule: _rule(rule, denied), Empty("No rules"), on_act)
    with head:
        tag("div", "grow")
        button("New rule", new, "primary", denied)
    await table.refresh()


def _rule(row: Any, denied: str) -> Row:
    rule = row["rule"]
    limit = rule.get("limit")
    if limit:
        bound = f"above {limit['above']}" if limit.get("above") is not None else f"below {limit['below']}"
        about = f"{limit['figure'].replace('_', ' ')} {bound}"
    else:
        about = f"{rule['min_severity']} or worse: {', '.join(rule['codes'])}"
    actions = [cells.action("change", "Change", denied=denied)]
    if not row["built_in"]:
        actions.append(cells.action("remove", "Remove", danger=True, denied=denied))
    return Row(
        row["name"],
        {
            "name": cells.words(row["name"], "built in" if row["built_in"] else row["set_by"]),
            "about": cells.words(about),
            "after": cells.words(f"{rule['for_s']:.0f} s"),
            "targets": cells.words(", ".join(rule["targets"]).replace("*", "every target")),
            "state": cells.chip("on", "ok") if rule["enabled"] else cells.chip("off"),
            "actions": cells.actions(actions),
        },
    )


async def _remove(seat: Seat, path: str, name: str, table: Table) -> None:
    if await confirmed(f"Remove {name}?", "What waits for it is given up.", "Remove"):

        async def remove() -> None:
            await seat.api.change("DELETE", path)

        await problem.attempt(remove)


def _write(
    seat: Seat, what: str, path: str, name: str, document: Mapping[str, Any], table: Table, hint: str = ""
) -> None:
    lead = (
        "Secrets are named (secret:NAME) and stand in fleet.toml."
        if what == "target"
        else "Patterns may hold * and ?."
    )
    with sheet(f"Change {name}" if name else f"New {what}", lead, wide=True) as dialog:
        called = ui.input("Name", value=name, placeholder=f"e.g. {hint or 'cameras'}")
        if name:
            called.props("readonly")
        body = ui.textarea("Document", value=json.dumps(document, indent=2))
        body.props("autogrow input-class=code spellcheck=false")

        async def save() -> None:
            try:
                wanted = json.loads(body.value or "")
            except ValueError as e:
                raise ApiProblem(422, "This is not JSON", str(e)) from e
            await seat.api.change("PUT", f"{path}/{called.value or '-'}", wanted)
            dialog.close()
            await table.refresh()

        with tag("div", "actions"):
            close_button(dialog)
            button("Save", save, "primary")
