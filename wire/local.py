"""Messages between the agent and its children, one JSON object a line over an inherited UNIX stream socket.

Both ends are always of the same version, so these are plain dataclasses: an unknown kind or field is an error. Nothing
heavy is imported here, because a pipeline process pays for every megabyte. Times named `*_mono` are seconds of
CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

from wire.camera import Care
from wire.errors import Malformed

MAX_LINE_BYTES = 1024 * 1024
"""A line longer than this is refused: events are limited to 256 KiB by the broker's side anyway."""

M = TypeVar("M")
_KINDS: dict[str, type[Any]] = {}
_NAMES: dict[type[Any], str] = {}


def _message(kind: str) -> Any:
    def register(cls: type[M]) -> type[M]:
        _KINDS[kind] = cls
        _NAMES[cls] = kind
        return cls

    return register


# --- what the agent tells a pipeline ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class CameraSource:
    """A camera as the pipeline opens it. The fields are those of `wire.desired.Camera`; `pace` is resolved."""

    name: str
    source: str
    pace: str
    fps: float = 0.0
    loop: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    care: Care = field(default_factory=Care)


@dataclass(frozen=True)
class ModelBinding:
    """A model a workflow uses: the package's name and digest, and the UNIX socket of the engine process that serves it."""

    name: str
    digest: str
    socket: str


@dataclass(frozen=True)
class Binding:
    """All that a swap replaces at once. `models` is keyed by the workflow's `model_id`. `skip_cloud_blocks`: blocks that do not
    run on a device are passed over."""

    revision: int
    workflow: str
    workflow_digest: str
    workflow_path: str
    models: dict[str, ModelBinding] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    send: str = "changes"
    min_interval_s: float = 1.0
    skip_cloud_blocks: bool = False


@_message("start")
@dataclass(frozen=True)
class Start:
    """First message to a pipeline. `run_dir` is for snapshots. `allow_code`: the device's own configuration file lets Python run
    that a definition brings. `files_dir`: below it sinks write files; `secrets_dir`: the device's secrets, one a file;
    `fleet_secrets_dir`: those of the desired state, for names that are not there."""

    pipeline: str
    camera: CameraSource
    binding: Binding
    run_dir: str
    allow_code: bool = False
    files_dir: str = ""
    secrets_dir: str = ""
    fleet_secrets_dir: str = ""


@_message("prepare")
@dataclass(frozen=True)
class Prepare:
    """Attach to the engines and compile the workflow, off to the side; answer Prepared or NotPrepared."""

    ticket: str
    binding: Binding


@_message("commit")
@dataclass(frozen=True)
class Commit:
    """Switch to the prepared binding between two frames; answer Switched."""

    ticket: str


@_message("abandon")
@dataclass(frozen=True)
class Abandon:
    """Forget the prepared binding."""

    ticket: str


@_message("events-kept")
@dataclass(frozen=True)
class EventsKept:
    """The agent has committed every event up to and including this number."""

    number: int


@_message("take-snapshot")
@dataclass(frozen=True)
class TakeSnapshot:
    """Write the newest frame as JPEG, annotated where asked; answer SnapshotTaken. `purpose`: who gets it, device or fleet."""

    rid: str
    annotated: bool = True
    max_width_px: int = 1280
    purpose: str = "device"


@_message("relieve")
@dataclass(frozen=True)
class Relieve:
    """The device is under stress: work on at most this share of the camera's frames, 1 for all; `reason` is why."""

    share: float
    reason: str = ""


@_message("stop")
@dataclass(frozen=True)
class Stop:
    """End in good order."""


# --- what a pipeline tells the agent ----------------------------------------------------------------------------------


@_message("pipeline-up")
@dataclass(frozen=True)
class PipelineUp:
    """The process runs and has compiled its binding."""

    pid: int


@_message("camera-state")
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


@_message("picture-state")
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


@_message("publication")
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


@_message("prepared")
@dataclass(frozen=True)
class Prepared:
    ticket: str


@_message("not-prepared")
@dataclass(frozen=True)
class NotPrepared:
    """`problems` are `wire.problem.Problem` as JSON."""

    ticket: str
    reason: str
    message: str
    problems: list[dict[str, Any]] = field(default_factory=list)


@_message("switched")
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


@_message("drained")
@dataclass(frozen=True)
class Drained:
    """No request to the engines of the former binding is under way any more; they may go."""

    ticket: str


@_message("event")
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


@_message("pipeline-stats")
@dataclass(frozen=True)
class PipelineStats:
    """Once a second. Counters since the process started; `latency_*` from capture to result over the last 10 s.

    `blind_s` is closed blind time by cause; `blind_cause`/`blind_since_mono` the interval still open.
    `first_result_mono` and `last_result_mono` are 0 before the first result. `steps` holds the slowest ones. `passed_over`:
    step → what to use in place of its block, which does not run on a device. `off_since_mono`: since then nothing is to be
    watched, by plan; 0 where the camera is on. `drift_ms`: by how much the stream's own clock has run ahead of this machine's
    since it was opened.
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


@_message("snapshot-taken")
@dataclass(frozen=True)
class SnapshotTaken:
    """`path` is empty and `message` and `reason` say why where there is no frame, or none may leave."""

    rid: str
    path: str
    message: str = ""
    frame_seq: int = -1
    reason: str = ""


# --- between agent and engine process ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class EngineModel:
    """A package to load, checked out at `package`."""

    name: str
    digest: str
    package: str


@_message("load")
@dataclass(frozen=True)
class Load:
    """First message to an engine process: load these models, warm and check them, then listen on `socket`."""

    models: list[EngineModel]
    socket: str
    engine: str = "auto"
    threads: int = 0
    spinning: bool = False
    max_batch: int = 8
    cache_dir: str = ""
    precision: str = ""


@_message("unload")
@dataclass(frozen=True)
class Unload:
    """Drop one model of a shared process once no pipeline uses it."""

    digest: str


@_message("engine-phase")
@dataclass(frozen=True)
class EnginePhase:
    """`phase` is loading, warming or checking."""

    digest: str
    phase: str


@_message("engine-up")
@dataclass(frozen=True)
class EngineUp:
    """Every model is loaded, warm and checked; the socket accepts pipelines. `info` is for people (provider, shapes …)."""

    pid: int
    load_s: float
    warm_s: float
    check_s: float
    info: dict[str, Any]


@_message("engine-refused")
@dataclass(frozen=True)
class EngineRefused:
    """The model cannot serve; the process ends after this message. `transient` where a retry may help."""

    digest: str
    reason: str
    message: str
    transient: bool = False


@_message("engine-stats")
@dataclass(frozen=True)
class EngineStats:
    """Once a second and from the serving loop itself, so that silence means a hung engine. `busy_s`: age of the oldest request that waits.

    `requests` and `errors` count tensors (a crop is one), `batches` runs of the model.
    """

    requests: int
    batches: int
    errors: int
    infer_p50_ms: float
    infer_p95_ms: float
    attached: int
    busy_s: float
    rss_bytes: int


# --- one-shot children: `python -m runtime.check`, `python -m runtime.workflow.check` -----------------------------------


@_message("check-result")
@dataclass(frozen=True)
class CheckResult:
    """The verdict of a one-shot check, the only line it prints. `card` describes what was accepted (task, labels, inputs …)."""

    ok: bool
    reason: str = ""
    message: str = ""
    problems: list[dict[str, Any]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


@_message("bench-result")
@dataclass(frozen=True)
class BenchResult:
    """What a one-shot benchmark says, the only line it prints. `figures` are those of `wire.bench.BenchFigures`."""

    ok: bool
    reason: str = ""
    message: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


Message: TypeAlias = (
    Start
    | Prepare
    | Commit
    | Abandon
    | EventsKept
    | TakeSnapshot
    | Relieve
    | Stop
    | PipelineUp
    | CameraState
    | PictureState
    | Prepared
    | NotPrepared
    | Switched
    | Drained
    | Event
    | Publication
    | PipelineStats
    | SnapshotTaken
    | Load
    | Unload
    | EnginePhase
    | EngineUp
    | EngineRefused
    | EngineStats
    | CheckResult
    | BenchResult
)


def encode(message: Message) -> bytes:
    """One line, newline included."""
    body = {"kind": _NAMES[type(message)], **dataclasses.asdict(message)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line.

    :raises Malformed: not a local message
    """
    try:
        body = json.loads(line)
        cls = _KINDS[body.pop("kind")]
        return typing.cast("Message", _build(cls, body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise Malformed(f"not a local message: {line[:120]!r}: {e}") from e


def _build(cls: type[Any], body: dict[str, Any]) -> Any:
    hints = _hints(cls)
    return cls(**{name: _value(hints[name], value) for name, value in body.items()})


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType) and isinstance(value, dict):
        return _value(next(each for each in typing.get_args(hint) if dataclasses.is_dataclass(each)), value)
    if origin is list:
        (inner,) = typing.get_args(hint)
        return [_value(inner, item) for item in value]
    if origin is dict:
        _, inner = typing.get_args(hint)
        return {key: _value(inner, item) for key, item in value.items()}
    return value


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


class Lines:
    """Cuts a byte stream into lines; keeps the unfinished rest."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """:raises Malformed: a line grows beyond `MAX_LINE_BYTES`"""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        if len(rest) > MAX_LINE_BYTES:
            raise Malformed(f"a line of more than {MAX_LINE_BYTES} bytes")
        return lines
