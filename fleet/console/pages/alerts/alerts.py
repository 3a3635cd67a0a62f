"""Alerts: acknowledged, silenced, and how they were told."""

from __future__ import annotations

import time
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.pages.alerts.frame import heading
from fleet.console.parts import cells, filters, live, problem
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.faults import TONES
from fleet.console.parts.layout import ago, fact, facts, section
from fleet.console.parts.table import Column, Empty, Row, Rows, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

COLUMNS = (
    Column("severity", "Severity", "tight"),
    Column("alert", "Alert"),
    Column("where", "Where"),
    Column("since", "Since", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)
DELIVERIES = (
    Column("target", "Target"),
    Column("kind", "Told", "tight"),
    Column("at", "When", "tight"),
    Column("state", "State", "tight"),
)
STATES = {"firing": "firing", "resolved": "over", "all": "all"}
HOURS = {"1": "1 hour", "4": "4 hours", "24": "1 day", "168": "1 week"}
REFRESH_S = 5.0
PAGE = 50


@register.page("/alerts", "Alerts", register.Menu("Fleet", 30, "alert"))
async def alerts(seat: Seat, severity: str = "", site: str = "", device: str = "") -> None:
    heading(seat, "/alerts")
    found: dict[str, Any] = {}

    async def load(cursor: str | None) -> Any:
        wanted = {"severity": by_severity.value, "site": by_site.value, "device": by_device.value}
        page = await seat.api.get("/alerts", limit=PAGE, cursor=cursor, state=by_state.value, **wanted)
        found.clear()
        found.update({alert["id"]: alert for alert in page["items"]})
        return page

    async def changed() -> None:
        await table.restart()

    async def acted(name: str, key: str) -> None:
        if key in found:
            await _act(seat, name, found[key], table)

    denied = seat.denied_somewhere(Role.OPERATOR)
    with section("Alerts", bare=True):
        with filters.bar():
            by_state = ui.select(STATES, value="firing", label="State").on_value_change(changed)
            by_severity = filters.choice("Severity", ("critical", "warning", "info"), severity, changed)
            by_site = filters.words("Site", site, changed, "north")
            by_device = filters.words("Device", device, changed, "its name")
        nothing = Empty(
            "Nothing to alert anybody of", "Rules say what becomes an alert, targets who is told."
        )
        table = Table("Alerts", COLUMNS, load, lambda alert: _row(alert, denied), nothing, acted)
    await table.refresh()
    live.every(REFRESH_S, table.refresh)


def _row(alert: Any, denied: str) -> Row:
    device = alert["device"]
    where = alert["part"] or device or alert["site"] or alert["subject"]
    over = alert["state"] == "resolved"
    seen = alert["acknowledged_at"] is not None
    known = (
        cells.action("back", "Take back", denied=denied)
        if seen
        else cells.action("seen", "Acknowledge", denied=denied)
    )
    actions = [] if over else [known, cells.action("silence", "Silence", denied=denied)]
    return Row(
        alert["id"],
        {
            "severity": cells.chip(alert["severity"], "" if over else TONES.get(alert["severity"], "")),
            "alert": cells.words(alert["summary"] or alert["text"], alert["remedy"].replace("`", "")),
            "where": cells.link(where, f"/devices/{device}", device if alert["part"] else alert["site"])
            if device
            else cells.words(where),
            "since": cells.when(alert["since"]),
            "state": _state(alert),
            "actions": cells.actions([*actions, cells.action("show", "Show")]),
        },
    )


def _state(alert: Any) -> cells.Cell:
    if alert["state"] == "resolved":
        return cells.chip("over", "")
    if alert["acknowledged_at"] is not None:
        return cells.chip(
            f"{alert['acknowledged_by'].partition(':')[2] or 'somebody'} cares", "info", alert["note"]
        )
    if alert["silenced"]:
        return cells.chip("silenced", "")
    return cells.chip("firing", TONES.get(alert["severity"], "bad"))


async def _act(seat: Seat, name: str, alert: Any, table: Table) -> None:
    path = f"/alerts/{alert['id']}"
    if name == "back":

        async def back() -> None:
            await seat.api.change("DELETE", f"{path}/acknowledge")

        await problem.attempt(back)
        await table.refresh()
    elif name == "seen":
        _acknowledge(seat, path, table)
    elif name == "silence":
        _silence(seat, alert, table)
    else:
        await _show(seat, path)


def _acknowledge(seat: Seat, path: str, table: Table) -> None:
    lead = "Nobody is told of it again until it is over."
    with sheet("Acknowledge this alert", lead) as dialog:
        note = ui.input("Note for the others", placeholder="e.g. the switch is being replaced").props(
            "autofocus"
        )

        async def seen() -> None:
            await seat.api.change("POST", f"{path}/acknowledge", {"note": note.value or ""})
            dialog.close()
            await table.refresh()

        with tag("div", "actions"):
            close_button(dialog)
            button("Acknowledge", seen, "primary")


def _silence(seat: Seat, alert: Any, table: Table) -> None:
    kinds = [kind for kind in ("device", "site", "code", "rule") if alert[kind]]
    options = {kind: f"every alert of the {kind} {alert[kind]}" for kind in kinds}
    if alert["device"] and alert["code"]:
        options = {"both": f"{alert['code']} of {alert['device']}", **options}
    with sheet("Silence alerts", "They are still listed; nobody is told of them meanwhile.") as dialog:
        which = ui.select(options, value=next(iter(options)), label="Which")
        hours = ui.select(HOURS, value="4", label="For")
        reason = ui.input("Why", placeholder="e.g. maintenance of the line")

        async def silence() -> None:
            chosen = ("device", "code") if which.value == "both" else (str(which.value),)
            body = {
                "matcher": {kind: alert[kind] for kind in chosen},
                "until_at": time.time() + 3600 * float(hours.value),
                "reason": reason.value or "",
            }
            await seat.api.change("POST", "/alert-silences", body)
            dialog.close()
            await table.refresh()

        with tag("div", "actions"):
            close_button(dialog)
            button("Silence", silence, "primary")


async def _show(seat: Seat, path: str) -> None:
    alert = await seat.api.get(path)
    with sheet(alert["summary"] or alert["text"], alert["text"].replace("`", ""), wide=True) as dialog:
        with facts():
            for name, value in (
                ("Rule", alert["rule"]),
                ("Code", alert["code"]),
                ("About", alert["subject"]),
                ("What to do", alert["remedy"].replace("`", "")),
                ("Note", alert["note"]),
            ):
                if value:
                    with fact(name):
                        text(value)
            with fact("Fired"):
                ago(alert["fired_at"])
        if alert["deliveries"]:
            Rows("Messages", DELIVERIES, [_delivery(each) for each in alert["deliveries"]])
        else:
            text("Nobody was told: no target takes it. Add one on the tab Targets.", "quiet", "p")
        with tag("div", "actions"):
            close_button(dialog, "Close", "primary")


def _delivery(delivery: Any) -> Row:
    tones = {"delivered": "ok", "failed": "bad"}
    return Row(
        delivery["id"],
        {
            "target": cells.words(delivery["target"], delivery["error"]),
            "kind": cells.words(delivery["kind"]),
            "at": cells.when(delivery["delivered_at"] or delivery["created_at"]),
            "state": cells.chip(delivery["state"], tones.get(delivery["state"], "info")),
        },
    )
