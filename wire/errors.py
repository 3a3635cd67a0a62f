"""Errors of the wire.

WireError
├── Malformed          the bytes are no message of ours: report and drop
├── TooLarge           over the limit of the topic: report and drop
├── Refused            well-formed, but not acceptable: report with its problems, keep the old state
│   └── NotTrusted     the signature, the device, the revision or the expiry is wrong
└── UnknownVersion     a protocol version this side does not speak: report and drop
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wire.reasons import Reason

if TYPE_CHECKING:
    from wire.problem import Problem


class WireError(Exception):
    """Anything wrong with a message. `reason` is the code to report."""

    def __init__(self, message: str, reason: Reason = Reason.MALFORMED) -> None:
        super().__init__(message)
        self.reason = reason


class Malformed(WireError):
    """The bytes are not a message of this protocol."""


class TooLarge(WireError):
    """The message exceeds the limit."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"message of {size_bytes} bytes; at most {limit_bytes} are allowed: send artifacts over HTTPS",
            Reason.TOO_LARGE,
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class UnknownVersion(WireError):
    """A protocol version this side does not speak."""

    def __init__(self, version: object) -> None:
        super().__init__(f"protocol version {version!r}; this side speaks 1", Reason.UNKNOWN_VERSION)


class Refused(WireError):
    """A well-formed document that is not acceptable; `problems` lists everything wrong with it."""

    def __init__(self, message: str, reason: Reason, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message, reason)
        self.problems = tuple(problems)


class NotTrusted(Refused):
    """Signature, device, revision or expiry do not hold."""
