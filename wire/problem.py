"""One thing wrong with a document: where, what, what was expected, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from wire.reasons import Reason

SHOWN_VALUE_CHARS = 80
"""A value in a message is cut here, so that a problem stays one line."""


@dataclass(frozen=True)
class Problem:
    """A located problem. `path` is dotted from the document's root (`pipelines.door.workflow`)."""

    path: str
    reason: Reason
    message: str
    expected: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        parts = [f"{self.path}: {self.message}" if self.path else self.message]
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.remedy:
            parts.append(self.remedy)
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The problem as it travels in reported state and HTTP answers."""
        return {**asdict(self), "reason": self.reason.value}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Problem:
        """:raises ValueError: the reason code is unknown"""
        known = {name: str(value.get(name, "")) for name in ("path", "message", "expected", "remedy")}
        return cls(reason=Reason(value["reason"]), **known)


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean 'x'?`, or an empty string when nothing known resembles the name."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else ""


def shown(value: object) -> str:
    """The value as a message shows it, cut to one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes out no number of more than 4,300 digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= SHOWN_VALUE_CHARS else text[: SHOWN_VALUE_CHARS - 1] + "…"


def expectation(message: str) -> str:
    """What a validator expected, without the name that Pydantic puts before what our own ones say."""
    return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")


def summary(problems: Sequence[Problem]) -> str:
    """All problems in one sentence each, joined by new lines."""
    return "\n".join(str(problem) for problem in problems)
