"""A workflow before its release: edited as JSON, checked at every pause, drawn, its zones and lines put on a camera's picture, tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.definition import node_of
from fleet.console.graph import StepFigures
from fleet.console.parts import posting, problem
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.drawing import Drawing
from fleet.console.parts.editor import Editor
from fleet.console.parts.graph import Graph
from fleet.console.parts.layout import chip as chip_of
from fleet.console.parts.layout import page_head, section, set_chip
from fleet.console.parts.snapshot import Chooser, Snapshot
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.places import Place, Points, parameter, places, put
from fleet.console.seat import Role, Seat
from fleet.console.versions import by_name
from fleet.rollout.change import patched

NEW = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [
        {
            "type": "roboflow_core/roboflow_object_detection_model@v2",
            "name": "detector",
            "images": "$inputs.image",
            "model_id": "people/1",
        }
    ],
    "outputs": [{"type": "JsonField", "name": "found", "selector": "$steps.detector.predictions"}],
}
TRIAL_FRAMES = 200


@register.page("/workflow-draft", "Workflow draft")
async def workflow_draft(seat: Seat, name: str = "", version: str = "") -> None:
    posting.files(seat)
    document: Any = NEW
    if name:
        rows = await seat.api.all(f"/registry/workflow/{name}/versions")
        version = version or str(rows[0]["version"])
        document = await seat.api.get(f"/registry/workflow/{name}/versions/{version}/definition")
    models = [named.name for named in by_name(await seat.api.all("/models"))]
    draft = Draft(seat, name, models)
    with page_head(name or "New workflow", "Nothing leaves this page before it is released."):
        if name:
            text(f"from version {version}", "chip info")
        draft.state = chip_of("checking", "info")
        tag("div", "grow")
        button("Release…", draft.ask_release, "primary", seat.denied(Role.OPERATOR))
    draft.build(json.dumps(document, indent=2))
    await draft.load(version)


class Draft:
    """The page's parts, and what they tell each other."""

    def __init__(self, seat: Seat, name: str, models: list[str]) -> None:
        self._seat = seat
        self.name = name
        self._models = models
        self._bound: dict[str, str] = {}
        self._ids: list[str] = []
        self._figures: dict[str, StepFigures] = {}
        self._verdict: Mapping[str, Any] = {"ok": False, "problems": []}
        self._snapshot: Snapshot | None = None
        self._asked = 0
        self.state: Tag

    def build(self, content: str) -> None:
        """Make the parts: the text and the graph beside it, then the picture, then the trial."""
        with tag("div", "columns draft"):
            with section("Definition", "JSON of Roboflow Workflows, version 1.0"):
                self._editor = Editor(content, self._check)
            with section("Graph"):
                self._graph = Graph()
        with section("Zones and lines", "in pixels of the camera's full frame"):
            self._chooser = Chooser(self._seat, self._taken)
            with tag("div", "section-body"):
                self._drawing = Drawing(self._drawn)
            with tag("div", "section-body actions"):
                self._keep = button("Keep for this camera alone…", self._ask_keep, "small")
        with section("Try it", "in a process with limits; sinks send nothing"):
            self._bindings = tag("div", "filters")
            with tag("div", "section-body"):
                self._trial = posting.Trial(
                    self._seat, self._fields, self._tried, self._seat.denied_somewhere(Role.OPERATOR)
                )

    async def load(self, version: str) -> None:
        """What takes a moment: the first check, the devices."""
        await self._check()
        using: list[str] = []
        if self.name:
            path = f"/registry/workflow/{self.name}/versions/{version}/devices"
            using = [
                use["device"] for use in (await self._seat.api.get(path, limit=50))["items"] if use["running"]
            ]
        await self._chooser.load(using)

    # --- the text -------------------------------------------------------------------------------------------------

    async def _check(self) -> None:
        """Ask the runtime, as an upload would; an answer that was overtaken by another change is passed over."""
        self._asked += 1
        asked, content = self._asked, self._editor.content
        set_chip(self.state, "checking", "info")
        if not self._seat.denied_somewhere(Role.OPERATOR):
            try:
                verdict = await self._seat.api.send("/workflows/check", content.encode())
            except ApiProblem as e:
                problem.note(e)
                return
        else:
            verdict = {"ok": self._editor.document() is not None, "problems": [], "message": "", "card": {}}
        if asked == self._asked:
            self._show(verdict)

    def _show(self, verdict: Mapping[str, Any]) -> None:
        self._verdict = verdict
        found = list(verdict["problems"])
        if not verdict["ok"] and not found:
            found = [{"path": "", "message": verdict["message"]}]
        count = len(found)
        set_chip(
            self.state,
            "fine" if verdict["ok"] else f"{count} problem{'s' if count > 1 else ''}",
            "ok" if verdict["ok"] else "bad",
        )
        self._editor.show(found, "No problems: the runtime takes it.")
        self._draw(found)
        self._drawing.show(places(self._editor.document()))
        if verdict["ok"]:
            self._bind(list(verdict["card"].get("model_ids", ())))

    def _draw(self, problems: list[Mapping[str, str]]) -> None:
        marked: dict[str, str] = {}
        for each in problems:
            marked.setdefault(node_of(each.get("path", "")), each.get("message", ""))
        document = self._editor.document()
        if document is not None:
            self._graph.show(document, self._figures, marked)

    # --- the picture ----------------------------------------------------------------------------------------------

    def _taken(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._drawing.picture(snapshot.url, snapshot.frame_wh)
        self._trial.snapshot(snapshot.url)

    def _drawn(self, place: Place, points: Points) -> None:
        document = self._editor.document()
        if document is None:
            ui.notify("The definition is no JSON now; correct it first.", type="warning")
            return
        self._editor.content = json.dumps(put(document, place, points), indent=2)

    async def _ask_keep(self) -> None:
        """Values of parameters for one pipeline: other cameras go on with the workflow's own."""
        snapshot = self._snapshot
        if snapshot is None:
            raise ApiProblem(422, "No camera", "Take a snapshot of the camera first.")
        drawn = [p for p in places(self._editor.document()) if p.points]
        values: dict[str, Any] = {}
        for place in drawn:
            values |= parameter(place, [list(point) for point in place.points])
        if not values:
            raise ApiProblem(
                422, "No parameter", "Only what stands behind a parameter ($inputs.NAME) can differ by camera.",
            )  # fmt: skip
        desired = await self._seat.api.tagged(f"/devices/{snapshot.device}/desired")
        document = desired.body["document"]
        names = [n for n, p in document.get("pipelines", {}).items() if p.get("camera") == snapshot.camera]
        if not names:
            raise ApiProblem(
                422,
                "No pipeline",
                f"{snapshot.camera} has no pipeline in the desired state of {snapshot.device}.",
            )
        self._confirm_keep(snapshot, names[0], values, desired)

    def _confirm_keep(self, snapshot: Snapshot, pipeline: str, values: dict[str, Any], desired: Any) -> None:
        lead = f"{snapshot.device} gets a new revision at once, in which pipeline {pipeline} has these parameters. The workflow itself stays as it is."
        with sheet(f"Keep for {snapshot.camera} of {snapshot.device}", lead) as dialog:
            for name, value in values.items():
                text(f"{name} = {json.dumps(value)}", "code")

            async def keep() -> None:
                change = {"pipelines": {pipeline: {"parameters": values}}}
                body = patched(desired.body["document"], change)
                path = f"/devices/{snapshot.device}/desired"
                await self._seat.api.change("PUT", path, body, if_match=desired.tag)
                dialog.close()
                problem.done(f"{snapshot.device} is told")

            with tag("div", "actions"):
                close_button(dialog)
                button("Keep", keep, "primary")

    # --- the trial ------------------------------------------------------------------------------------------------

    def _bind(self, ids: list[str]) -> None:
        """A model of the registry for each model id."""
        if ids == self._ids:
            return
        self._ids = ids
        self._bindings.clear()
        with self._bindings:
            for model_id in ids:
                chosen = self._bound.get(model_id) or (self._models[0] if self._models else None)
                select = ui.select(self._models, label=f"Model for {model_id}", value=chosen)
                self._bound[model_id] = chosen or ""
                select.on_value_change(lambda e, m=model_id: self._bound.update({m: e.value or ""}))

    def _fields(self) -> Mapping[str, str] | None:
        if not self._verdict["ok"]:
            ui.notify("Correct the problems of the definition first.", type="warning")
            return None
        missing = [model_id for model_id in self._ids if not self._bound.get(model_id)]
        if missing:
            ui.notify(
                f"Choose a model for {', '.join(missing)}; upload one where there is none.", type="warning"
            )
            return None
        models = {model_id: self._bound[model_id] for model_id in self._ids}
        return posting.form(self._editor.content, models, {}, TRIAL_FRAMES)

    def _tried(self, told: Mapping[str, Any]) -> None:
        if not told.get("ok"):
            return
        failed = told.get("failed", {})
        self._figures = {
            step: StepFigures(float(mean_us), int(failed.get(step, {}).get("frames", 0)))
            for step, mean_us in told.get("step_us", {}).items()
        }
        self._draw(list(self._verdict["problems"]))

    # --- the release ----------------------------------------------------------------------------------------------

    async def ask_release(self) -> None:
        if not self._verdict["ok"]:
            raise ApiProblem(422, "Not yet", "The definition has problems; they are listed below it.")
        lead = "It becomes a new version, which never changes. No device runs it before it is rolled out or named in a desired state."
        with sheet("Release this workflow", lead) as dialog:
            name = ui.input("Name", value=self.name, placeholder="e.g. counting").props("autofocus")

            async def release(roll_out: bool) -> None:
                content = self._editor.content.encode()
                made = await self._seat.api.send("/workflows", content, name=(name.value or "").strip())
                dialog.close()
                if not made["signed"]:
                    problem.done("It waits for an offline key before devices may have it")
                reference = f"{made['name']}@{made['version']}"
                ui.navigate.to(
                    self._seat.href(f"/rollout-draft?workflow={reference}")
                    if roll_out
                    else self._seat.href(f"/workflows/{made['name']}?version={made['version']}")
                )

            with tag("div", "actions"):
                close_button(dialog)
                button("Release", lambda: release(False), "")
                button("Release and roll out…", lambda: release(True), "primary")
