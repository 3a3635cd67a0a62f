"""The figures of a benchmark of one model on one machine: what `bench` answers, and what the control plane keeps.

Times are in milliseconds. None is a figure that the machine does not tell; the field beside it says why.
"""

from __future__ import annotations

from pydantic import Field

from wire.doc import Doc

COMMAND = "bench"


class Latency(Doc):
    """Of requests, from before the resize until the decoded answer is read."""

    p50: float | None
    p95: float | None
    p99: float | None
    requests: int


class BatchFigures(Doc):
    """Requests of several images, one request at a time."""

    batch: int
    images_per_s: float
    latency_ms: Latency


class CameraFigures(Doc):
    """Cameras side by side, each as fast as it is answered, two requests of one frame under way."""

    cameras: int
    frames_per_s: float
    latency_ms: Latency
    engine_cpu_ms_per_frame: float | None = None


class Hardware(Doc):
    name: str = Field(max_length=256)
    cpu: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    gpus: list[str] = Field(default_factory=list)
    arch: str = ""


class SplitFigures(Doc):
    """Pictures a second with all runs busy, and how long a lone picture takes."""

    per_s: float
    lone_ms: float


class EngineUsed(Doc):
    """Which engine it was; `provider` and `device` as far as the engine has such a thing. `threads` of each of `runs_at_once`;
    `splits`: what other splits of the processors served, by `threads x runs`, where they were tried."""

    engine: str = Field(max_length=64)
    version: str = ""
    provider: str = ""
    device: str = ""
    precision: str = ""
    threads: int = 0
    runs_at_once: int = 0
    splits: dict[str, SplitFigures] = Field(default_factory=dict, max_length=16)


class Memory(Doc):
    """Of the engine process."""

    rss_bytes: int
    peak_rss_bytes: int
    gpu_bytes: int | None = None
    gpu_reason: str = ""


class Energy(Doc):
    """Of one camera at full pace. `covers` says what was metered: whole packages, GPUs or boards, idle included."""

    joules_per_frame: float | None = None
    watts: float | None = None
    covers: str | None = None
    reason: str = ""


class Frame(Doc):
    width: int
    height: int
    content: str = ""


class BenchFigures(Doc):
    """`digest`: of the model package. `load_1m_before`: the machine's load before the start, `seconds` each measurement took."""

    schema_: int = Field(alias="schema", default=1)
    model: str = Field(max_length=128)
    digest: str = Field(max_length=71)
    family: str = ""
    task: str = ""
    input: list[int] = Field(default_factory=list)
    hardware: Hardware
    engine: EngineUsed
    frame: Frame
    load_s: float
    load_1m_before: float = 0.0
    seconds: float
    latency_ms: Latency
    batches: list[BatchFigures] = Field(default_factory=list)
    cameras: list[CameraFigures] = Field(default_factory=list)
    memory: Memory
    energy: Energy
    notes: list[str] = Field(default_factory=list)


class BenchOrder(Doc):
    """The arguments of the command. `model`: a name of the running desired state, or a digest the device holds.

    Empty fields are those of the desired state. `seconds`: of each measurement; `deadline_s`: of the whole, loading included.
    """

    model: str = Field(min_length=1, max_length=128)
    engine: str = Field(default="", max_length=64)
    precision: str = Field(default="", max_length=16)
    threads: int | None = Field(default=None, ge=0, le=256)
    batches: list[int] = Field(default_factory=lambda: [1, 4, 8], max_length=16)
    cameras: list[int] = Field(default_factory=lambda: [1, 2, 4], max_length=16)
    seconds: float = Field(default=3.0, ge=0.2, le=60.0)
    deadline_s: float = Field(default=240.0, ge=5.0, le=3600.0)
