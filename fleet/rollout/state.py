"""How far a rollout has come: its phase, its wave, and one member for each device."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class Phase(str, Enum):
    """RUNNING tells devices; PAUSED and AWAITING_APPROVAL wait for a person; the last three are ends."""

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    ROLLING_BACK = "ROLLING_BACK"
    DONE = "DONE"
    ABORTED = "ABORTED"
    ROLLED_BACK = "ROLLED_BACK"


ENDS = frozenset({Phase.DONE, Phase.ABORTED, Phase.ROLLED_BACK})


class Status(str, Enum):
    """Of one device in one rollout."""

    WAITING = "waiting"
    """Has not been told."""
    TOLD = "told"
    """Its desired state has the change; it has not come to an end."""
    DONE = "done"
    FAILED = "failed"
    EXCUSED = "excused"
    """Offline for too long: not counted until it is back."""
    OVERTAKEN = "overtaken"
    """Somebody has given it another desired state since: the newest wins."""
    PASSED_OVER = "passed-over"
    """Failed, and a person let the rollout go on without it."""
    RETURNING = "returning"
    """Has been told to go back."""
    RETURNED = "returned"


UNCOUNTED = frozenset({Status.EXCUSED, Status.OVERTAKEN, Status.PASSED_OVER})
"""Not in the number of devices of which a wave takes its share, nor among those it has reached."""


@dataclass(frozen=True)
class Member:
    """`revision` is the desired revision that carries the change (or the way back), `former` the one before the change. Times are wall
    clock seconds; `since` is when the status was taken on; `offline_since` when it was first seen offline."""

    device: str
    status: Status = Status.WAITING
    since: float = 0.0
    offline_since: float | None = None
    attempts: int = 0
    told_at: float | None = None
    revision: int = 0
    former: int = 0
    back: bool = False
    """Its newest desired state is the way back."""
    reason: str = ""
    message: str = ""

    @property
    def told(self) -> bool:
        """Whether it has been told at least once."""
        return self.revision > 0

    @property
    def counted(self) -> bool:
        return self.status not in UNCOUNTED


@dataclass(frozen=True)
class State:
    """`wave` counts from 0. `settled_at` is when the wave's last device came to its end, None while one has not. `approved` is the number of
    waves that a person has let pass. `judged` is the gate that stopped it, or what is waited for, in words."""

    phase: Phase = Phase.RUNNING
    wave: int = 0
    since: float = 0.0
    settled_at: float | None = None
    approved: int = 0
    judged: str = ""
    members: dict[str, Member] = field(default_factory=dict)

    def count(self, *statuses: Status) -> int:
        return sum(member.status in statuses for member in self.members.values())


@dataclass(frozen=True)
class Seen:
    """What is known of a device now. `newest` is the newest desired revision it was given, by whomever; `revision`, `offered`, `phase`, `reason`
    and `message` are of its reported state."""

    online: bool
    newest: int = 0
    revision: int = 0
    offered: int = 0
    phase: str = ""
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Figures:
    """One figure of the devices with the change and of those without: medians, and of how many devices."""

    treated: float | None
    control: float | None
    treated_devices: int = 0
    control_devices: int = 0
