"""The picture of a workflow in a page: it scrolls where it is wider than the screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.console.graph import StepFigures, draw
from fleet.console.parts.tags import tag

TO_FIRST_STEP = """setTimeout(() => {
  const box = getHtmlElement(ID), first = box?.querySelector(".node.step rect");
  if (first && box.scrollWidth > box.clientWidth) box.scrollLeft = first.getBBox().x - box.clientWidth / 4;
}, 50)"""
"""Where the picture is wider than the screen, the first step is what is seen first."""


class Graph:
    """Drawn anew by `show`."""

    def __init__(self) -> None:
        self._box = tag("div", "graph-box", tabindex="0", role="group", aria_label="Graph of the workflow")
        with self._box:
            self._drawn = ui.html("", sanitize=False)  # the drawing escapes every text itself

    def show(
        self,
        document: Any,
        figures: Mapping[str, StepFigures] | None = None,
        problems: Mapping[str, str] | None = None,
    ) -> None:
        """Draw this definition."""
        svg = draw(document, figures, problems)
        self._drawn.set_content(svg or '<p class="quiet">There is nothing to draw yet.</p>')
        ui.run_javascript(TO_FIRST_STEP.replace("ID", str(self._box.id)))
