"""Elements that send files from the browser straight to the API, with progress: uploads to the registry, and trials of workflows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console import assets
from fleet.console.seat import Seat

STATIC = Path(__file__).parents[1] / "static"
Done = Callable[[Mapping[str, Any]], Awaitable[None]]


def files(seat: Seat) -> None:
    """What pages with such elements load besides. Called before they are made."""
    ui.add_head_html(f'<link rel="stylesheet" href="{seat.prefix}{assets.address("workflow.css")}">')
    ui.add_head_html(f'<script src="{seat.prefix}{assets.address("posting.js")}"></script>')


class Upload(ui.element, component=STATIC / "upload.js"):
    """A file to the registry. `done` is called with name, version, signed and recognised of what has come of it. With `families` (name →
    what it expects) ONNX files may be sent, too."""

    def __init__(
        self,
        seat: Seat,
        path: str,
        what: str,
        accept: str,
        suggestion: str,
        done: Done,
        denied: str = "",
        families: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._props.update(
            address=f"/api/v1{path}",
            csrf=seat.api.csrf,
            what=what,
            accept=accept,
            suggestion=suggestion,
            denied=denied,
            families=None if families is None else dict(families),
        )

        async def told(event: GenericEventArguments) -> None:
            await done(event.args)

        self.on("done", told)


class Trial(ui.element, component=STATIC / "trial.js"):
    """A workflow tried on a file or on a snapshot. `fields` gives the parts of the form, or None where it cannot be tried yet;
    `tried` is called with all that was told but the pictures."""

    def __init__(
        self,
        seat: Seat,
        fields: Callable[[], Mapping[str, str] | None],
        tried: Callable[[Mapping[str, Any]], None],
        denied: str = "",
    ) -> None:
        super().__init__()
        self._snapshot = ""
        self._props.update(address="/api/v1/workflows/try", csrf=seat.api.csrf, snapshot="", denied=denied)

        def asked(event: GenericEventArguments) -> None:
            given = fields()
            if given is not None:
                self.run_method("go", dict(given), self._snapshot if event.args["snapshot"] else None)

        self.on("asked", asked)
        self.on("tried", lambda event: tried(event.args))

    def snapshot(self, url: str) -> None:
        """A picture that may be tried on, as a data URL."""
        self._snapshot = url
        self._props["snapshot"] = url
        self.update()


def form(
    definition: str, models: Mapping[str, str], parameters: Mapping[str, Any], frames: int
) -> dict[str, str]:
    """The parts of a trial's form beside the media."""
    return {
        "definition": definition,
        "models": json.dumps(dict(models)),
        "parameters": json.dumps(dict(parameters)),
        "frames": str(frames),
    }
