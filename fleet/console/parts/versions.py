"""Sections that pages of models and of workflows have in common: versions with aliases, devices that use one, notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nicegui import ui

from fleet.console.parts import cells
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.layout import empty, section
from fleet.console.parts.table import Column, Empty, Row, Rows, Table
from fleet.console.parts.tags import tag
from fleet.console.seat import Role, Seat
from fleet.console.versions import Version, size

COLUMNS = (
    Column("version", "Version", "tight"),
    Column("aliases", "Aliases"),
    Column("size", "Size", "number"),
    Column("by", "By"),
    Column("at", "When", "tight"),
    Column("digest", "Digest"),
    Column("actions", ""),
)
USES = (Column("device", "Device"), Column("state", "State", "tight"))


def versions(seat: Seat, kind: str, name: str, rows: Sequence[Version], shown: int) -> None:
    """All of them; one is shown on the page."""
    denied = seat.denied(Role.OPERATOR)

    async def acted(_action: str, key: str) -> None:
        _ask_alias(seat, kind, name, int(key))

    def row(each: Version) -> Row:
        number = each["version"]
        actions = [cells.action("alias", "Alias…", denied=denied)]
        return Row(
            str(number),
            {
                "version": cells.link(
                    f"version {number}",
                    f"/{kind}s/{name}?version={number}",
                    "shown here" if number == shown else "",
                ),
                "aliases": {"labels": list(each["aliases"])},
                "size": cells.words(size(each["size_bytes"])),
                "by": cells.words(each["created_by"]),
                "at": cells.when(each["created_at"]),
                "digest": cells.code(each["digest"][7:19], each["digest"]),
                "actions": cells.actions(actions),
            },
        )

    with section("Versions", f"{len(rows)}"):
        Rows("Versions", COLUMNS, [row(each) for each in rows], acted)


def _ask_alias(seat: Seat, kind: str, name: str, number: int) -> None:
    lead = "A name that points to a version and may be moved, such as production. Desired states that were set with it keep what it was then."
    with sheet(f"Alias for version {number}", lead) as dialog:
        alias = ui.input("Alias", value="production").props("autofocus")

        async def put() -> None:
            path = f"/registry/{kind}/{name}/aliases/{alias.value.strip()}"
            await seat.api.change("PUT", path, {"version": number})
            dialog.close()
            ui.navigate.reload()

        with tag("div", "actions"):
            close_button(dialog)
            button("Point it here", put, "primary")


async def uses(seat: Seat, kind: str, name: str, number: int) -> None:
    """Which devices have to do with a version."""

    async def load(cursor: str | None) -> Any:
        return await seat.api.get(
            f"/registry/{kind}/{name}/versions/{number}/devices", limit=50, cursor=cursor
        )

    with section("Devices", f"that run version {number}, are told to, or may go back to it"):
        nothing = Empty("No device has to do with it", "A rollout brings it to some.")
        table = Table("Devices", USES, load, _use, nothing)
    await table.refresh()


def _use(use: Any) -> Row:
    if use["running"]:
        state = cells.chip(
            "runs it" if use["wanted"] else "runs it, told otherwise", "ok" if use["wanted"] else "warn"
        )
    else:
        state = cells.chip(
            "told to run it" if use["wanted"] else "may go back to it", "info" if use["wanted"] else ""
        )
    return Row(
        use["device"], {"device": cells.link(use["device"], f"/devices/{use['device']}"), "state": state}
    )


def notes(seat: Seat, kind: str, row: Version) -> None:
    """What people have written to a version, and their figures."""
    denied = seat.denied(Role.OPERATOR)
    written = row["notes"]
    with section("Notes") as head:
        if written.get("description"):
            with tag("div", "section-body"):
                ui.label(written["description"]).classes("prose")
        elif not written.get("metrics"):
            empty(
                "Nothing was noted",
                "Words, and figures such as mAP on your own pictures, help whoever rolls it out.",
            )
        if written.get("metrics"):
            with tag("div", "section-body metrics"):
                for name, value in written["metrics"].items():
                    tag("span", "label").text = f"{name} {value:g}"
        with head:
            tag("div", "grow")

            async def ask() -> None:
                _ask_notes(seat, kind, row)

            button("Edit notes", ask, "small", denied)


def _ask_notes(seat: Seat, kind: str, row: Version) -> None:
    written = row["notes"]
    lines = "\n".join(f"{name}={value:g}" for name, value in written.get("metrics", {}).items())
    with sheet(f"Notes of {row['name']} version {row['version']}") as dialog:
        words = ui.textarea("Words", value=written.get("description", ""))
        figures = ui.textarea("Figures, one a line", value=lines, placeholder="map=0.52")

        async def put() -> None:
            body = {"description": words.value or "", "metrics": _figures(figures.value or "")}
            path = f"/registry/{kind}/{row['name']}/versions/{row['version']}/notes"
            await seat.api.change("PUT", path, body)
            dialog.close()
            ui.navigate.reload()

        with tag("div", "actions"):
            close_button(dialog)
            button("Save", put, "primary")


def _figures(lines: str) -> dict[str, Any]:
    """What is no number goes to the API as it is, which says so."""
    found: dict[str, Any] = {}
    for line in lines.splitlines():
        name, mark, value = line.partition("=")
        if name.strip():
            try:
                found[name.strip()] = float(value) if mark else value
            except ValueError:
                found[name.strip()] = value.strip()
    return found
