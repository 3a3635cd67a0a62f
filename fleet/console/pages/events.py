"""What the cameras of the fleet saw."""

from __future__ import annotations

from fleet.console import register
from fleet.console.parts.events import Events
from fleet.console.parts.layout import page_head
from fleet.console.seat import Seat


@register.page("/events", "Events", register.Menu("Fleet", 20, "event"))
async def events(
    seat: Seat, device: str = "", selector: str = "", camera: str = "", workflow: str = ""
) -> None:
    with page_head("Events", "Results that workflows have sent, newest first."):
        pass
    wanted = {"device": device, "selector": selector, "camera": camera, "workflow": workflow}
    await Events(seat, wanted=wanted).table.refresh()
