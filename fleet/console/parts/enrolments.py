"""Enrolment tokens: which may still let devices in."""

from __future__ import annotations

import time
from typing import Any

from fleet.access.grants import Role
from fleet.console.parts import cells, problem
from fleet.console.parts.buttons import confirmed
from fleet.console.parts.layout import section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.seat import Seat

COLUMNS = (
    Column("device", "For the device"),
    Column("labels", "Labels"),
    Column("by", "Made by"),
    Column("created", "Made", "tight"),
    Column("used", "Used", "tight"),
    Column("state", "State", "tight"),
    Column("actions", ""),
)


async def enrolments(seat: Seat) -> None:
    """The section, for who may make such tokens."""
    if seat.denied_somewhere(Role.OPERATOR):
        return

    async def load(cursor: str | None) -> Any:
        return await seat.api.get("/enrolment-tokens", limit=50, cursor=cursor)

    async def acted(_name: str, key: str) -> None:
        if await confirmed(
            "End this token?", "No device is let in with it from now on; those that are stay.", "End token"
        ):

            async def end() -> None:
                await seat.api.change("DELETE", f"/enrolment-tokens/{key}")

            await problem.attempt(end)
            await table.refresh()

    with section("Enrolment tokens", "each lets so many devices in, once"):
        nothing = Empty("No enrolment tokens", "Add a device on the page Devices.")
        table = Table("Enrolment tokens", COLUMNS, load, _row, nothing, acted)
    await table.refresh()


def _row(token: Any) -> Row:
    over = (
        token["revoked_at"] is not None or token["used"] >= token["uses"] or token["expires_at"] < time.time()
    )
    return Row(
        token["id"],
        {
            "device": cells.words(token["device"] or "any", "replaces it" if token["replace"] else ""),
            "labels": cells.labels(token["labels"]),
            "by": cells.words(token["created_by"]),
            "created": cells.when(token["created_at"]),
            "used": cells.words(f"{token['used']} of {token['uses']}", token["used_by"] or ""),
            "state": _state(token),
            "actions": cells.actions([] if over else [cells.action("end", "End", danger=True)]),
        },
    )


def _state(token: Any) -> cells.Cell:
    if token["revoked_at"] is not None:
        return cells.chip("ended")
    if token["used"] >= token["uses"]:
        return cells.chip("used up", "")
    if token["expires_at"] < time.time():
        return cells.chip("too old", "")
    return cells.chip("open", "ok")
