"""What a benchmark does: pure values, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.errors import Refused
from wire.problem import Problem, summary
from wire.reasons import Reason

MAX_BATCH = 64
MAX_CAMERAS = 64
MAX_SECONDS = 60.0
MAX_SIDE_PX = 8192


@dataclass(frozen=True)
class Plan:
    """`seconds`: of each measurement. `frame_wh`: the camera's picture; `image`: its content, else the golden image, else noise."""

    batches: tuple[int, ...] = (1, 4, 8)
    cameras: tuple[int, ...] = (1, 2, 4)
    seconds: float = 3.0
    frame_wh: tuple[int, int] = (1280, 720)
    engine: str = "auto"
    precision: str = ""
    threads: int = 0
    image: str = ""
    cache_dir: str = ""
    load_deadline_s: float = 600.0

    def __post_init__(self) -> None:
        """:raises Refused: INVALID_FIELD, with every field that cannot be used"""
        problems = [
            *_list("batches", self.batches, MAX_BATCH),
            *_list("cameras", self.cameras, MAX_CAMERAS),
            *_within("seconds", self.seconds, 0.2, MAX_SECONDS),
            *_within("frame width", self.frame_wh[0], 16, MAX_SIDE_PX),
            *_within("frame height", self.frame_wh[1], 16, MAX_SIDE_PX),
            *_within("threads", self.threads, 0, 1024),
        ]
        if problems:
            raise Refused(Reason.INVALID_FIELD, summary(problems), problems)

    @property
    def steps(self) -> int:
        """How many measurements there are: the latency of one camera asked singly, then batches, then cameras."""
        return 1 + len(self.batches) + len(self.cameras)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Subject:
    """The package to measure."""

    directory: Path
    name: str
    digest: str


def _list(name: str, values: tuple[int, ...], most: int) -> list[Problem]:
    if len(values) > 16 or any(not 1 <= value <= most for value in values):
        return [Problem(name, Reason.INVALID_FIELD, f"{list(values)}", f"at most 16 numbers of 1 to {most}")]
    return []


def _within(name: str, value: float, least: float, most: float) -> list[Problem]:
    if least <= value <= most:
        return []
    return [Problem(name, Reason.INVALID_FIELD, f"{value:g}", f"{least:g} to {most:g}")]
