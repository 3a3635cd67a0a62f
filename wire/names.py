"""Names and digests: what may stand in a topic, a path and a document."""

from __future__ import annotations

import re
from typing import Annotated, NewType

from pydantic import StringConstraints

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
"""No separators of topics (`/ + #`) or paths, no leading dot, at most 64 characters."""
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"

DeviceId = NewType("DeviceId", str)
FleetId = NewType("FleetId", str)

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]

_NAME = re.compile(NAME_PATTERN)
_DIGEST = re.compile(DIGEST_PATTERN)


def is_name(text: str) -> bool:
    """Whether the text may name a device, camera, model, workflow or pipeline."""
    return _NAME.match(text) is not None


def is_digest(text: str) -> bool:
    """Whether the text is `sha256:` and 64 lower-case hexadecimal digits."""
    return _DIGEST.match(text) is not None
