"""Fields that narrow a list down as one types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from nicegui import ui

from fleet.console.parts.tags import tag

PAUSE_MS = 350
Changed = Callable[[], Awaitable[None]]


@contextmanager
def bar() -> Iterator[None]:
    """The line of fields above a list."""
    with tag("div", "filters", role="search"):
        yield


def words(name: str, value: str, changed: Changed, placeholder: str = "") -> ui.input:
    """Text that is looked for, a moment after the last key."""
    field = ui.input(name, value=value, placeholder=placeholder)
    return field.props(f"clearable debounce={PAUSE_MS}").on_value_change(changed)


def choice(name: str, options: Mapping[str, str] | Sequence[str], value: str, changed: Changed) -> ui.select:
    """One of several; the empty text stands for all."""
    given = dict(options) if isinstance(options, Mapping) else {"": "all", **{o: o for o in options}}
    return ui.select(given, label=name, value=value if value in given else "").on_value_change(changed)


def parse_labels(text: str) -> dict[str, str]:
    """`site=north, line=2` as labels.

    :raises ValueError: a part is no KEY=VALUE
    """
    found = {}
    for part in filter(None, (piece.strip() for piece in text.replace("\n", ",").split(","))):
        key, sign, value = part.partition("=")
        if not sign or not key.strip() or not value.strip():
            raise ValueError(f"{part!r} is no label; write KEY=VALUE, e.g. site=north")
        found[key.strip()] = value.strip()
    return found
