"""JSON in an editor, with the problems that a check found: marked in their lines, listed, each leading to its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console.definition import error_line, line_of
from fleet.console.parts.tags import tag, text

LIGHT: Final = "basicLight"
DARK: Final = "vscodeDark"
SETTLED_S = 0.5


class Editor:
    """`changed` is called when the text has been left alone for a moment."""

    def __init__(self, content: str, changed: Callable[[], Any], readonly: bool = False) -> None:
        self._changed = changed
        self._timer: ui.timer | None = None
        with tag("div", "editor-box"):
            self._code = ui.codemirror(
                content, language="JSON", theme=LIGHT, indent="  ", on_change=self._touched
            ).props('aria-label="The definition as JSON"')
        if readonly:
            self._code.disable()
        self._list = tag("div", "editor-problems", role="status")
        ui.on("theme", self._paint)
        ui.timer(0.1, self._ask_theme, once=True)

    @property
    def content(self) -> str:
        return self._code.value or ""

    @content.setter
    def content(self, value: str) -> None:
        self._code.value = value

    def document(self) -> Any:
        """The content parsed; None where it is no JSON."""
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None

    def show(self, problems: Sequence[Mapping[str, str]], fine: str = "") -> None:
        """These problems instead; `fine` is said where there are none."""
        placed = [(self._line(problem), problem) for problem in problems]
        self._code.decorations = [
            {"kind": "line", "line": line, "class": "line-bad"}
            for line in sorted({line for line, _ in placed})
        ]
        self._code.line_tooltips = {line: str(problem.get("message", "")) for line, problem in placed}
        self._list.clear()
        with self._list:
            if not placed:
                text(fine, "fine")
                return
            text(f"{len(placed)} problem{'s' if len(placed) > 1 else ''}", "editor-count")
            with tag("ul"):
                for line, problem in placed:
                    self._listed(line, problem)

    def _line(self, problem: Mapping[str, str]) -> int:
        path = problem.get("path", "")
        return line_of(self.content, path) if path else error_line(self.content)

    def _listed(self, line: int, problem: Mapping[str, str]) -> None:
        with tag("li"), tag("button", "editor-problem", type="button") as jump:
            text(f"line {line}", "chip bad")
            if problem.get("path"):
                text(problem["path"], "code")
            text(problem.get("message", ""))
            for name in ("expected", "remedy"):
                if problem.get(name):
                    text(f"{'expected ' if name == 'expected' else ''}{problem[name]}", "quiet")
        jump.on("click", lambda: self._code.reveal_line(line))

    def _touched(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = ui.timer(SETTLED_S, self._changed, once=True)

    def _paint(self, event: GenericEventArguments) -> None:
        self._code.theme = DARK if event.args == "dark" else LIGHT

    def _ask_theme(self) -> None:
        ui.run_javascript("emitEvent('theme', document.documentElement.dataset.theme)")
