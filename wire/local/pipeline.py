"""What a pipeline tells the agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wire.local.register import message


@message("pipeline-up")
@dataclass(frozen=True)
class PipelineUp:
    """The process runs and has compiled its binding."""

    pid: int


@message("camera-state")
@dataclass(frozen=True)
class CameraState:
    """`state` is opening, streaming, lost, ended or off (by plan); `reason` a reason code where it is not streaming.

    `decoder`: what decodes, where the source tells.
    """

    state: str
    reason: str = ""
    message: str = ""
    width: int = 0
    height: int = 0
    fps: float = 0.0
    decoder: str = ""


@dataclass(frozen=True)
class PictureFault:
    """Something wrong with a picture that comes, since then; `blind` where it shows nothing of what it should."""

    reason: str
    message: str
    since_mono: float
    blind: bool


@message("picture-state")
@dataclass(frozen=True)
class PictureState:
    """All faults of the camera's picture that are visible now; sent at each change."""

    faults: list[PictureFault] = field(default_factory=list)


@dataclass(frozen=True)
class BrokerAddress:
    """A broker other than the fleet's. `ca_file`: whose certificate signs the broker's; empty for the system's own."""

    host: str
    port: int
    username: str = ""
    password: str = field(default="", repr=False)
    tls: bool = False
    ca_file: str = ""


@message("publication")
@dataclass(frozen=True)
class Publication:
    """A message to keep and to publish. `number` is of the same row as that of events. Without `broker`, `topic` is below the
    device's own topics at the fleet's broker."""

    number: int
    id: str
    camera: str
    topic: str
    payload: str
    retain: bool = False
    broker: BrokerAddress | None = None


@message("prepared")
@dataclass(frozen=True)
class Prepared:
    ticket: str


@message("not-prepared")
@dataclass(frozen=True)
class NotPrepared:
    """`problems` are `wire.problem.Problem` as JSON."""

    ticket: str
    reason: str
    message: str
    problems: list[dict[str, Any]] = field(default_factory=list)


@message("switched")
@dataclass(frozen=True)
class Switched:
    """Sent once the first result of the new binding is out. `frames_lost`: source frames without a result meanwhile."""

    ticket: str
    last_frame_old: int
    first_frame_new: int
    frames_lost: int
    gap_ms: float
    longest_gap_ms: float
    frame_period_ms: float


@message("drained")
@dataclass(frozen=True)
class Drained:
    """No request to the engines of the former binding is under way any more; they may go."""

    ticket: str


@message("event")
@dataclass(frozen=True)
class Event:
    """A result to keep. `number` grows by one within a pipeline process; `id` is unique for ever."""

    number: int
    id: str
    camera: str
    body: dict[str, Any]


@dataclass(frozen=True)
class StepStats:
    """One step of the workflow. `runs` and `errors` count frames since the process started; times are microseconds a frame over the
    last 10 to 20 s, of the step itself, without waiting for a model."""

    runs: int
    errors: int
    mean_us: float
    max_us: float


@dataclass(frozen=True)
class SinkStats:
    """One sink since the process started: accepted = delivered + dropped + expired + dead + waiting. `error`: the last one,
    while it fails."""

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


SCORE_BINS = 16
LATENCY_FIRST_MS = 0.5
LATENCY_STEP = 1.15
LATENCY_BINS = 80


@dataclass(frozen=True)
class Sight:
    """What the models have found since the binding at work took over; a later one is at least as large in every figure.

    `asked`: frames that ended, of them `empty` without a detection and `unanswered` (by reason) without an answer. `run`: frames
    without a detection in a row, up to the newest. `scores`: detections by confidence, 16 equal bins from 0 to 1. `classes`:
    detections by class name, the most frequent ones, the rest under "". `latency`: frames by the time from capture to result;
    bin n reaches from `LATENCY_FIRST_MS` · `LATENCY_STEP`^n to the next. `counted`: whether the task knows detections or classes.
    """

    asked: int = 0
    empty: int = 0
    run: int = 0
    unanswered: dict[str, int] = field(default_factory=dict)
    scores: list[int] = field(default_factory=lambda: [0] * SCORE_BINS)
    classes: dict[str, int] = field(default_factory=dict)
    latency: dict[str, int] = field(default_factory=dict)
    counted: bool = False


@message("pipeline-stats")
@dataclass(frozen=True)
class PipelineStats:
    """Once a second. Counters since the process started; `latency_*` from capture to result over the last 10 s.

    `blind_s` is closed blind time by cause; `blind_cause`/`blind_since_mono` the interval still open.
    `first_result_mono` and `last_result_mono` are 0 before the first result. `steps` holds the slowest ones. `passed_over`:
    step → what to use in place of its block, which does not run on a device. `off_since_mono`: since then nothing is to be
    watched, by plan; 0 where the camera is on. `drift_ms`: by how much the stream's own clock has run ahead of this machine's
    since it was opened. `packets_lost`: on the way, since the stream was opened; `loss_share`: of those sent of late; None where
    nobody can tell. `brightness`: mean grey of the last picture looked at, from 0 to 1.
    """

    frames: int
    results: int
    no_answer: dict[str, int]
    skipped: dict[str, int]
    fps: float
    latency_p50_ms: float
    latency_p95_ms: float
    blind_s: dict[str, float]
    blind_cause: str
    blind_since_mono: float
    first_result_mono: float
    last_result_mono: float
    events: int
    events_dropped: int
    step_errors: dict[str, int]
    step_messages: dict[str, str]
    summary: dict[str, Any]
    models: dict[str, str]
    workflow_digest: str
    revision: int
    steps: dict[str, StepStats] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    off_since_mono: float = 0.0
    drift_ms: float | None = None
    sinks: dict[str, SinkStats] = field(default_factory=dict)
    sight: Sight | None = None
    packets_lost: int | None = None
    loss_share: float | None = None
    brightness: float | None = None


@message("snapshot-taken")
@dataclass(frozen=True)
class SnapshotTaken:
    """`path` is empty and `message` and `reason` say why where there is no frame, or none may leave. `frame_width`, `frame_height`: of the
    camera's own frame in pixels, which the picture may be smaller than; 0 where not known."""

    rid: str
    path: str
    message: str = ""
    frame_seq: int = -1
    reason: str = ""
    frame_width: int = 0
    frame_height: int = 0


@message("clip-taken")
@dataclass(frozen=True)
class ClipTaken:
    """A clip that was asked for, or that belongs to an event; the file at `path` is the agent's from now on. `path` is empty and
    `message` and `reason` say why where there is none. `purpose`: how far it may go, device or fleet."""

    rid: str
    path: str = ""
    media_type: str = ""
    width: int = 0
    height: int = 0
    frames: int = 0
    from_wall: float = 0.0
    to_wall: float = 0.0
    message: str = ""
    reason: str = ""
    purpose: str = "device"
    event: bool = False


@message("sample-taken")
@dataclass(frozen=True)
class SampleTaken:
    """A picture for re-training, packed as `wire.picture` has it; the file at `path` is the agent's from now on."""

    rid: str
    path: str


Taken: TypeAlias = ClipTaken | SampleTaken
