"""Events as a list: what a camera saw, where and when, with its picture where there is one."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fleet.console.parts import cells, filters, live
from fleet.console.parts.dialog import close_button, sheet
from fleet.console.parts.layout import ago, fact, facts, section
from fleet.console.parts.table import Column, Empty, Row, Table
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

COLUMNS = (
    Column("at", "When", "tight"),
    Column("camera", "Camera"),
    Column("workflow", "Workflow"),
    Column("said", "What"),
    Column("actions", ""),
)
KINDS = {"": "all", "result": "results", "sink": "sent by a step"}
SPANS = {"": "any time", "3600": "last hour", "86400": "last day", "604800": "last week"}
PAGE = 50
REFRESH_S = 4.0
SAID_CHARACTERS = 160


class Events:
    """The list with its filters; of one device where `device` is given. It stays new while its first page is shown."""

    def __init__(self, seat: Seat, device: str = "", wanted: Mapping[str, str] | None = None) -> None:
        given = dict(wanted or {})
        self._seat, self._device = seat, device
        self._items: dict[str, Any] = {}
        with section("Events") as head:
            with filters.bar():
                if not device:
                    self._by_device = filters.words(
                        "Device", given.get("device", ""), self._changed, "its name"
                    )
                    self._by_label = filters.words(
                        "Labels", given.get("selector", ""), self._changed, "site=north"
                    )
                self._by_camera = filters.words("Camera", given.get("camera", ""), self._changed, "its name")
                self._by_workflow = filters.words(
                    "Workflow", given.get("workflow", ""), self._changed, "name or name@3"
                )
                self._by_kind = filters.choice("Kind", KINDS, "", self._changed)
                self._by_time = filters.choice("When", SPANS, "", self._changed)
            remedy = "They come when a camera's workflow sends results. Loosen the filter to see more."
            self.table = Table(
                "Events", COLUMNS, self._load, self._row, Empty("No events here", remedy), self._acted
            )
        with head:
            tag("div", "grow")
            self._files = {name: text(name, "button small", "a") for name in ("JSON lines", "CSV")}
        self._address_files()
        live.every(REFRESH_S, self._again)

    async def _changed(self) -> None:
        self._address_files()
        await self.table.restart()

    async def _again(self) -> None:
        if self.table.at_start:
            await self.table.refresh()

    def _query(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "device": self._device or (self._by_device.value or ""),
            "selector": "" if self._device else (self._by_label.value or ""),
            "camera": self._by_camera.value or "",
            "workflow": self._by_workflow.value or "",
            "kind": self._by_kind.value or "",
        }
        if self._by_time.value:
            found["since"] = round(time.time() - float(self._by_time.value))
        return {name: value for name, value in found.items() if value != ""}

    def _address_files(self) -> None:
        for name, form in (("JSON lines", "jsonl"), ("CSV", "csv")):
            query = urlencode({**self._query(), "format": form})
            self._files[name].set(
                href=self._seat.href(f"/api/v1/events/export?{query}"), download=f"events.{form}"
            )

    async def _load(self, cursor: str | None) -> Any:
        page = await self._seat.api.get("/events", limit=PAGE, cursor=cursor, **self._query())
        self._items = {str(item["cursor"]): item for item in page["items"]}
        return page

    def _row(self, event: Any) -> Row:
        device, camera = event["device"], event["camera"]
        return Row(
            str(event["cursor"]),
            {
                "at": cells.when(event["at"]),
                "camera": cells.link(
                    camera, f"/devices/{device}/cameras/{camera}", "" if self._device else device
                ),
                "workflow": cells.words(
                    event["workflow"][:40], "sent by a step" if event["kind"] == "sink" else ""
                ),
                "said": cells.words(said(event["data"])),
                "actions": cells.actions([cells.action("show", "Show")]),
            },
        )

    async def _acted(self, _name: str, key: str) -> None:
        if key in self._items:
            show(self._seat, self._items[key])


def said(data: Mapping[str, Any]) -> str:
    """The outputs in a line."""
    outputs = data.get("outputs")
    if not isinstance(outputs, dict):
        outputs = {name: value for name, value in data.items() if isinstance(value, str | int | float | bool)}
    parts = [f"{name} {_short(value)}" for name, value in outputs.items()]
    line = ", ".join(parts)
    return line if len(line) <= SAID_CHARACTERS else f"{line[:SAID_CHARACTERS]}…"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, list):
        return f"{len(value)} items"
    if isinstance(value, dict):
        found = value.get("predictions", value.get("detections"))
        return f"{len(found)} found" if isinstance(found, list) else f"{len(value)} fields"
    return str(value)


def show(seat: Seat, event: Any) -> None:
    """The whole of an event."""
    with sheet(f"{event['camera']} of {event['device']}", wide=True) as dialog:
        picture = (event["data"].get("picture") or {}) if isinstance(event["data"], dict) else {}
        if isinstance(picture, dict) and picture.get("id"):
            address = f"/api/v1/devices/{event['device']}/pictures/{picture['id']}"
            tag("img", "picture", src=seat.href(address), alt="The picture of this event", loading="lazy")
        with facts():
            with fact("When"):
                ago(event["at"])
            with fact("Workflow"):
                text(event["workflow"])
            with fact("Frame"):
                text(f"{event['frame_seq']:,}")
            with fact("Id"):
                text(event["id"], "code")
        text(json.dumps(event["data"], indent=2), "log", "pre", tabindex="0")
        with tag("div", "actions"):
            close_button(dialog, "Close", "primary")
