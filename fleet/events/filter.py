"""Which events are meant. Pure: the same decision for lists, live streams and exports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from fleet.errors import Refused
from wire.reasons import Reason

ANY = "*"
"""In a path: any entry of a list or object."""
MOST_STEPS = 16
Kind: TypeAlias = Literal["result", "sink"]
"""`result`: the outputs of a whole workflow; `sink`: what a step of it sent by itself."""
Part: TypeAlias = Literal["picture", "clip"]


class About(Protocol):
    """What is known of an event without reading its body."""

    @property
    def device(self) -> str: ...
    @property
    def camera(self) -> str: ...
    @property
    def workflow(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def at(self) -> float: ...


@dataclass(frozen=True)
class FieldIs:
    """One field of an event's document has one value. `path`: keys and places in lists, `*` for any of them."""

    path: tuple[str, ...]
    text: str

    def holds(self, body: Any) -> bool:
        return any(_equals(value, self.text) for value in reached(body, self.path))


@dataclass(frozen=True)
class Filter:
    """Conditions that all must hold; None and empty ones ask for nothing. `since_wall` and `until_wall` (not included) are of the
    event's own time, on the device's clock. `workflows` are digests."""

    devices: frozenset[str] | None = None
    camera: str | None = None
    workflows: frozenset[str] | None = None
    kind: str | None = None
    since_wall: float | None = None
    until_wall: float | None = None
    having: frozenset[str] = frozenset()
    fields: tuple[FieldIs, ...] = ()

    @property
    def only_device(self) -> str | None:
        """The one device that is meant, where it is one."""
        return next(iter(self.devices)) if self.devices is not None and len(self.devices) == 1 else None

    def may_match(self, about: About) -> bool:
        """Whether an event can be meant, by what is known without its body."""
        return (
            (self.devices is None or about.device in self.devices)
            and (self.camera is None or about.camera == self.camera)
            and (self.workflows is None or about.workflow in self.workflows)
            and (self.kind is None or about.kind == self.kind)
            and (self.since_wall is None or about.at >= self.since_wall)
            and (self.until_wall is None or about.at < self.until_wall)
        )

    def matches_body(self, body: Mapping[str, Any]) -> bool:
        return all(body.get(part) for part in self.having) and all(f.holds(body) for f in self.fields)


def parse_fields(texts: Sequence[str]) -> tuple[FieldIs, ...]:
    """`outputs.count=3`, `outputs.found.predictions.*.class=person`.

    :raises Refused: one is not of the form PATH=VALUE
    """
    return tuple(map(_field, texts))


def reached(value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Every value at the end of a path. A key may hold dots itself: the longest one that is there is taken."""
    if not path:
        yield value
    elif isinstance(value, list):
        if path[0] == ANY:
            for entry in value:
                yield from reached(entry, path[1:])
        elif path[0].isascii() and path[0].isdigit() and int(path[0]) < len(value):
            yield from reached(value[int(path[0])], path[1:])
    elif isinstance(value, dict):
        if path[0] == ANY:
            for entry in value.values():
                yield from reached(entry, path[1:])
            return
        for taken in range(len(path), 0, -1):
            key = ".".join(path[:taken])
            if key in value:
                yield from reached(value[key], path[taken:])
                return


def _field(text: str) -> FieldIs:
    name, equals, value = text.partition("=")
    path = tuple(name.strip().split("."))
    if not equals or not all(path) or len(path) > MOST_STEPS:
        raise Refused(
            Reason.INVALID_FIELD,
            f"field {text[:80]!r} cannot be used; expected PATH=VALUE, e.g. outputs.count=3, with at most {MOST_STEPS} steps",
        )
    return FieldIs(path, value)


def _equals(value: Any, text: str) -> bool:
    """A text is compared as it is, anything else as JSON: `3` is the number and the text."""
    if isinstance(value, str):
        return value == text or json.dumps(value) == text
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)
