"""The dialog in which a rule or a target is written: its name, its fields, and what the API says at each of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from fleet.console.alert_form import NAME
from fleet.console.calls import ApiProblem
from fleet.console.fields import Complaints, placed
from fleet.console.parts.buttons import button
from fleet.console.parts.dialog import close_button
from fleet.console.parts.form import Form
from fleet.console.parts.tags import tag
from fleet.console.seat import Seat

Written = Callable[[], Mapping[str, Any]]
"""The document of the fields; raises Complaints where they cannot be read."""
Located = Callable[[ApiProblem], Complaints]
Saved = Callable[[str], Awaitable[None]]


class Name:
    """The field for the name; fixed once there is one."""

    def __init__(self, name: str, placeholder: str) -> None:
        self.field = ui.input(NAME.label, value=name, placeholder=placeholder)
        self.field.props("readonly" if name else "autofocus")

    def complain(self, words: str | None) -> None:
        self.field.error = words
        if words:
            self.field.run_method("focus")


async def put(seat: Seat, path: str, name: Name, form: Form, written: Written, located: Located) -> str:
    """Send it; the name it has now, empty where something is wrong, which then stands at its field."""
    name.complain(None)
    form.complain(Complaints({}))
    called = str(name.field.value or "").strip()
    try:
        document = dict(written())
        await seat.api.change("PUT", f"{path}/{called or '-'}", document)
    except Complaints as e:
        form.complain(e)
        return ""
    except ApiProblem as e:
        if e.status != 422:
            raise
        found = located(e)
        if not (found.by_field or found.rest):
            found = Complaints({}, [str(e)])
        form.complain(found)
        name.complain(placed([NAME], e.problems).by_field.get(NAME.key))
        return ""
    return called


def located(fields: Sequence[Any], tag_name: str = "") -> Located:
    """Problems of the API at these fields; that of the name is the dialog's."""

    def found(problem: ApiProblem) -> Complaints:
        return placed(fields, [p for p in problem.problems if p.get("path") != "path.name"], tag_name)

    return found


def buttons(dialog: ui.dialog, save: Callable[[], Awaitable[None]], more: Mapping[str, Any]) -> None:
    """The way out, further buttons, and Save."""
    with tag("div", "actions"):
        close_button(dialog)
        for words, action in more.items():
            button(words, action)
        button("Save", save, "primary")
