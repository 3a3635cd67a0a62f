"""The workflow of a camera, drawn with the time each step takes there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet.console.calls import ApiProblem
from fleet.console.graph import StepFigures
from fleet.console.parts.graph import Graph
from fleet.console.parts.layout import section
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat


class Workflow:
    """The graph; nothing where the registry does not know what runs."""

    def __init__(self, graph: Graph, document: Any) -> None:
        self._graph, self._document = graph, document
        self._shown: Any = None

    def show(self, steps: Mapping[str, Any]) -> None:
        """With the times of now."""
        if steps != self._shown:
            self._shown = steps
            figures = {
                name: StepFigures(told.get("mean_us"), told.get("errors", 0)) for name, told in steps.items()
            }
            self._graph.show(self._document, figures)


async def place(seat: Seat, digest: str) -> Workflow | None:
    """A section with the graph of the workflow with this digest, where the registry has it and one may read it."""
    if not digest:
        return None
    try:
        running = (await seat.api.get("/running"))["items"]
        name = next((each["name"] for each in running if each["digest"] == digest), "")
        base, sign, number = name.partition("@")
        if not sign:
            return None
        document = await seat.api.get(f"/registry/workflow/{base}/versions/{number}/definition")
    except ApiProblem:
        return None
    with section("Workflow", "with the time of each step on this camera") as head:
        graph = Graph()
    with head:
        tag("div", "grow")
        text(name, name="a", href=seat.href(f"/workflows/{base}"))
    return Workflow(graph, document)
