"""Entity tags (RFC 9110 §8.8.3): what was read, so that a change of something else is refused and an unchanged answer is short."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from fleet.errors import Overtaken
from wire.reasons import Reason

TAG_CHARACTERS = 32
_TAG = re.compile(r'\s*(W/)?("[^"]*")\s*(?:,|$)')


def etag_of(value: Any) -> str:
    """The tag of a JSON value."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def of_bytes(content: bytes) -> str:
    """The tag of a body."""
    return f'"{hashlib.sha256(content).hexdigest()[:TAG_CHARACTERS]}"'


def unchanged(if_none_match: str | None, current: str) -> bool:
    """Whether the reader has what is current (weak comparison)."""
    if if_none_match is None:
        return False
    return if_none_match.strip() == "*" or current in {tag for _, tag in _TAG.findall(if_none_match)}


def check(if_match: str | None, current: str) -> None:
    """Refuse a change of something else than was read; without If-Match every change is taken.

    :raises Overtaken: the tag is another one
    """
    if if_match is None or if_match.strip() == "*":
        return
    if current not in {tag for weak, tag in _TAG.findall(if_match) if not weak}:
        raise Overtaken(
            Reason.CHANGED_MEANWHILE, f"it has the tag {current} now, not {if_match[:80]}; read it again"
        )
