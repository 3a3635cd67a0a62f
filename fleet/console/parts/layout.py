"""Headings, sections, figures, facts and states of a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from fleet.console.parts.cells import said, tone_of
from fleet.console.parts.tags import Tag, tag, text


@contextmanager
def page_head(title: str, lead: str = "") -> Iterator[None]:
    """The page's heading; what is made inside (states, buttons) stands beside it."""
    with tag("div", "page-head"):
        text(title, "", "h1")
        yield
    if lead:
        text(lead, "lead", "p")


@contextmanager
def section(title: str, note: str = "", bare: bool = False) -> Iterator[Tag]:
    """A box with a heading. What is made inside goes below it; buttons go into the head that is given. `bare`: the page's own heading says
    it already."""
    with tag("section", "section", aria_label=title):
        with tag("div", "sr" if bare else "section-head") as head:
            text(title, "", "h2")
            if note:
                text(note, "quiet")
        yield head


def figure(name: str, value: object, tone: str = "", href: str = "") -> Tag:
    """A number that is read first; with `href` it leads to what it counts. Gives the number's element."""
    with tag("a", "figure", href=href) if href else tag("div", "figure"):
        shown = text(value, f"figure-value {tone}".strip())
        text(name, "figure-name")
    return shown


def chip(state: str, tone: str | None = None, title: str = "") -> Tag:
    """A state. A tone is ok, warn, bad, info or none."""
    return text(said(state), f"chip {tone_of(state) if tone is None else tone}".strip(), title=title or None)


def set_chip(made: Tag, state: str, tone: str | None = None) -> None:
    """Another state instead."""
    made.classes(remove="ok warn bad info", add=tone_of(state) if tone is None else tone)
    made.text = said(state)


def ago(at: float | None, never: str = "never") -> Tag:
    """A time as how long ago it is; the browser counts on."""
    if at is None:
        return text(never, name="time")
    return text("", name="time", data_at=at)


def labels(given: Mapping[str, str]) -> None:
    """Labels, one beside the other."""
    for key, value in sorted(given.items()):
        text(f"{key}={value}", "label")


@contextmanager
def facts() -> Iterator[None]:
    """Names with what they are; filled with `fact`."""
    with tag("dl", "facts"):
        yield


@contextmanager
def fact(name: str) -> Iterator[None]:
    """One of them."""
    text(name, name="dt")
    with tag("dd"):
        yield


def empty(title: str, remedy: str = "") -> None:
    """Nothing there, and what to do next."""
    with tag("div", "empty"):
        text(title, name="strong")
        text(remedy)


def bar(name: str, count: int, of: int, href: str = "") -> None:
    """A share as a bar."""
    with tag("div", "bar-row"):
        text(name, name="a", href=href) if href else text(name)
        text(f"{count:,}", "quiet")
        with tag("div", "bar-track", role="presentation"):
            tag("div", "bar-fill").style(f"width:{100 * count / of if of else 0:.1f}%")


def copyable(command: str) -> None:
    """A command with a button that copies it."""
    with tag("div", "command"):
        text(command, name="code")
        text("Copy", "button small", "button", type="button", data_copy=command)
