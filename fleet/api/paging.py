"""Lists a page at a time. A cursor is opaque: where the page before ended, so that rows added meanwhile shift nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query

from fleet import selector
from fleet.errors import Refused
from fleet.selector import Selector
from fleet.shapes import Page
from wire.reasons import Reason

R = TypeVar("R")
T = TypeVar("T")

CURSOR_CHARACTERS = 400
Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of the page")]
Cursor = Annotated[str | None, Query(max_length=CURSOR_CHARACTERS, description="`next` of the page before")]


def page(rows: Sequence[R], limit: int, view: Callable[[R], T], key: Callable[[R], Any]) -> Page[T]:
    """A page of rows that were read with one more than the limit, which says whether there is a next one."""
    shown = rows[:limit]
    following = encode(key(shown[-1])) if len(rows) > limit and shown else None
    return {"items": [view(row) for row in shown], "next": following}


def encode(position: Any) -> str:
    """A position as a cursor."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def decode(cursor: str | None, start: T) -> T:
    """The position of a cursor; `start` where there is none. It is of the same type and length as `start`.

    :raises Refused: it is no cursor of this list
    """
    if cursor is None:
        return start
    try:
        found = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        position: Any = tuple(found) if isinstance(start, tuple) else found
    except (ValueError, RecursionError, TypeError) as e:
        raise _no_cursor(cursor) from e
    if not _alike(position, start):
        raise _no_cursor(cursor)
    return position  # type: ignore[no-any-return]


def _alike(position: Any, start: Any) -> bool:
    if isinstance(start, tuple):
        return len(position) == len(start) and all(map(_alike, position, start))
    if isinstance(start, float):
        return isinstance(position, int | float) and abs(position) < 1e15
    if isinstance(start, int):
        return isinstance(position, int) and not isinstance(position, bool) and abs(position) < 2**62
    return isinstance(position, str) and "\0" not in position and position.isprintable()


def _no_cursor(cursor: str) -> Refused:
    return Refused(
        Reason.INVALID_FIELD, f"cursor {cursor[:40]!r} is none of this list; take `next` of the page before"
    )


def _selector(
    selector_text: Annotated[
        str,
        Query(
            alias="selector",
            max_length=selector.MOST_CHARACTERS,
            description="Only devices whose labels match, e.g. `site=a, line in (1, 2), !spare`",
        ),
    ] = "",
) -> Selector:
    return selector.parse(selector_text)


Selected = Annotated[Selector, Depends(_selector)]
