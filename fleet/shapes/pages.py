"""What every answer may be: a page of a list, or a problem."""

from __future__ import annotations

from typing import Generic, TypeVar

from typing_extensions import NotRequired, TypedDict

T = TypeVar("T")


class Page(TypedDict, Generic[T]):
    """One page of a list. `next` is the cursor of the following one; absent at the end."""

    items: list[T]
    next: str | None


class ProblemPlace(TypedDict):
    """One thing wrong: where (dotted from the document's root), what, what was expected, what to do."""

    path: str
    reason: str
    message: str
    expected: str
    remedy: str


class ProblemDocument(TypedDict):
    """RFC 9457. `reason` is a code of the closed list in docs/reasons.md; `problems` holds all of them at once."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    remedy: str
    request_id: NotRequired[str]
    problems: NotRequired[list[ProblemPlace]]
