"""The health document of a device, sent every 30 s.

Blind time: the seconds in which a camera should have been watched and was not, by cause (reason code).
"""

from __future__ import annotations

from pydantic import Field

from wire.doc import Doc


class Host(Doc):
    """Load and memory of the machine and of Outrider's own processes."""

    uptime_s: float
    cpu_percent: float
    cpu_count: int
    load_1m: float
    memory_total_bytes: int
    memory_available_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    temperature_celsius: float | None = None
    agent_rss_bytes: int = 0
    written_bytes_per_day: float | None = None


class Accelerator(Doc):
    """One GPU."""

    name: str
    driver: str = ""
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    utilisation_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None


class BlindNow(Doc):
    cause: str
    for_s: float


class StepHealth(Doc):
    """One step of a workflow. `runs` and `errors` count frames since the pipeline process started; microseconds a frame, lately."""

    runs: int = 0
    errors: int = 0
    mean_us: float = 0.0
    max_us: float = 0.0


class SinkHealth(Doc):
    """One sink since the pipeline process started: accepted = delivered + dropped + expired + dead + waiting.

    `dropped`: gave way because too much waited; `expired`: too old; `dead`: refused, or tried too often; `throttled`: held back by
    the cool-down. `error`: why it fails, while it does.
    """

    accepted: int = 0
    delivered: int = 0
    retried: int = 0
    throttled: int = 0
    dropped: int = 0
    expired: int = 0
    dead: int = 0
    waiting: int = 0
    failing: bool = False
    error: str = ""


class CameraFault(Doc):
    """Something wrong with a picture that comes. `blind`: it shows nothing of what it should."""

    reason: str
    message: str = ""
    for_s: float = 0.0
    blind: bool = False


class Relief(Doc):
    """The device is under stress: the camera's frames are worked on in this share only."""

    share: float
    reason: str


class SightHealth(Doc):
    """What the models have found since the binding at work took over: `asked` frames, of them `empty` without a detection;
    detections by confidence (`scores`, equal bins from 0 to 1) and by class. Only of tasks that know detections or classes."""

    asked: int = 0
    empty: int = 0
    scores: tuple[int, ...] = ()
    classes: dict[str, int] = Field(default_factory=dict)


class CameraHealth(Doc):
    """One camera since its pipeline was defined. Frame counters: frames = results + sum(no_answer) + sum(skipped) + in flight.

    `blind_s` since then, `blind_hour_s` in the last hour, open interval included; both seconds by cause. `decoder`: what
    decodes. `drift_ms`: by how much the stream's own clock has run ahead of the device's since the stream was opened. `brightness`: of the last picture
    looked at, mean grey from 0 to 1. `packets_lost` (of UDP) since
    then, `loss_share` of those that the camera sent between its last two reports; None where that is not known.
    """

    state: str
    pipeline: str
    pid: int | None = None
    fps: float = 0.0
    frames: int = 0
    results: int = 0
    no_answer: dict[str, int] = Field(default_factory=dict)
    skipped: dict[str, int] = Field(default_factory=dict)
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    blind_s: dict[str, float] = Field(default_factory=dict)
    blind_now: BlindNow | None = None
    blind_hour_s: dict[str, float] = Field(default_factory=dict)
    faults: tuple[CameraFault, ...] = ()
    relief: Relief | None = None
    decoder: str = ""
    drift_ms: float | None = None
    brightness: float | None = None
    packets_lost: int | None = None
    loss_share: float | None = None
    restarts: int = 0
    events: int = 0
    events_dropped: int = 0
    step_errors: dict[str, int] = Field(default_factory=dict)
    steps: dict[str, StepHealth] = Field(default_factory=dict)
    passed_over: dict[str, str] = Field(default_factory=dict)
    sinks: dict[str, SinkHealth] = Field(default_factory=dict)
    rss_bytes: int = 0
    models: dict[str, str] = Field(default_factory=dict)
    workflow: str | None = None
    sight: SightHealth | None = None


class ModelHealth(Doc):
    """One loaded model version."""

    digest: str
    state: str
    engine: str = ""
    pid: int | None = None
    requests: int = 0
    errors: int = 0
    infer_p50_ms: float | None = None
    infer_p95_ms: float | None = None
    batch_mean: float | None = None
    restarts: int = 0
    rss_bytes: int = 0


class OutboxHealth(Doc):
    rows: int
    bytes: int
    dropped: dict[str, int] = Field(default_factory=dict)


class Health(Doc):
    revision: int
    agent_uptime_s: float
    host: Host
    accelerators: tuple[Accelerator, ...] = ()
    cameras: dict[str, CameraHealth] = Field(default_factory=dict)
    models: dict[str, ModelHealth] = Field(default_factory=dict)
    outbox: OutboxHealth | None = None
    relays: dict[str, OutboxHealth] = Field(default_factory=dict)
    """Messages of workflows that wait for other brokers, by host and port."""
