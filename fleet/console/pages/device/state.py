"""What a device should be and what it says it is, side by side; and every desired state it has had."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.pages.device.frame import Head
from fleet.console.pages.device.progress import Progress
from fleet.console.parts import cells
from fleet.console.parts.layout import empty, section
from fleet.console.parts.table import Column, Empty, Row, Rows, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

SECTIONS = {"cameras": "camera", "models": "model", "workflows": "workflow", "pipelines": "pipeline"}
OBJECTS = (
    Column("object", "Object"),
    Column("wanted", "Desired"),
    Column("runs", "Reported"),
    Column("state", "State", "tight"),
)
REVISIONS = (
    Column("revision", "Revision", "number"),
    Column("made", "Made", "tight"),
    Column("by", "By"),
    Column("holds", "Holds"),
)


@register.page("/devices/{device}/state", "State")
async def state(seat: Seat, device: str) -> None:
    shown = await seat.api.get(f"/devices/{device}")
    Head(seat, shown, "/state")
    Progress(seat, device, here=True).show(shown)
    desired = await _desired(seat, device)
    with section("Desired and reported"):
        if desired is None:
            empty(
                "Nothing is desired of it yet",
                "A rollout gives it a state, or outrider fleet device desired set.",
            )
        else:
            Rows("Desired and reported", OBJECTS, compare(desired["document"], shown["reported"] or {}))
    with section("Desired states", "newest first"):

        async def load(cursor: str | None) -> Any:
            return await seat.api.get(f"/devices/{device}/desired/revisions", limit=10, cursor=cursor)

        nothing = Empty("None so far")
        table = Table("Desired states", REVISIONS, load, _revision, nothing)
    await table.refresh()
    if desired is not None:
        with section("The newest document"), tag("details", "section-body"):
            text("Show it as JSON", name="summary")
            text(json.dumps(desired["document"], indent=2, sort_keys=True), "log", "pre", tabindex="0")


async def _desired(seat: Seat, device: str) -> Any:
    try:
        return await seat.api.get(f"/devices/{device}/desired")
    except ApiProblem as e:
        if e.status != 404:
            raise
        return None


def compare(desired: Mapping[str, Any], reported: Mapping[str, Any]) -> list[Row]:
    """Every object of either side; what differs comes first."""
    found: list[tuple[bool, Row]] = []
    for part, kind in SECTIONS.items():
        wanted, runs = desired.get(part) or {}, reported.get(part) or {}
        for name in sorted({*wanted, *runs}):
            same = name in wanted and name in runs and _fits(wanted[name], runs[name])
            found.append((same, _object(kind, name, wanted.get(name), runs.get(name), same)))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def _fits(wanted: Mapping[str, Any], runs: Mapping[str, Any]) -> bool:
    return runs.get("state") == "ok" and wanted.get("digest") in (None, runs.get("digest"))


def _object(kind: str, name: str, wanted: Any, runs: Any, same: bool) -> Row:
    said = runs or {}
    if runs is None:
        state = cells.chip("not there yet", "warn")
    elif wanted is None:
        state = cells.chip("to be removed", "warn")
    else:
        state = cells.chip(
            str(said.get("state", "unknown")), None if same or said.get("state") != "ok" else "warn"
        )
    why = " ".join(filter(None, (said.get("reason"), said.get("message"))))
    return Row(
        f"{kind} {name}",
        {
            "object": cells.words(name, kind),
            "wanted": cells.words(_short(wanted)),
            "runs": cells.words(_short(runs) if runs else "nothing", why),
            "state": state,
        },
    )


def _short(entry: Any) -> str:
    if not entry:
        return "nothing"
    if entry.get("digest"):
        return str(entry["digest"])[7:19]
    if entry.get("camera"):
        return f"{entry['camera']} through {entry.get('workflow', '')}"
    return str(entry.get("source") or entry.get("state") or "there")


def _revision(row: Any) -> Row:
    document = row["document"]
    holds = ", ".join(f"{len(document.get(part) or {})} {part}" for part in SECTIONS if document.get(part))
    return Row(
        str(row["revision"]),
        {
            "revision": cells.words(row["revision"]),
            "made": cells.when(row["created_at"]),
            "by": cells.words(row["created_by"]),
            "holds": cells.words(holds or "nothing"),
        },
    )
