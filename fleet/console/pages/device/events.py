"""What the cameras of one device saw."""

from __future__ import annotations

from fleet.console import register
from fleet.console.pages.device.frame import Head
from fleet.console.parts.events import Events
from fleet.console.seat import Seat


@register.page("/devices/{device}/events", "Events")
async def events(seat: Seat, device: str) -> None:
    Head(seat, await seat.api.get(f"/devices/{device}"), "/events")
    await Events(seat, device).table.refresh()
