"""Flow control: which branches an element goes on with."""

from __future__ import annotations

from typing import Any

from runtime.workflow.block import Block, Surroundings
from runtime.workflow.fields import (
    ANY,
    FLOAT,
    Anything,
    Field,
    Flag,
    Number,
    dictionary,
    image,
    kinds,
    option,
)
from runtime.workflow.query.conditions import Condition, Env
from runtime.workflow.query.literals import Statement
from runtime.workflow.values import ImageValue

NEXT = Field("next_steps", shape="steps")

MAX_VIDEOS = 256
"""State is kept for so many videos; the oldest is forgotten first."""


def bounded(table: dict[Any, Any], limit: int = MAX_VIDEOS) -> None:
    """Forget the oldest entries beyond the limit."""
    while len(table) > limit:
        del table[next(iter(table))]


class ContinueIf(Block):
    types = ("roboflow_core/continue_if@v1", "ContinueIf")
    title = "Continue if"
    fields = (
        Field("condition_statement", literal=Statement()),
        dictionary("evaluation_parameters", required=False),
        NEXT,
        option("stop_delay", Number(0), 0, FLOAT),
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._passed_mono: float | None = None

    def run(
        self, condition_statement: Condition, evaluation_parameters: Env, stop_delay: float
    ) -> str | None:
        if condition_statement.test(evaluation_parameters):
            self._passed_mono = self.around.clock_mono()
            return NEXT.name
        if stop_delay and self._passed_mono is not None:
            return NEXT.name if self.around.clock_mono() - self._passed_mono < stop_delay else None
        return None


class SwitchCase(Block):
    types = ("roboflow_core/switch_case@v1", "SwitchCase")
    title = "Switch case"
    fields = (
        Field("value", kinds(ANY), Anything()),
        Field("cases", shape="step_cases", required=False, default={}),
        Field("case_insensitive", literal=Flag(), required=False, default=False),
        Field("default_next_steps", shape="steps", required=False),
    )

    def run(self, value: Any, case_insensitive: bool, cases: frozenset[str] = frozenset()) -> str | None:
        found = str(value)
        if case_insensitive:
            found = next((case for case in cases if case.lower() == found.lower()), found)
        return f"cases.{found}" if found in cases else "default_next_steps"


class DeltaFilter(Block):
    types = ("roboflow_core/delta_filter@v1",)
    title = "Delta filter"
    fields = (image(), Field("value", kinds(ANY)), NEXT)

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._last: dict[str, Any] = {}

    def run(self, image: ImageValue, value: Any) -> str | None:
        video = image.metadata.video_identifier
        if video in self._last and self._last[video] == value:
            return None
        self._last[video] = value
        bounded(self._last)
        return NEXT.name


class RateLimiter(Block):
    types = ("roboflow_core/rate_limiter@v1",)
    title = "Rate limiter"
    fields = (
        option("cooldown_seconds", Number(0), 1.0),
        Field("depends_on", kinds(ANY)),
        NEXT,
        image("video_reference_image", required=False),
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._last_s: float | None = None

    def run(
        self, cooldown_seconds: float, depends_on: Any, video_reference_image: ImageValue | None
    ) -> str | None:
        at_s = self.around.clock_mono()
        if video_reference_image is not None:
            at_s = video_reference_image.metadata.time_s
        if self._last_s is not None and 0 <= at_s - self._last_s < cooldown_seconds:
            return None
        self._last_s = at_s
        return NEXT.name


BLOCKS = (ContinueIf, SwitchCase, DeltaFilter, RateLimiter)
