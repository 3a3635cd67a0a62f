"""What stands above every page of alerts."""

from __future__ import annotations

from fleet.console.parts import problem
from fleet.console.parts.buttons import confirmed
from fleet.console.parts.layout import page_head
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

TABS = (
    ("/alerts", "Alerts"),
    ("/faults", "Faults"),
    ("/silences", "Silences"),
    ("/alert-targets", "Targets"),
    ("/alert-rules", "Rules"),
)


def heading(seat: Seat, here: str) -> None:
    """The heading and the way to the other pages."""
    with page_head("Alerts"):
        pass
    with tag("nav", "tabs", aria_label="Pages of alerts"):
        for path, title in TABS:
            text(title, name="a", href=seat.href(path), aria_current="page" if path == here else None)


async def remove(seat: Seat, path: str, name: str) -> None:
    """After asking."""
    if await confirmed(f"Remove {name}?", "What waits for it is given up.", "Remove"):

        async def removed() -> None:
            await seat.api.change("DELETE", path)

        await problem.attempt(removed)
