"""The limits a change is judged by while it is on probation. Each has a default that suits a like model in place of another."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wire.doc import Doc

GateName = Literal[
    "inference-errors",
    "engine-restarts",
    "empty-output",
    "frame-rate",
    "latency",
    "memory",
    "temperature",
    "throttling",
    "confidence",
    "class-mix",
]


class Gates(Doc):
    """`min_frames`: so many frames of each changed camera are judged before a commit, and at most `patience_s` are waited for them.

    `error_share`: frames without an answer. `empty_share`: of the pictures in which the former model is sure to see something,
    those in which the new one sees nothing. `rate_share`: least share of the former frame rate. `latency_ratio`: p95 from
    capture to result over the former one, beyond `latency_slack_ms`. `memory_bytes`: growth of an engine process, or a quarter of
    its size where that is more. `celsius`: of the processor, where it was cooler before. `psi`: change of the distribution of
    confidence, or of classes, that is told as a warning; with `drift` as `roll-back` it rolls back. `off`: gates that are not judged.
    """

    min_frames: int = Field(default=200, ge=1, le=1_000_000)
    patience_s: float = Field(default=60.0, ge=1.0, le=86400.0)
    error_share: float = Field(default=0.02, ge=0.0, le=1.0)
    empty_share: float = Field(default=0.9, gt=0.0, le=1.0)
    rate_share: float = Field(default=0.8, ge=0.0, le=1.0)
    latency_ratio: float = Field(default=1.3, ge=1.0, le=1000.0)
    latency_slack_ms: float = Field(default=2.0, ge=0.0, le=60_000.0)
    memory_bytes: int = Field(default=64 * 1024 * 1024, ge=1024 * 1024)
    celsius: float = Field(default=85.0, ge=0.0, le=150.0)
    psi: float = Field(default=0.25, gt=0.0)
    drift: Literal["warn", "roll-back"] = "warn"
    off: tuple[GateName, ...] = ()
