"""A rollout before it begins: what changes, whom it reaches, its waves and gates; with what the control plane says of it at every pause."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from fleet.console import register
from fleet.console.calls import ApiProblem
from fleet.console.parts import posting
from fleet.console.parts.buttons import button
from fleet.console.parts.layout import page_head, section
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.rollout_form import Form, Wave, plan_of
from fleet.console.seat import Role, Seat
from fleet.console.versions import by_name

FIGURES = {
    "": "no figure",
    "frames_per_s": "frames/s",
    "latency_p95_ms": "latency (p95)",
    "error_share": "errors",
    "empty_share": "empty output",
    "blind_share": "blind time",
    "confidence": "confidence",
    "temperature_celsius": "temperature",
}
SETTLED_S = 0.4
REST = '{"time_zone": "Europe/Paris", "windows": [{"days": ["sat"], "start": "02:00", "end": "05:00"}], "pace": {"concurrent": 20}}'


@register.page("/rollout-draft", "New rollout")
async def rollout_draft(seat: Seat, model: str = "", workflow: str = "", device: str = "") -> None:
    posting.files(seat)
    page = Draft(seat)
    page.form.first = device
    page.form.name = (model or workflow).replace("@", "-v")
    with page_head("New rollout"):
        tag("div", "grow")
        button("Begin rollout", page.begin, "primary", seat.denied_somewhere(Role.OPERATOR))
    models = by_name(await seat.api.all("/models"))
    workflows = by_name(await seat.api.all("/workflows"))
    choices = {
        "models": [f"{named.name}@{row['version']}" for named in models for row in named.versions],
        "workflows": [f"{named.name}@{row['version']}" for named in workflows for row in named.versions],
    }
    used = await _used(seat)
    page.build(choices, used, {"models": model, "workflows": workflow})
    await page.look()


async def _used(seat: Seat) -> dict[str, dict[str, list[str]]]:
    """Section → name on a device → what of the registry it is on some devices now."""
    found: dict[str, dict[str, list[str]]] = {"models": {}, "workflows": {}}
    for row in (await seat.api.get("/devices", limit=20))["items"]:
        try:
            document = (await seat.api.get(f"/devices/{row['id']}/desired"))["document"]
        except ApiProblem:
            continue
        for section_name, names in found.items():
            for name, entry in document.get(section_name, {}).items():
                names.setdefault(name, []).append(str(entry.get("version") or ""))
    return found


class Draft:
    """The form, and what the control plane says of it."""

    def __init__(self, seat: Seat) -> None:
        self._seat = seat
        self.form = Form()
        self._timer: ui.timer | None = None
        self._count: Tag
        self._told: Tag
        self._waves: Tag
        self._reach: list[int] = []

    def build(
        self,
        choices: Mapping[str, list[str]],
        used: Mapping[str, Mapping[str, list[str]]],
        given: Mapping[str, str],
    ) -> None:
        form = self.form
        with section("What the control plane says"):
            self._told = tag("div", "section-body said", role="status")
        with section("Name and change"), tag("div", "form"):
            self._input("Name", "name", "e.g. people-v3")
            for section_name, kind in (("models", "Model"), ("workflows", "Workflow")):
                self._change(
                    section_name, kind, choices[section_name], used[section_name], given[section_name]
                )
            with tag("details"):
                text("Anything else of the desired state", name="summary")
                more = ui.textarea("A merge patch (JSON)", placeholder='{"settings": {"health_s": 10}}')
                more.on_value_change(lambda e: self._set("more", e.value or ""))
        with section("Whom it reaches"), tag("div", "form"):
            self._input(
                "Devices with these labels",
                "selector",
                "e.g. site=lyon, line in (1, 2); empty is every device",
            )
            self._count = text("", "quiet", role="status")
            self._input("First, the canaries", "first", "names with commas; without any, by chance")
            self._check("Take in devices that come to match later", "dynamic")
        with section("Waves", "how far it may have come at the end of each; the last is 100 %"):
            self._waves = tag("div")
            self._show_waves()
        with section("Gates", "judged for each wave"), tag("div", "form"):
            with tag("div", "wave-row"):
                self._number("Must succeed, %", "success")
                self._number("May fail, %", "failed")
            with tag("div", "wave-row"):
                figure = ui.select(FIGURES, label="Compare with devices without it", value=form.figure)
                figure.on_value_change(lambda e: self._set("figure", e.value or ""))
                self._number("Worse by at most this ratio", "ratio")
            self._check("When a gate fails, everybody who was told goes back (else it pauses)", "back")
            with tag("details"):
                text("Windows, pace, patience", name="summary")
                rest = ui.textarea("The rest of the plan (JSON)", placeholder=REST)
                rest.on_value_change(lambda e: self._set("rest", e.value or ""))

    # --- fields ---------------------------------------------------------------------------------------------------

    def _set(self, name: str, value: Any) -> None:
        setattr(self.form, name, value)
        self._later()

    def _input(self, label: str, name: str, placeholder: str) -> None:
        made = ui.input(label, value=getattr(self.form, name), placeholder=placeholder)
        made.on_value_change(lambda e: self._set(name, (e.value or "").strip()))

    def _number(self, label: str, name: str) -> None:
        made = ui.number(label, value=getattr(self.form, name), min=0)
        made.on_value_change(lambda e: self._set(name, e.value or 0.0))

    def _check(self, label: str, name: str) -> None:
        ui.checkbox(label, value=getattr(self.form, name)).on_value_change(
            lambda e: self._set(name, bool(e.value))
        )

    def _change(
        self, section_name: str, kind: str, choices: list[str], used: Mapping[str, list[str]], given: str
    ) -> None:
        """One entry by name on the device; the name is guessed from what runs an older version of the same."""
        wanted: dict[str, str] = getattr(self.form, section_name)
        base = given.partition("@")[0]
        guess = next(
            (n for n, refs in used.items() if base and any(r.partition("@")[0] == base for r in refs)), ""
        )
        guess = guess or (next(iter(used), "") if given else "")
        chosen = {"name": guess, "reference": given}

        def set_(key: str, value: str) -> None:
            chosen[key] = value
            wanted.clear()
            if chosen["name"] and chosen["reference"]:
                wanted[chosen["name"]] = chosen["reference"]
            self._later()

        with tag("div", "wave-row"):
            text(kind)
            names = sorted({*used, *([guess] if guess else [])})
            name = ui.select(
                names,
                label="Called on the device",
                value=guess or None,
                with_input=True,
                new_value_mode="add-unique",
            )
            reference = ui.select(
                [*choices],
                label="becomes",
                value=given if given in choices else None,
                with_input=True,
                clearable=True,
            )
            name.on_value_change(lambda e: set_("name", e.value or ""))
            reference.on_value_change(lambda e: set_("reference", e.value or ""))
        set_("reference", given)

    # --- waves ----------------------------------------------------------------------------------------------------

    def _show_waves(self) -> None:
        self._waves.clear()
        with self._waves:
            for number, wave in enumerate(self.form.waves):
                self._wave(number, wave)
            with tag("div", "wave-row"):
                button("Add a wave", self._add, "small")

    def _wave(self, number: int, wave: Wave) -> None:
        def put(name: str, to: Callable[[Any], Any]) -> Callable[[Any], None]:
            def changed(event: Any) -> None:
                setattr(wave, name, to(event.value))
                self._later()

            return changed

        with tag("div", "wave-row", role="group", aria_label=f"Wave {number + 1}"):
            text(f"Wave {number + 1}")
            ui.number("Reaches", value=wave.size, min=0).on_value_change(put("size", lambda v: float(v or 0)))
            ui.select(["devices", "%"], label="Unit", value=wave.unit).on_value_change(put("unit", str))
            ui.number("Soaks for, s", value=wave.soak_s, min=0).on_value_change(
                put("soak_s", lambda v: float(v or 0))
            )
            ui.checkbox("Approval", value=wave.approval).on_value_change(put("approval", bool))

            async def drop() -> None:
                self.form.waves.remove(wave)
                self._show_waves()
                self._later()

            denied = "There is one wave at least." if len(self.form.waves) < 2 else ""
            button("Remove", drop, "small", denied)

    async def _add(self) -> None:
        last = self.form.waves[-1]
        self.form.waves.insert(-1, Wave(last.size / 2 if last.unit == "%" else 1.0, last.unit))
        self._show_waves()
        self._later()

    # --- what is said of it ---------------------------------------------------------------------------------------

    def _later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._told:
            self._timer = ui.timer(SETTLED_S, self.look, once=True)

    async def look(self) -> None:
        """Ask how many devices match, and what a rollout like this would do."""
        try:
            found = await self._seat.api.get("/selection", selector=self.form.selector)
            shown = ", ".join(found["names"][:6]) + (" …" if found["devices"] > 6 else "")
            self._count.text = f"{found['devices']:,} devices match, {found['online']:,} of them online{': ' if shown else ''}{shown}"
        except ApiProblem as e:
            self._count.text = str(e)
        try:
            plan = plan_of(self.form)
            preview = await self._seat.api.change("POST", "/rollouts/preview", plan)
            self._say(preview["problems"], preview)
        except ApiProblem as e:
            self._say(e.problems or [{"path": "", "message": str(e)}], None)
        except ValueError as e:
            self._say([{"path": "", "message": str(e)}], None)

    def _say(self, problems: list[Any], preview: Mapping[str, Any] | None) -> None:
        self._told.clear()
        with self._told:
            if preview is not None:
                steps = " → ".join(f"{count:,}" for count in preview["waves"])
                text(f"Reaches {preview['devices']:,} devices, by waves: {steps}. ", "", "p")
                if preview["first"]:
                    text(f"First: {', '.join(preview['first'])}", "quiet", "p")
            if not problems:
                text("Nothing is in its way.", "fine")
                return
            with tag("ul", "problem-list"):
                for each in problems:
                    with tag("li"):
                        if each.get("path"):
                            text(each["path"], "code")
                        text(each.get("message", ""))
                        if each.get("expected"):
                            text(f"expected: {each['expected']}", "quiet")
                        if each.get("remedy"):
                            text(each["remedy"], "quiet")

    async def begin(self) -> None:
        """Begin it, and follow it."""
        try:
            plan = plan_of(self.form)
        except ValueError as e:
            raise ApiProblem(422, "Not yet", str(e)) from e
        made = await self._seat.api.change("POST", "/rollouts", plan)
        ui.navigate.to(self._seat.href(f"/rollouts/{made['name']}"))
