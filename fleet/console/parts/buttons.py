"""Buttons that do something: while they do they are busy, what is refused is noted, what destroys is asked about first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from fleet.console.parts import problem
from fleet.console.parts.tags import Tag, tag, text

Action = Callable[[], Awaitable[None]]


def button(words: str, action: Action, kind: str = "", denied: str = "") -> Tag:
    """`kind` is primary, danger or small, or several of them; `denied` says why it cannot be pressed."""
    made = text(words, f"button {kind}".strip(), "button", type="button")
    if denied:
        made.set(disabled=True, title=denied, aria_description=denied)
        return made

    async def pressed() -> None:
        if made.props.get("aria-busy"):
            return
        made.set(aria_busy="true")
        try:
            await problem.attempt(action)
        finally:
            if not made.is_deleted:
                made.set(aria_busy=None)

    made.on("click", pressed)
    return made


async def confirmed(title: str, detail: str, do: str, danger: bool = True) -> bool:
    """Ask, with the keyboard's focus on the way back."""
    with ui.context.client.content, ui.dialog() as dialog, tag("div", "sheet"):
        dialog._props["aria-label"] = title
        text(title, name="h2")
        text(detail, name="p")
        with tag("div", "actions"):
            cancel = text("Cancel", "button", "button", type="button", autofocus=True)
            cancel.on("click", lambda: dialog.submit(False))
            go = text(do, f"button primary {'danger' if danger else ''}", "button", type="button")
            go.on("click", lambda: dialog.submit(True))
    answer = bool(await dialog)
    dialog.delete()
    return answer
