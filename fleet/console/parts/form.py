"""Fields of a form from what is declared of them: labelled, each with its own complaint below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from fleet.console.fields import Complaints, Field, Values, values_of
from fleet.console.parts.tags import Tag, tag, text


class Form:
    """`offered`: by a field's key what may be chosen for it, beside what is written; for secrets their names."""

    def __init__(
        self,
        fields: Sequence[Field],
        document: Mapping[str, Any],
        offered: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._offered = offered or {}
        self._made: dict[str, Any] = {}
        self._boxes: dict[str, Tag] = {}
        self._groups = {each.key: each.group for each in fields}
        values = values_of(fields, document)
        with tag("div", "form-grid"):
            for each in fields:
                with tag("div", "wide" if each.kind == "pairs" or self._offers(each) else "") as box:
                    self._made[each.key] = self._element(each, values[each.key])
                self._boxes[each.key] = box
        with tag("div", role="alert") as self._rest:
            pass

    @property
    def values(self) -> Values:
        """What is filled in now."""
        return {key: element.value for key, element in self._made.items()}

    def show(self, group: str) -> None:
        """The fields of this group, and not those of others."""
        for key, box in self._boxes.items():
            box.set_visibility(self._groups[key] in ("", group))

    def complain(self, complaints: Complaints) -> None:
        """At the fields, and below them what belongs to none; the first field has the focus."""
        self._rest.clear()
        with self._rest:
            for words in complaints.rest:
                text(words, "field-trouble", "p")
        for key, element in self._made.items():
            if hasattr(type(element), "error"):
                element.error = complaints.by_field.get(key)
        first = next((self._made[key] for key in self._made if key in complaints.by_field), None)
        if first is not None:
            first.run_method("focus")

    def _element(self, each: Field, value: Any) -> Any:
        made = self._control(each, value)
        if each.hint and each.kind != "flag":
            made.props(f'hint="{each.hint}"')
        return made

    def _control(self, each: Field, value: Any) -> Any:
        if each.kind == "flag":
            return ui.checkbox(each.label, value=bool(value))
        if each.kind == "choice":
            return ui.select(dict(each.options), label=each.label, value=value)
        if each.kind == "secret":
            return self._secret(each, str(value or ""))
        if each.kind == "number":
            return ui.number(each.label, value=value if value != "" else None)
        if each.kind == "pairs":
            return ui.textarea(each.label, value=value, placeholder=each.placeholder).props(
                "autogrow spellcheck=false"
            )
        field = ui.input(each.label, value=value, placeholder=each.placeholder).props("spellcheck=false")
        if self._offers(each):
            self._offer(each, field)
        return field

    def _offers(self, each: Field) -> bool:
        return each.kind == "list" and bool(self._offered.get(each.key))

    def _secret(self, each: Field, value: str) -> ui.select:
        names = [f"secret:{name}" for name in self._offered.get("secrets", ())]
        options = {"": "nothing", **{name: name for name in [*names, *([value] if value else [])]}}
        made = ui.select(options, label=each.label, value=value)
        return made if names else made.props('hint="Secrets are named in [alerts.secrets] of fleet.toml"')

    def _offer(self, each: Field, field: ui.input) -> None:
        """A list to choose from; what is chosen goes to what is written already, in the place of `*`."""
        chooser = ui.select(
            list(self._offered[each.key]), label=f"Add to {each.label.lower()}", with_input=True
        )
        chooser.classes("form-offer")

        def add() -> None:
            if chooser.value:
                there = [
                    part.strip() for part in (field.value or "").split(",") if part.strip() not in ("", "*")
                ]
                field.value = ", ".join([*there, *([chooser.value] if chooser.value not in there else [])])
                chooser.value = None

        chooser.on_value_change(add)
