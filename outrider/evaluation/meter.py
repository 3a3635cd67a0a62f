"""What takes the answers in, picture by picture, and tells the figures at the end. One module a kind of figure beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from outrider.evaluation.dataset import Picture
from runtime.results import Result


@dataclass(frozen=True)
class Figures:
    """`main`: the headline figures by name, best first. `classes`: by class name, columns alike for all.

    `extra`: what only programs read (a whole confusion matrix); `notes`: what a reader has to know.
    Shares are 0 to 100; None is a figure that cannot be told.
    """

    main: dict[str, float | None]
    classes: dict[str, dict[str, float | int | None]]
    extra: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Meter(Protocol):
    """Takes one answer a picture; None where the model gave none, which counts against it."""

    def add(self, picture: Picture, result: Result | None) -> None: ...

    def figures(self) -> Figures: ...


def percent(share: float) -> float | None:
    """A share as it is told; None for pycocotools' -1 (nothing to find) and for what is no number."""
    return round(100.0 * share, 2) if share >= 0 else None
