"""Dialogs: over the page, gone when they are closed; the keyboard stays inside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nicegui import ui

from fleet.console.parts.tags import tag, text


@contextmanager
def sheet(title: str, lead: str = "", *, stays: bool = False, wide: bool = False) -> Iterator[ui.dialog]:
    """A dialog that opens when what is made inside is complete. `stays`: only its own buttons close it.

    It belongs to the page, not to the dialog whose button opened it, which may close first.
    """
    with ui.context.client.content:
        dialog = ui.dialog()
    if stays:
        dialog.props("persistent")
    dialog._props["aria-label"] = title
    with dialog, tag("div", "sheet wide" if wide else "sheet"):
        text(title, name="h2")
        if lead:
            text(lead, name="p")
        yield dialog
    dialog.on("hide", dialog.delete)
    dialog.open()


def close_button(dialog: ui.dialog, words: str = "Cancel", kind: str = "") -> None:
    """The way out."""
    text(words, f"button {kind}".strip(), "button", type="button").on("click", dialog.close)
