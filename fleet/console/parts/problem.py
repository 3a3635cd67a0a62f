"""What the API refused, shown: one clear message with what to do, as a panel in the page or as a note over it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nicegui import ui

from fleet.console.calls import ApiProblem
from fleet.console.parts.tags import tag, text

NOTE_MS = 8000


def panel(problem: ApiProblem) -> None:
    """In the page, where what was asked for would be."""
    with tag("section", "problem", role="alert"):
        text(problem.title, "problem-title", "h2")
        text(str(problem), "", "p")
        if problem.remedy and problem.remedy != str(problem):
            text(problem.remedy, "quiet", "p")
        if problem.problems:
            _listed(problem)
        if problem.reason:
            text(problem.reason, "code quiet")


def _listed(problem: ApiProblem) -> None:
    with tag("ul", "problem-list"):
        for place in problem.problems:
            with tag("li"):
                text(place.get("path", ""), "code")
                text(place.get("message", ""))
                if place.get("expected"):
                    text(f"expected: {place['expected']}", "quiet")


def note(problem: ApiProblem) -> None:
    """Over the page, for a moment; where the session is over, to the door."""
    if problem.status == 401:
        ui.navigate.to("/sign-in")
        return
    lines = [str(problem)]
    lines += [_line(place) for place in problem.problems[:3]]
    if problem.remedy and not problem.problems:
        lines.append(problem.remedy)
    ui.notify(
        "\n".join(lines),
        type="negative",
        timeout=NOTE_MS,
        close_button="Close",
        multi_line=True,
        position="bottom",
    )


def _line(place: dict[str, str]) -> str:
    told = f"{place.get('path', '')}: {place.get('message', '')}"
    return f"{told}; {place['expected']}" if place.get("expected") else told


def done(words: str) -> None:
    """It worked."""
    ui.notify(words, type="positive", timeout=3000, position="bottom")


async def attempt(action: Callable[[], Awaitable[None]]) -> bool:
    """Do it; what the API refuses is noted. Whether it was done."""
    try:
        await action()
    except ApiProblem as e:
        note(e)
        return False
    return True
