"""Errors of the agent. The leaf says what the caller does next; `reason` is the code to report.

AgentError
├── Transient          try again later: the network, the control plane or a child is not there just now
│   └── Disconnected       the link to the broker is down: the outbox keeps the message
├── Refused            bad input: report and stop
│   ├── ConfigRefused      the configuration file, with every problem
│   ├── EnrolRefused       the control plane does not accept the token
│   ├── MetadataRefused    trust metadata that cannot be believed, or is past its end
│   ├── ArtifactRefused    missing, corrupt, or no room for it
│   └── UpdateRefused      a revision that cannot be made to run; the old one keeps serving
└── Degraded           go on without this part: a snapshot, a figure
"""

from __future__ import annotations

from collections.abc import Sequence

from wire.problem import Problem
from wire.reasons import Reason


class AgentError(Exception):
    """The base of all. `reason` is a code of the closed list; `problems` are located, where there are several."""

    def __init__(self, reason: Reason, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.problems = tuple(problems)


class Transient(AgentError):
    """Try again later."""


class Disconnected(Transient):
    """The link to the broker is down."""

    def __init__(self, message: str = "not connected to the broker; the outbox keeps the message") -> None:
        super().__init__(Reason.BROKER_UNAVAILABLE, message)


class Refused(AgentError):
    """Bad input: report and stop; trying again cannot help."""


class ConfigRefused(Refused):
    """The configuration file is wrong."""


class EnrolRefused(Refused):
    """The control plane does not accept the enrolment."""


class MetadataRefused(Refused):
    """Trust metadata that cannot be believed: nothing new is accepted, what runs goes on."""


class ArtifactRefused(Refused):
    """An artifact that cannot be had or does not match its digest."""


class UpdateRefused(Refused):
    """A revision that cannot be made to run."""


class Degraded(AgentError):
    """Go on without this part."""
