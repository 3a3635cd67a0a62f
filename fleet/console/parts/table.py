"""A list of the API, a page at a time: filters, the rows, and the way on and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console.calls import ApiProblem
from fleet.console.parts import problem
from fleet.console.parts.cells import Cell
from fleet.console.parts.tags import tag, text

Load = Callable[[str | None], Awaitable[Any]]
"""Loads the page after a cursor: a document with `items` and `next`."""
Acted = Callable[[str, str], Awaitable[None]]
"""Called with a button's name and the key of its row."""


@dataclass(frozen=True)
class Column:
    """`kind` is text, number or tight (one line)."""

    name: str
    title: str
    kind: str = "text"


@dataclass(frozen=True)
class Row:
    """`key` is the row's own among the rows."""

    key: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Empty:
    """What is said where there is nothing: that, and what to do next."""

    title: str
    remedy: str = ""


class Rows(ui.element, component=Path(__file__).parents[1] / "static" / "table.js"):
    """The rows alone, all of them at once."""

    def __init__(
        self, caption: str, columns: Sequence[Column], rows: Sequence[Row] = (), acted: Acted | None = None
    ) -> None:
        super().__init__()
        self._props["caption"] = caption
        self._props["columns"] = [{"name": c.name, "title": c.title, "kind": c.kind} for c in columns]
        self.show(rows)
        if acted is not None:

            async def act(event: GenericEventArguments) -> None:
                await acted(str(event.args["name"]), str(event.args["key"]))

            self.on("act", act)

    def show(self, rows: Sequence[Row]) -> None:
        """Other rows instead."""
        self._props["rows"] = [{"key": row.key, "cells": dict(row.cells)} for row in rows]
        self.update()


class Table:
    """Rows that come from the API by cursor. `refresh` loads the page that is shown again."""

    def __init__(
        self,
        caption: str,
        columns: Sequence[Column],
        load: Load,
        row: Callable[[Any], Row],
        empty: Empty,
        acted: Acted | None = None,
    ) -> None:
        self._load, self._row, self._empty = load, row, empty
        self._behind: list[str | None] = []
        self._here: str | None = None
        self._next: str | None = None
        self._trouble = tag("div", "table-trouble")
        self.rows = Rows(caption, columns, (), acted)
        self._nothing = tag("div", "empty")
        with tag("div", "table-foot") as self._foot:
            self._back = self._turn("Previous", self._go_back)
            self._on = self._turn("Next", self._go_on)

    @property
    def at_start(self) -> bool:
        """Whether the first page is shown."""
        return not self._behind

    async def refresh(self) -> None:
        """Load what is shown anew; a problem takes the rows' place."""
        try:
            page = await self._load(self._here)
        except ApiProblem as e:
            if e.status == 401:
                raise
            self._trouble.clear()
            with self._trouble:
                problem.panel(e)
            for part in (self.rows, self._nothing, self._foot):
                part.set_visibility(False)
            return
        self._trouble.clear()
        self._show(page)

    async def restart(self) -> None:
        """From the beginning, after another filter."""
        self._behind, self._here = [], None
        await self.refresh()

    def _show(self, page: Any) -> None:
        rows = [self._row(item) for item in page["items"]]
        self._next = page.get("next") if rows else None
        self.rows.show(rows)
        self.rows.set_visibility(bool(rows))
        self._nothing.set_visibility(not rows)
        self._nothing.clear()
        if not rows:
            with self._nothing:
                text(self._empty.title, name="strong")
                text(self._empty.remedy)
        self._foot.set_visibility(bool(self._behind or self._next))
        self._back.set(disabled=None if self._behind else True)
        self._on.set(disabled=None if self._next else True)

    def _turn(self, words: str, turn: Callable[[], Awaitable[None]]) -> Any:
        button = text(words, "button small", "button", type="button")
        button.on("click", turn)
        return button

    async def _go_on(self) -> None:
        if self._next is not None:
            self._behind.append(self._here)
            self._here = self._next
            await self.refresh()

    async def _go_back(self) -> None:
        if self._behind:
            self._here = self._behind.pop()
            await self.refresh()
