"""The newest lines of a device's log, asked of the device itself."""

from __future__ import annotations

import json
from typing import Any

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import register
from fleet.console.pages.device.camera import send
from fleet.console.pages.device.frame import Head
from fleet.console.parts import live
from fleet.console.parts.buttons import button
from fleet.console.parts.layout import section
from fleet.console.parts.tags import Tag, tag, text
from fleet.console.seat import Seat

LINES = {"100": "100 lines", "500": "500 lines", "2000": "2,000 lines"}
FOLLOW_S = 5.0
FOLLOW_FOR_S = 300.0
TONES = {"ERROR": "bad", "CRITICAL": "bad", "WARNING": "warn"}


@register.page("/devices/{device}/logs", "Logs")
async def logs(seat: Seat, device: str) -> None:
    shown = await seat.api.get(f"/devices/{device}")
    Head(seat, shown, "/logs")
    _Log(seat, device, seat.denied(Role.OPERATOR, shown["labels"]))


class _Log:
    def __init__(self, seat: Seat, device: str, denied: str) -> None:
        self._seat, self._device = seat, device
        self._left_s = 0.0
        self._lines: list[str] = []
        with section("Log") as head:
            self._place = tag("div", "log", tabindex="0", role="log", aria_label="Log lines")
            with self._place:
                text(
                    denied
                    or "Press the button; the device answers with what it has in memory, without secrets.",
                    "quiet",
                )
        with head:
            tag("div", "grow")
            self._count = ui.select(LINES, value="100", label="Newest").style("width: 9rem")
            self._with = (
                ui.input("Only lines with").props("clearable debounce=350").on_value_change(self._show)
            )
            button("Read", self._read, "primary", denied)
            self._turn = button("Follow", self._follow, "", denied)
        self._every = live.Every(FOLLOW_S, self._next, on=False)

    async def _read(self) -> None:
        self._lines = (await send(self._seat, self._device, "log-tail", {"lines": int(self._count.value)}))[
            "lines"
        ]
        await self._show()

    async def _show(self) -> None:
        if not self._lines:
            return
        sought = (self._with.value or "").lower()
        lines = [line for line in self._lines if sought in line.lower()]
        self._place.clear()
        with self._place:
            for block in blocks(lines):
                _block(*block)
            if not lines:
                text("No line has that in it.", "quiet")
        ui.run_javascript(f"const e = getHtmlElement({self._place.id}); if (e) e.scrollTop = e.scrollHeight;")

    async def _follow(self) -> None:
        if self._every.on:
            self._stop()
            return
        await self._read()
        self._left_s, self._turn.text, self._every.on = FOLLOW_FOR_S, "Stop", True

    async def _next(self) -> None:
        self._left_s -= FOLLOW_S
        if self._left_s <= 0:
            self._stop()
            return
        await self._read()

    def _stop(self) -> None:
        self._every.on, self._turn.text = False, "Follow"


def blocks(lines: list[str]) -> list[tuple[str, str]]:
    """Tone and lines; neighbours of one tone together, so that the page has few elements."""
    found: list[tuple[str, str]] = []
    for line in lines:
        tone, words = read(line)
        if found and found[-1][0] == tone:
            found[-1] = (tone, f"{found[-1][1]}\n{words}")
        else:
            found.append((tone, words))
    return found


def read(line: str) -> tuple[str, str]:
    """The tone of a line, and the line; one in JSON is put into words."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict):
        level = next((level for level in TONES if level in line[:80].upper()), "")
        return TONES.get(level, ""), line
    level = str(entry.pop("level", "")).upper()
    at, message = entry.pop("at", entry.pop("time", "")), entry.pop("message", entry.pop("msg", ""))
    rest = " ".join(f"{key}={value}" for key, value in entry.items())
    return TONES.get(level, ""), f"{at} {level:<7} {message}  {rest}".rstrip()


def _block(tone: str, words: str) -> Tag:
    return text(words, tone, "div")
