"""Zones and lines drawn on a picture: with the mouse, a finger, or the keyboard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from nicegui import ui
from nicegui.events import GenericEventArguments

from fleet.console.places import Place, Points

STATIC = Path(__file__).parents[1] / "static"
Drawn = Callable[[Place, Points], None]


class Drawing(ui.element, component=STATIC / "drawing.js"):
    """Places over a picture. `drawn` is called with a place and its points, in pixels of the full frame."""

    def __init__(self, drawn: Drawn, readonly: bool = False) -> None:
        super().__init__()
        self._places: dict[str, Place] = {}
        self._props["readonly"] = readonly
        self.picture("", (1280, 720))
        self.show(())

        def told(event: GenericEventArguments) -> None:
            place = self._places.get(str(event.args["key"]))
            if place is not None:
                drawn(place, [[float(x), float(y)] for x, y in event.args["points"]])

        self.on("drawn", told)

    def picture(self, url: str, frame_wh: tuple[int, int]) -> None:
        """Another picture of a frame of this size; points are pixels of the frame, however large the picture is."""
        self._props["picture"] = url
        self._props["width"], self._props["height"] = frame_wh
        self.update()

    def show(self, places: Sequence[Place]) -> None:
        """Other places instead."""
        self._places = {place.key: place for place in places}
        self._props["shapes"] = [
            {
                "key": place.key,
                "kind": place.kind,
                "title": place.title,
                "steps": list(place.steps),
                "points": [list(point) for point in place.points],
                "least": place.least,
                "most": place.most,
            }
            for place in places
        ]
        self.update()
