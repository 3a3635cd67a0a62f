"""Secrets out of text: the one function every URL passes before it is logged, reported or shown."""

from __future__ import annotations

import re

_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)[^/@\s]*@")
_QUERY = re.compile(
    r"(?P<key>[?&;](?:password|passwd|pwd|pass|token|key|secret|auth)[^=&\s]*=)[^&\s]*", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text with user names and passwords of URLs, and secret query parameters, replaced by `***`."""
    return _QUERY.sub(r"\g<key>***", _USERINFO.sub(r"\g<scheme>***@", text))
