"""One workflow: its graph, what it needs and gives, its versions compared, the devices that run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.graph import StepFigures
from fleet.console.pages.workflows import new_button, way
from fleet.console.parts import posting
from fleet.console.parts.graph import Graph
from fleet.console.parts.layout import fact, facts, page_head, section
from fleet.console.parts.tags import tag, text
from fleet.console.parts.versions import notes, uses, versions
from fleet.console.seat import Role, Seat

SIGNS = {"added": "+", "removed": "-", "changed": "~"}


@register.page("/workflows/{name}", "Workflow")
async def workflow(seat: Seat, name: str, version: str = "") -> None:
    posting.files(seat)
    rows = await seat.api.all(f"/registry/workflow/{name}/versions")
    row = await seat.api.get(f"/registry/workflow/{name}/versions/{version or rows[0]['version']}")
    number = row["version"]
    document = await seat.api.get(f"/registry/workflow/{name}/versions/{number}/definition")
    with page_head(name):
        text(f"version {number}", "chip info")
        for alias in row["aliases"]:
            text(alias, "label")
        tag("div", "grow")
        way(
            seat,
            "Roll out…",
            f"/rollout-draft?workflow={name}@{number}",
            "",
            seat.denied_somewhere(Role.OPERATOR),
        )
        new_button(seat, "Edit and try", f"/workflow-draft?name={name}&version={number}")
    with section("Graph", "time and failures of each step from a device that runs it"):
        graph = Graph()
    graph.show(document, await figures_of(seat, name, number))
    with tag("div", "columns"):
        with tag("div"):
            _card(row)
        with tag("div"):
            notes(seat, "workflow", row)
    versions(seat, "workflow", name, rows, number)
    if len(rows) > 1:
        await _compare(seat, name, rows, number)
    await uses(seat, "workflow", name, number)


async def figures_of(seat: Seat, name: str, number: int) -> dict[str, StepFigures]:
    """Of the first device that runs the version and may be seen; nothing where none tells."""
    path = f"/registry/workflow/{name}/versions/{number}/devices"
    running = [use["device"] for use in (await seat.api.get(path, limit=20))["items"] if use["running"]]
    row = await seat.api.get(f"/registry/workflow/{name}/versions/{number}")
    for device in running[:3]:
        try:
            health = (await seat.api.get(f"/devices/{device}"))["health"] or {}
        except ApiProblem:
            continue
        for camera in health.get("cameras", {}).values():
            if camera.get("workflow") == row["digest"] and camera.get("steps"):
                return steps_of(camera["steps"])
    return {}


def steps_of(steps: Mapping[str, Any]) -> dict[str, StepFigures]:
    """Figures of a camera's steps, as its health tells them."""
    return {step: StepFigures(told.get("mean_us"), told.get("errors", 0)) for step, told in steps.items()}


def _card(row: Mapping[str, Any]) -> None:
    card = row["card"]
    with section("What it needs and gives"), tag("div", "section-body"), facts():
        for title, key in (
            ("Models", "model_ids"),
            ("Outputs", "outputs"),
            ("Blocks", "blocks"),
            ("Brings code", "code"),
        ):
            if card.get(key):
                with fact(title):
                    for each in card[key]:
                        text(each, "label")
        if card.get("inputs"):
            with fact("Inputs"):
                for each in card["inputs"]:
                    text(each["name"], "label", title=", ".join(each["kinds"]))
        for step in card.get("passed_over", ()):
            with fact("Not on a device"):
                text(f"{step['step']}: {step['block']}; instead: {step['instead']}")
        with fact("Uploaded by"):
            text(row["created_by"])


async def _compare(seat: Seat, name: str, rows: list[Any], number: int) -> None:
    numbers = [str(row["version"]) for row in rows]
    before = next(
        (n for n in numbers if int(n) < number), numbers[-1] if numbers[-1] != str(number) else numbers[0]
    )
    with section("Compared"):
        with tag("div", "filters"):
            one = ui.select(numbers, label="Version", value=before)
            two = ui.select(numbers, label="with version", value=str(number))
        told = tag("div", "section-body diff")

        async def show() -> None:
            diff = await seat.api.get(f"/registry/workflow/{name}/diff", before=one.value, after=two.value)
            told.clear()
            with told:
                _diff(diff)

        one.on_value_change(show)
        two.on_value_change(show)
        await show()


def _diff(diff: Mapping[str, Any]) -> None:
    if diff["same"]:
        text("Nothing that runs differs.", "quiet")
        return
    for part in ("inputs", "steps", "outputs"):
        found = diff[part]
        for how in ("added", "removed"):
            for name in found[how]:
                _line(how, f"{part[:-1]} {name}")
        for change in found["changed"]:
            _line("changed", f"{part[:-1]} {change['name']}")
            for field in change["fields"]:
                with tag("div", "diff-field"):
                    text(field["path"], "code")
                    text(_short(field.get("before", "absent")), "code removed")
                    text("→", "quiet")
                    text(_short(field.get("after", "absent")), "code added")


def _line(how: str, words: str) -> None:
    with tag("div", f"diff-line {how}"):
        text(SIGNS[how], "diff-sign", aria_label=how)
        text(words)


def _short(value: Any) -> str:
    words = str(value)
    return words if len(words) <= 120 else f"{words[:119]}…"
