"""What agent and engine process tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wire.local.register import message


@dataclass(frozen=True)
class EngineModel:
    """A package to load, checked out at `package`."""

    name: str
    digest: str
    package: str


@message("load")
@dataclass(frozen=True)
class Load:
    """First message to an engine process: load these models, warm and check them, then listen on `socket`. `measure_s`: how long it may
    try how threads are best split, where `threads` is 0 and this machine has not tried yet."""

    models: list[EngineModel]
    socket: str
    engine: str = "auto"
    threads: int = 0
    spinning: bool = False
    max_batch: int = 8
    cache_dir: str = ""
    precision: str = ""
    measure_s: float = 1.0


@message("unload")
@dataclass(frozen=True)
class Unload:
    """Drop one model of a shared process once no pipeline uses it."""

    digest: str


@message("engine-phase")
@dataclass(frozen=True)
class EnginePhase:
    """`phase` is loading, warming or checking."""

    digest: str
    phase: str


@message("engine-up")
@dataclass(frozen=True)
class EngineUp:
    """Every model is loaded, warm and checked; the socket accepts pipelines. `info` is for people (provider, shapes …)."""

    pid: int
    load_s: float
    warm_s: float
    check_s: float
    info: dict[str, Any]


@message("engine-refused")
@dataclass(frozen=True)
class EngineRefused:
    """A model cannot serve, or, while it served, could no more (`digest` is then empty); the process ends after this message.
    `transient` where a retry may help."""

    digest: str
    reason: str
    message: str
    transient: bool = False


@message("engine-stats")
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
