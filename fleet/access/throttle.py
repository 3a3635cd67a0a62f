"""How failed sign-ins slow the next ones down: by name and address together, by address, and by name. Pure.

A few failures are free. Then each doubles the wait. The bound for a name alone is wide, so that a stranger cannot lock somebody
out from elsewhere with a handful of guesses, and yet guessing from many addresses comes to nothing.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

FIRST_WAIT_S = 15.0
LONGEST_WAIT_S = 900.0
FORGOTTEN_S = 3600.0
"""A quiet hour, and the failures before it count no more."""


@dataclass(frozen=True)
class Failures:
    """How many, and when the last was."""

    count: int = 0
    last_at: float = 0.0


@dataclass(frozen=True)
class Scope:
    """What is counted: `key` without the names themselves, and how many failures are free."""

    key: str
    free: int


def scopes(name: str, address: str) -> tuple[Scope, ...]:
    """What a sign-in as `name` from `address` is counted under."""
    return (
        Scope(_key("both", f"{name}\0{address}"), 5),
        Scope(_key("address", address), 25),
        Scope(_key("name", name), 60),
    )


def _key(kind: str, text: str) -> str:
    return hashlib.sha256(f"{kind}\0{text}".encode()).hexdigest()


def wait_s(failures: Failures, free: int, at: float) -> float:
    """How long the next attempt must still wait; 0 where it need not."""
    over = failures.count - free
    if over < 0 or at - failures.last_at >= FORGOTTEN_S:
        return 0.0
    pause_s = min(FIRST_WAIT_S * 2.0 ** min(over, 20), LONGEST_WAIT_S)
    return max(0.0, failures.last_at + pause_s - at)


def after(failures: Failures, at: float) -> Failures:
    """With one failure more."""
    forgotten = at - failures.last_at >= FORGOTTEN_S
    return Failures(1 if forgotten else failures.count + 1, at)
