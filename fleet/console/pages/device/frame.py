"""What stands above every page of one device: its name and state, and the way to its other pages."""

from __future__ import annotations

from typing import Any

from fleet.console.parts.layout import ago, chip, labels, set_chip
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

TABS = (
    ("", "Overview"),
    ("/health", "Health"),
    ("/state", "State"),
    ("/events", "Events"),
    ("/logs", "Logs"),
    ("/care", "Care"),
)


class Head:
    """The heading; `show` brings it up to date."""

    def __init__(self, seat: Seat, device: Any, tab: str) -> None:
        name = device["id"]
        with tag("div", "crumbs"):
            text("Devices", name="a", href=seat.href("/devices"))
            text("/", "quiet", aria_hidden="true")
        with tag("div", "page-head"):
            text(name, "", "h1")
            self._presence = chip(device["presence"])
            self._phase = chip(device["phase"] or "no report yet", None if device["phase"] else "")
            with tag("span", "quiet"):
                text("seen ")
                self._seen = ago(device["last_seen_at"])
            tag("div", "grow")
            labels(device["labels"])
        with tag("nav", "tabs", aria_label=f"Pages of {name}"):
            for path, title in TABS:
                here = "page" if path == tab else None
                text(title, name="a", href=seat.href(f"/devices/{name}{path}"), aria_current=here)
        self.show(device)

    def show(self, device: Any) -> None:
        """As the device is now."""
        set_chip(self._presence, device["presence"])
        if device["phase"]:
            set_chip(self._phase, device["phase"])
        self._phase.set(title=device["reason"])
        if device["last_seen_at"] is not None:
            self._seen.set(data_at=device["last_seen_at"])
