"""What the API says of rollouts."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from fleet.shapes.pages import ProblemPlace


class RolloutView(TypedDict):
    """A rollout at a glance. `wave` counts from 1; `devices` by status; `judged` is what stopped it, or what is waited for."""

    name: str
    phase: str
    wave: int
    waves: int
    since: float
    judged: str
    created_by: str
    devices: dict[str, int]


class RolloutDetail(RolloutView):
    """A rollout with its plan. `reach`: how many devices the waves begun so far may reach."""

    plan: dict[str, Any]
    settled_at: float | None
    reach: int


class RolloutMemberView(TypedDict):
    """One device of a rollout; `revision` is the desired revision that carries the change, or the way back."""

    device: str
    status: str
    since: float
    attempts: int
    revision: int
    reason: str
    message: str


class RolloutNoteView(TypedDict):
    """A line of a rollout's history."""

    at: float
    actor: str
    words: str


class RolloutGateView(TypedDict):
    """A gate of the wave at work. `opinion` is pass, fail or wait; `figure` and `limit` are words."""

    gate: str
    figure: str
    limit: str
    opinion: str


class RolloutPreview(TypedDict):
    """What a plan would do: devices in all, and reached at the end of each wave; `first` are some of the first wave."""

    devices: int
    waves: list[int]
    first: list[str]
    problems: list[ProblemPlace]
