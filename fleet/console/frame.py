"""What stands around every page: skip link, navigation, who is signed in, light or dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nicegui import ui

from fleet.access.grants import Role
from fleet.console import assets
from fleet.console.parts.tags import tag, text
from fleet.console.seat import Seat

GROUPS = ("Fleet", "Deploy", "Administration")


@dataclass(frozen=True)
class Entry:
    """A line of the navigation."""

    path: str
    title: str
    group: str
    order: int
    icon: str
    role: Role | None


_entries: dict[str, Entry] = {}


def add(entry: Entry) -> None:
    """Put a page into the navigation."""
    _entries[entry.path] = entry


def prepare() -> None:
    """What NiceGUI's elements look like here, once for all pages."""
    ui.input.default_props("outlined dense stack-label")
    ui.number.default_props("outlined dense stack-label")
    ui.textarea.default_props("outlined dense stack-label")
    ui.select.default_props("outlined dense stack-label options-dense behavior=menu")
    ui.checkbox.default_props("dense")
    ui.switch.default_props("dense")


@contextmanager
def around(seat: Seat, path: str, title: str) -> Iterator[None]:
    """The frame; what is made inside becomes the page. Quasar's own `main` is none, for it holds the navigation too."""
    for line in head(seat.prefix):
        ui.add_head_html(line)
    page_slot = ui.context.client.content.parent_slot
    if page_slot is not None:
        page_slot.parent.props("role=none")
    with tag("a", "skip", href="#main"):
        text("Skip to content")
    with tag("div", "shell"):
        _bar(seat)
        _navigation(seat, path)
        with tag("main", "main", id="main", tabindex="-1", aria_label=title):
            yield


def head(prefix: str) -> list[str]:
    """What every page loads beside NiceGUI's own; the script first, so that nothing flashes in the wrong colours."""
    return [
        f'<script src="{prefix}{assets.address("console.js")}"></script>',
        f'<link rel="stylesheet" href="{prefix}{assets.address("tokens.css")}">',
        f'<link rel="stylesheet" href="{prefix}{assets.address("console.css")}">',
        f'<link rel="stylesheet" href="{prefix}{assets.address("quasar.css")}">',
    ]


def _bar(seat: Seat) -> None:
    with tag("header", "bar"):
        with tag(
            "button", "icon-button only-narrow", data_toggles="menu", aria_expanded="false", type="button"
        ):
            icon("menu")
            text("Menu", "sr")
        with tag("a", "brand", href=seat.href("/")):
            icon("outrider")
            text("Outrider")
        tag("div", "grow")
        with tag("button", "icon-button", data_theme_button="1", aria_label="Light or dark", type="button"):
            icon("contrast")
        with tag("div", "who"):
            text(seat.name, "who-name", "a", href=seat.href("/account"), title="Your account")
            tag("button", "link-button", type="button").on("click", lambda: _sign_out(seat)).text = "Sign out"


async def _sign_out(seat: Seat) -> None:
    await seat.api.change("DELETE", "/session")
    ui.navigate.to("/sign-in")


def _navigation(seat: Seat, path: str) -> None:
    with tag("nav", "menu", aria_label="Main", id="menu"):
        for group in GROUPS:
            entries = sorted((e for e in _entries.values() if e.group == group), key=lambda e: e.order)
            if not entries:
                continue
            text(group, "menu-group")
            with tag("ul"):
                for entry in entries:
                    _entry(seat, entry, path)


def _entry(seat: Seat, entry: Entry, path: str) -> None:
    denied = seat.denied(entry.role) if entry.role is not None else ""
    with tag("li"):
        if denied:
            with tag("span", "menu-entry denied", title=denied, aria_disabled="true", tabindex="0"):
                icon(entry.icon)
                text(entry.title)
            return
        here = path == entry.path or (entry.path != "/" and path.startswith(f"{entry.path}/"))
        with tag("a", "menu-entry", href=seat.href(entry.path), aria_current="page" if here else None):
            icon(entry.icon)
            text(entry.title)


def icon(name: str) -> None:
    """A picture of the icon set; a word beside it or a label of its parent says what it means."""
    tag("span", f"icon icon-{name}", aria_hidden="true")
