"""The workflows of the registry."""

from __future__ import annotations

from typing import Any

from fleet.console import register
from fleet.console.parts import cells
from fleet.console.parts.layout import empty, page_head, section
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Role, Seat
from fleet.console.versions import Named, by_name

COLUMNS = (
    Column("name", "Name"),
    Column("version", "Newest", "tight"),
    Column("aliases", "Aliases"),
    Column("steps", "Steps", "number"),
    Column("models", "Model ids"),
    Column("by", "By"),
    Column("at", "When", "tight"),
)


@register.page("/workflows", "Workflows", register.Menu("Deploy", 1, "workflow"))
async def workflows(seat: Seat) -> None:
    with page_head(
        "Workflows",
        "What a camera's pictures go through: models, trackers, zones, counters, and where results go.",
    ):
        tag("div", "grow")
        new_button(seat, "New workflow", "/workflow-draft")
    found = by_name(await seat.api.all("/workflows"))
    with section("Workflows", f"{len(found):,}"):
        if found:
            Rows("Workflows", COLUMNS, [_row(named) for named in found])
        else:
            empty(
                "No workflows yet",
                "Begin with a new one, or upload one: outrider fleet workflow upload FILE.",
            )


def new_button(seat: Seat, words: str, path: str) -> None:
    """A way to something that only an operator of the whole fleet may release."""
    way(seat, words, path, "primary", seat.denied(Role.OPERATOR))


def way(seat: Seat, words: str, path: str, kind: str, denied: str) -> None:
    """A link that looks like a button; where it is denied it leads nowhere and says why."""
    if denied:
        text(words, f"button {kind}", "button", type="button", disabled=True, title=denied)
    else:
        text(words, f"button {kind}", "a", href=seat.href(path))


def _row(named: Named) -> Row:
    newest: Any = named.newest
    card = newest["card"]
    return Row(
        named.name,
        {
            "name": cells.link(
                named.name, f"/workflows/{named.name}", newest["notes"].get("description", "")[:120]
            ),
            "version": cells.words(f"version {newest['version']}"),
            "aliases": cells.words(", ".join(named.aliases)),
            "steps": cells.words(len(card.get("steps", ()))),
            "models": cells.words(", ".join(card.get("model_ids", ()))),
            "by": cells.words(newest["created_by"]),
            "at": cells.when(newest["created_at"]),
        },
    )
