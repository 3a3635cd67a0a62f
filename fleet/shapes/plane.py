"""What the API says of the control plane itself."""

from __future__ import annotations

from typing_extensions import TypedDict


class BrokerHealth(TypedDict):
    """The broker as the control plane sees it."""

    kind: str
    connected: bool
    restarts: int


class LagCounts(TypedDict):
    """How many messages were stored up to so many seconds after the device's stamp, by bucket; the last count is of older ones."""

    bounds_s: list[float]
    counts: list[int]


class IngestHealth(TypedDict):
    """Figures of what devices said, since the start of the process. `refused` counts by cause."""

    received: int
    events: int
    repeated: int
    refused: dict[str, int]
    write_retries: int
    lags: LagCounts


class ReplicaHealth(TypedDict):
    """Which of several control planes answers, and whether it does what only one may do."""

    name: str
    leads: bool


class RolloutEffort(TypedDict):
    """What deciding on rollouts takes this process, since its start."""

    decisions: int
    decision_mean_s: float
    decision_most_s: float


class KeeperHealth(TypedDict):
    """Who works on history, faults and alerts for the fleet: a process of its `own`, this one (`shared`), or `none` here. `restarts` of that process
    that nobody wanted; `behind_s`: how late the roll-up of history is."""

    process: str
    restarts: int
    behind_s: float


class PlaneHealth(TypedDict):
    """Whether the control plane works."""

    ok: bool
    broker: BrokerHealth
    replica: ReplicaHealth
    devices: int
    keeper: KeeperHealth
    rollouts: RolloutEffort
    ingest: IngestHealth
