"""The models of the registry, and a way to add one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.parts import cells, posting, problem
from fleet.console.parts.layout import copyable, empty, page_head, section
from fleet.console.parts.table import Column, Row, Rows
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Role, Seat
from fleet.console.versions import Named, by_name, size

COLUMNS = (
    Column("name", "Name"),
    Column("version", "Newest", "tight"),
    Column("aliases", "Aliases"),
    Column("task", "Task"),
    Column("family", "Family"),
    Column("classes", "Classes", "number"),
    Column("size", "Size", "number"),
    Column("by", "By"),
    Column("at", "When", "tight"),
)
ACCEPTED = ".onnx,.tar,.zst,.gz,.tgz,.zip"


@register.page("/models", "Models", register.Menu("Deploy", 0, "model"))
async def models(seat: Seat) -> None:
    posting.files(seat)
    with page_head(
        "Models", "Packages of weights with all that is needed to read their output. A version never changes."
    ):
        pass
    found = by_name(await seat.api.all("/models"))
    with section("Models", f"{len(found):,}"):
        if found:
            Rows("Models", COLUMNS, [_row(named) for named in found])
        else:
            empty("No models yet", "Upload an ONNX file or a package below.")
    families = (await seat.api.get("/model-families"))["items"]
    _upload(seat, {each["name"]: each["expects"] for each in families})


def _row(named: Named) -> Row:
    newest: Any = named.newest
    card = newest["card"]
    return Row(
        named.name,
        {
            "name": cells.link(
                named.name, f"/models/{named.name}", newest["notes"].get("description", "")[:120]
            ),
            "version": cells.words(f"version {newest['version']}"),
            "aliases": cells.words(", ".join(named.aliases)),
            "task": cells.words(card.get("task", "")),
            "family": cells.words(card.get("family", "")),
            "classes": cells.words(card.get("classes", "")),
            "size": cells.words(size(newest["size_bytes"])),
            "by": cells.words(newest["created_by"]),
            "at": cells.when(newest["created_at"]),
        },
    )


def _upload(seat: Seat, families: Mapping[str, str]) -> None:
    async def done(told: Mapping[str, Any]) -> None:
        words = f"{told['name']} version {told['version']} is taken in"
        words += f"; recognised: {told['recognised']}" if told.get("recognised") else ""
        problem.done(words if told["signed"] else f"{words}; it waits for an offline key")
        ui.navigate.to(seat.href(f"/models/{told['name']}?version={told['version']}"))

    with section(
        "Upload a model",
        "checked before it is kept: loaded, run on its golden picture, in a process with limits",
    ):
        with tag("div", "section-body"):
            suggestion = "An .onnx, or the archive of a package: .tar, .tar.zst, .tar.gz or .zip"
            denied = seat.denied(Role.OPERATOR)
            posting.Upload(seat, "/models", "a model", ACCEPTED, suggestion, done, denied, families)
        with tag("div", "section-body"):
            text(
                "With a golden picture, by which every device proves the model before it uses it:",
                "quiet",
                "p",
            )
            copyable(
                "outrider model pack weights.onnx --golden picture.jpg --out weights && tar -cf weights.tar -C weights ."
            )
