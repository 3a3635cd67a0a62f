"""JSON between machines, read and written strictly: UTF-8, and only whole characters in its texts.

Half of a surrogate pair (`"\\ud800"`) is legal in JSON and in Python, but it is no text: databases, HTTP clients and other languages
refuse it, so that it would break things far from where it came in.
"""

from __future__ import annotations

import json
import re
from typing import Any

from wire.errors import Malformed

_HALF = re.compile("[\ud800-\udfff]")
_HALF_WRITTEN = re.compile(r"\\u[dD][89a-fA-F]")
"""In front of pairs too; only where there is one, the texts are looked through."""


def parse(content: bytes | str, what: str) -> Any:
    """The value of a JSON text; `what` names it in the message.

    :raises Malformed: not UTF-8, not JSON, or half of a surrogate pair in a text
    """
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise Malformed(f"{what} is not JSON: {e}") from e
    if _HALF_WRITTEN.search(text) or _HALF.search(text):
        path = half_in(value)
        if path is not None:
            raise Malformed(
                f"{what} has half of a surrogate pair in the text at {path or 'its root'!r}; "
                "expected whole characters: send another one in its place, for example U+FFFD"
            )
    return value


def write(value: Any, **options: Any) -> bytes:
    """Compact JSON, in ASCII; halves of surrogate pairs, as in the name of a file that is no UTF-8, become U+FFFD.

    :raises ValueError: not a number, or infinite
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, **options)
    if _HALF_WRITTEN.search(text) and half_in(value) is not None:
        text = json.dumps(_whole(value), separators=(",", ":"), allow_nan=False, **options)
    return text.encode()


def half_in(value: Any) -> str | None:
    """The dotted path of a text with half of a surrogate pair; None where there is none."""
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        path, each = waiting.pop()
        if isinstance(each, str) and _HALF.search(each):
            return path
        if isinstance(each, dict):
            if any(_HALF.search(str(key)) for key in each):
                return path
            waiting.extend((f"{path}.{key}".lstrip("."), inner) for key, inner in each.items())
        elif isinstance(each, (list, tuple)):
            waiting.extend((f"{path}.{place}".lstrip("."), inner) for place, inner in enumerate(each))
    return None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(inner) for inner in value]
    return value
