"""Comparing a second model with the one at work on a camera's live frames: the order, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from wire.local.orders import ModelBinding
from wire.local.pipeline import SCORE_BINS
from wire.local.register import message


@message("compare")
@dataclass(frozen=True)
class Compare:
    """Ask the engines named by `models` (by the workflow's `model_id`) about some of the camera's pictures too, at most `per_s` a
    second, and compare their answers with those at work. Nothing of it reaches the workflow. Ends after `frames` compared
    frames or after `for_s`; 0 means without end."""

    ticket: str
    models: dict[str, ModelBinding]
    per_s: float
    frames: int = 0
    for_s: float = 0.0


@message("end-compare")
@dataclass(frozen=True)
class EndCompare:
    """Ask them no more; the last figures come as `Compared`."""

    ticket: str


@dataclass(frozen=True)
class Likeness:
    """How two models answered about the same pictures: `live` is the one at work, `other` the second one.

    `compared`: pictures both answered; `unanswered`: by reason, where the second did not. `live_sure`: pictures in which the one
    at work saw something with confidence, of which the second saw nothing at all in `other_blank`; the reverse in `other_sure`
    and `live_blank`. Objects: `live_objects`, `other_objects`, of which `matched` are the same (one class, IoU of 0.5 or more);
    `iou_sum` and `score_sum` (second less the first) over those; `oks_sum` over `oks_count` of them that have keypoints. `same_sum`:
    for answers about the whole picture, the share of it that agrees. `blank_run`: pictures of `other_blank` in a row, up to the
    newest of `live_sure`.
    """

    task: str = ""
    compared: int = 0
    unanswered: dict[str, int] = field(default_factory=dict)
    live_sure: int = 0
    other_blank: int = 0
    other_sure: int = 0
    live_blank: int = 0
    blank_run: int = 0
    live_objects: int = 0
    other_objects: int = 0
    matched: int = 0
    iou_sum: float = 0.0
    score_sum: float = 0.0
    oks_sum: float = 0.0
    oks_count: int = 0
    same_sum: float = 0.0
    same_count: int = 0
    live_scores: list[int] = field(default_factory=lambda: [0] * SCORE_BINS)
    other_scores: list[int] = field(default_factory=lambda: [0] * SCORE_BINS)
    live_classes: dict[str, int] = field(default_factory=dict)
    other_classes: dict[str, int] = field(default_factory=dict)
    round_trip_ms: float = 0.0


@message("compared")
@dataclass(frozen=True)
class Compared:
    """Once a second while it lasts, and at the end (`done`). `passed_over`: pictures whose turn it was while the second engine
    was still at work, or frames waited. `trouble`: why nothing can be compared, in words."""

    ticket: str
    done: bool
    passed_over: int
    models: dict[str, Likeness] = field(default_factory=dict)
    trouble: str = ""
