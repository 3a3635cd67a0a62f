"""Errors of the control plane. The leaf says what the caller does next; `reason` is the code to report.

FleetError
├── Refused              bad input: correct it, the problems are listed
│   └── TooMuch              over a limit of the API
├── NotAuthenticated     no valid token
├── NotAllowed           a valid token without the right
├── NotFound             no such thing
├── Taken                the name or state conflicts with what is there
├── Overtaken            it is not any more what the caller has read: read it again
├── Throttled            too many attempts: wait `retry_after_s`
├── Transient            try again: a device or the broker did not answer in time
└── Misconfigured        the data directory or its configuration cannot be used: the process ends
"""

from __future__ import annotations

from collections.abc import Sequence

from wire.problem import Problem
from wire.reasons import Reason


class FleetError(Exception):
    """The base of all. `status` is the HTTP status it becomes; `problems` are located where there are several."""

    status = 500

    def __init__(self, reason: Reason, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.problems = tuple(problems)


class Refused(FleetError):
    """Bad input; trying again cannot help."""

    status = 422


class TooMuch(Refused):
    """A body over its limit."""

    status = 413


class NotAuthenticated(FleetError):
    """No valid token."""

    status = 401


class NotAllowed(FleetError):
    """A valid token without the right."""

    status = 403


class NotFound(FleetError):
    """No such thing. `kind` is device, model, workflow or object."""

    status = 404

    def __init__(self, kind: str, name: str, remedy: str = "") -> None:
        message = f"no {kind} is called {name!r}" + (f"; {remedy}" if remedy else "")
        super().__init__(Reason.NOT_FOUND, message)
        self.kind = kind
        self.name = name


class Taken(FleetError):
    """The name or state conflicts with what is there."""

    status = 409


class Overtaken(FleetError):
    """Not any more what the caller has read."""

    status = 412


class Throttled(FleetError):
    """Too many attempts."""

    status = 429

    def __init__(self, reason: Reason, message: str, retry_after_s: float) -> None:
        super().__init__(reason, message)
        self.retry_after_s = retry_after_s


class Transient(FleetError):
    """Try again."""

    status = 503


class NoResponse(Transient):
    """A device did not answer before the deadline."""

    status = 504


class Misconfigured(FleetError):
    """The data directory or its configuration cannot be used."""
