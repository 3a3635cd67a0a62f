"""Errors of the runtime. The leaf says what the caller does next; `reason` is the code to report.

RuntimeFault
├── Transient          try again: the camera is off, the engine restarts
│   └── LinkFull           the agent does not read its link: keep the message, send it later
├── Refused            bad input: report and stop
│   ├── ModelRefused       a package, graph or golden check that cannot serve
│   ├── WorkflowRefused    a definition with problems, all of them listed
│   └── SourceRefused      a camera source of no known form
└── Degraded           go on without this part: a step failed, a snapshot could not be written
"""

from __future__ import annotations

from collections.abc import Sequence

from wire.problem import Problem
from wire.reasons import Reason


class RuntimeFault(Exception):
    """The base of all. `reason` is a code of the closed list; `problems` are located, where there are several."""

    def __init__(self, reason: Reason, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.problems = tuple(problems)


class Transient(RuntimeFault):
    """Try again."""


class LinkFull(Transient):
    """The agent has not read its link for so long that the bounded buffer is full."""

    def __init__(self, pending_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            Reason.AGENT_DOWN,
            f"the agent has not read {pending_bytes} bytes of its link, at most {limit_bytes} are kept: send later",
        )
        self.pending_bytes = pending_bytes
        self.limit_bytes = limit_bytes


class Refused(RuntimeFault):
    """Bad input: report and stop; trying again cannot help."""


class ModelRefused(Refused):
    """A model package that cannot serve."""


class WorkflowRefused(Refused):
    """A workflow definition that cannot run."""


class SourceRefused(Refused):
    """A camera source that cannot be understood."""


class Degraded(RuntimeFault):
    """Go on without this part."""
