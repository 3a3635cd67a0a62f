"""Plain HTML elements: semantic, small, and as the style sheet wants them."""

from __future__ import annotations

from typing import Any

from nicegui import ui


class Tag(ui.element):
    """An HTML element with text."""

    @property
    def text(self) -> str:
        return self._text or ""

    @text.setter
    def text(self, value: str) -> None:
        if value != self._text:
            self._text = value
            self.update()

    def set(self, **attributes: Any) -> Tag:
        """Set attributes; None removes one. Underscores stand for hyphens."""
        for name, value in attributes.items():
            key = name.rstrip("_").replace("_", "-")
            if value is None:
                self._props.pop(key, None)
            else:
                self._props[key] = value
        self.update()
        return self


def tag(name: str, classes: str = "", **attributes: Any) -> Tag:
    """An element with classes and attributes; `aria_label` becomes `aria-label`."""
    made = Tag(name)
    if classes:
        made.classes(classes)
    for key, value in attributes.items():
        if value is not None:
            made._props[key.rstrip("_").replace("_", "-")] = value
    return made


def text(words: object, classes: str = "", name: str = "span", **attributes: Any) -> Tag:
    """An element that holds text."""
    made = tag(name, classes, **attributes)
    made.text = str(words)
    return made
