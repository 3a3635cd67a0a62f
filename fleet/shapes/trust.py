"""What the API says of keys and trust metadata."""

from __future__ import annotations

from typing_extensions import TypedDict


class TrustKeyView(TypedDict):
    """A key by its id; `online` where the control plane holds it."""

    id: str
    online: bool


class TrustRoleView(TypedDict):
    """A role, or a group of delegated ones: its newest version, when the first of it ends, who may sign."""

    role: str
    version: int | None
    expires_at: float | None
    threshold: int
    keys: list[TrustKeyView]


class TrustWarning(TypedDict):
    """Something to be put right. `what` names a role."""

    what: str
    message: str
    remedy: str


class TrustStatus(TypedDict):
    """Every role, the roles that wait for signatures, and warnings."""

    roles: list[TrustRoleView]
    waiting: list[str]
    warnings: list[TrustWarning]


class TrustWaiting(TypedDict):
    """The roles that still wait for signatures."""

    waiting: list[str]


class TrustInForce(TrustWaiting):
    """The roles that came into force."""

    in_force: list[str]


class TrustRevoked(TrustWaiting):
    """The roles that lose a key."""

    roles: list[str]
