"""What a sink's far end is to the worker: something that takes one parcel after the other."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

from runtime.errors import Refused
from wire.reasons import Reason


class Undelivered(Exception):
    """The parcel did not arrive. `again`: trying once more may help."""

    def __init__(self, message: str, *, again: bool = True) -> None:
        super().__init__(message)
        self.again = again


class Sender(Protocol):
    """One far end. Called by one thread at a time, which may be another one each time."""

    def send(self, body: Any) -> Any:
        """Deliver; what comes back goes to whoever waits for it.

        :raises Undelivered: it did not arrive; any other exception counts as one that may be tried again
        """

    def close(self) -> None:
        """Let connections go."""


class Calling:
    """A function as a sender that keeps no connection."""

    def __init__(self, send: Callable[[Any], Any]) -> None:
        self.send = send

    def close(self) -> None:
        """Nothing to let go."""


def require(library: str, step: str, extra: str = "sinks") -> None:
    """Make sure that a library is installed, without importing it.

    :raises Refused: LIBRARY_MISSING
    """
    if importlib.util.find_spec(library) is None:
        raise Refused(
            Reason.LIBRARY_MISSING,
            f"step {step!r} needs the library {library}, which is not installed here: pip install 'outrider[{extra}]'",
        )
