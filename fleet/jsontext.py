"""JSON as the standard library has it, at a tenth of the price: what orjson would read or write otherwise goes the slow way.

orjson makes floats of integers beyond 64 bits, writes `null` for what is not a number, and refuses keys that are no strings, halves of
surrogate pairs and deep nesting; the standard library takes all of these.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
_MANY_DIGITS = b"0" * 19
"""Integers of fewer digits have 64 bits at most."""


class JsonText(str):
    """JSON that goes into a column as it is."""

    __slots__ = ()


def loads(content: bytes) -> Any:
    """:raises ValueError: not JSON
    :raises RecursionError: nested too deeply
    """
    if not _plain(content):
        return json.loads(content)
    try:
        return orjson.loads(content)
    except (ValueError, RecursionError):
        return json.loads(content)


def dumps(value: Any) -> bytes:
    """Without blanks."""
    try:
        content = orjson.dumps(value)
    except TypeError:
        content = b"null"
    if b"null" in content:  # which may stand for what is not a number
        return json.dumps(value, separators=(",", ":")).encode()
    return content


def plain_loads(content: bytes) -> Any:
    """What has neither large integers nor numbers that are none nor halves of characters, which everything takes.

    :raises ValueError: it has, or is not JSON
    :raises RecursionError: nested too deeply
    """
    if not _plain(content):
        raise ValueError("large integers")
    return orjson.loads(content)


def text_of(plain: Any) -> JsonText:
    """The text of what `plain_loads` gave.

    :raises TypeError: nested too deeply
    """
    return JsonText(orjson.dumps(plain), "utf-8")


def column(value: Any) -> str:
    """As text for a column of a table."""
    return value if isinstance(value, JsonText) else json.dumps(value)


def _plain(content: bytes) -> bool:
    return _MANY_DIGITS not in content.translate(_DIGITS)
