"""Regular expressions from outside: refuses those whose matching time may explode."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    from re import _parser as _parser  # type: ignore[attr-defined]
else:
    import sre_parse as _parser

MANY = 16
"""A repetition that may run more often than this counts as open."""
MAX_OPEN = 8
"""Open repetitions one after the other multiply: at most this many."""


def regex_problem(pattern: str) -> str:
    """What is wrong with a pattern, or an empty string."""
    try:
        re.compile(pattern)
        tree = _parser.parse(pattern)
        nested, count = _look(tree)
    except (re.error, OverflowError, RecursionError) as e:
        return f"cannot be read: {e}"
    if nested:
        return "repeats what can match in several ways, so that matching may take for ever"
    return f"has {count} open repetitions" if count > MAX_OPEN else ""


def _look(tree: Any, *, inside: bool = False) -> tuple[bool, int]:
    nested, count = False, 0
    for name, argument in tree:
        code = str(name)
        varies = code in ("MAX_REPEAT", "MIN_REPEAT") and argument[0] != argument[1]
        repeats = code in ("MAX_REPEAT", "MIN_REPEAT") and argument[1] > MANY
        count += repeats
        if code == "GROUPREF" or (
            inside and (repeats or varies or (code == "BRANCH" and _overlap(argument)))
        ):
            nested = True
        for part in _parts(argument):
            deeper, more = _look(part, inside=inside or repeats)
            nested, count = nested or deeper, count + more
    return nested, count


def _overlap(argument: Any) -> bool:
    """Whether two alternatives may begin alike: all must begin with a character of their own."""
    first = [(str(part[0][0]), part[0][1]) if len(part) else None for part in argument[1]]
    return len(set(first)) < len(first) or any(f is None or f[0] != "LITERAL" for f in first)


def _parts(argument: Any) -> Iterator[Any]:
    """Every sub-pattern in an instruction's argument."""
    if isinstance(argument, _parser.SubPattern):
        yield argument
    elif isinstance(argument, (list, tuple)):
        for part in argument:
            yield from _parts(part)
