"""Add a device: a one-time token, the command that uses it, and the device's arrival."""

from __future__ import annotations

import shlex
from typing import Any

from nicegui import ui

from fleet.console.calls import ApiProblem
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.filters import parse_labels
from fleet.console.parts.layout import chip, copyable
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.seat import Seat

LOOK_S = 3.0
HOURS = {"1": "1 hour", "24": "1 day", "168": "1 week", "720": "30 days"}


async def ask(seat: Seat) -> None:
    """What the device is to be called and labelled, then the command."""
    lead = "A token lets it in once. Name and labels are optional: without a name the device chooses its own."
    with sheet("Add a device", lead) as dialog:
        name = ui.input("Name", placeholder="e.g. gate-1").props("autofocus")
        labels = ui.input("Labels", placeholder="site=north, line=2")
        hours = ui.select(HOURS, label="Token good for", value="24")
        uses = ui.number("Devices that may use it", value=1, min=1, max=1000, precision=0)

        async def make() -> None:
            body = {
                "device": (name.value or "").strip() or None,
                "labels": _labels(labels.value or ""),
                "lifetime_hours": float(hours.value),
                "uses": int(uses.value or 1),
            }
            made = await seat.api.change("POST", "/enrolment-tokens", body)
            dialog.close()
            _show(seat, made)

        with tag("div", "actions"):
            close_button(dialog)
            button("Make the command", make, "primary")


def _labels(given: str) -> dict[str, str]:
    try:
        return parse_labels(given)
    except ValueError as e:
        raise ApiProblem(422, "Labels cannot be read", str(e)) from e


def command(base: str, token: str) -> str:
    """What to type on the device."""
    plain = " --allow-http" if base.startswith("http://") else ""
    return f"sudo outrider agent enroll{plain} {shlex.quote(base)} {shlex.quote(token)}"


def _show(seat: Seat, made: Any) -> None:
    lead = "Install Outrider there, then run this. The token is shown this once."
    with sheet("Run this on the device", lead, stays=True, wide=True) as dialog:
        copyable(command(seat.base, made["token"]))
        if seat.base.startswith("http://"):
            text(
                "This console is without TLS, so the token would travel in the clear: only in a network you trust.",
                "quiet",
                "p",
            )
        with tag("p"):
            waiting = chip("waiting for the device", "info")
            arrived = tag("span")
        with tag("div", "actions"):
            close_button(dialog, "Done", "primary")
    with dialog:
        timer = ui.timer(LOOK_S, lambda: _look(seat, made["id"], waiting, arrived, timer), immediate=False)


async def _look(seat: Seat, token_id: str, waiting: Tag, arrived: Tag, timer: ui.timer) -> None:
    try:
        found = await _token(seat, token_id)
    except ApiProblem:
        return
    if found is None or not found["used_by"]:
        return
    waiting.classes(remove="info", add="ok").text = f"{found['used_by']} has come"
    if found["used"] >= found["uses"]:
        timer.deactivate()
    arrived.clear()
    with arrived:
        text(f"Open {found['used_by']}", name="a", href=seat.href(f"/devices/{found['used_by']}"))


async def _token(seat: Seat, token_id: str) -> Any:
    cursor = None
    while True:
        page = await seat.api.get("/enrolment-tokens", limit=1000, cursor=cursor)
        for token in page["items"]:
            if token["id"] == token_id:
                return token
        cursor = page["next"]
        if cursor is None:
            return None
