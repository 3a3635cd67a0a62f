"""Two models, or one in two engines or precisions, over the same pictures: figures of both, their agreement, the worst pictures."""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outrider.evaluation.contender import package_decoding, visible
from outrider.evaluation.dataset import Dataset, Picture
from outrider.evaluation.measure import Measured, Progress, Source, meter
from outrider.evaluation.meter import Figures, Meter
from runtime.agreement import Agreement, Tally, agree
from runtime.errors import Refused
from runtime.model.spec import DecodeSpec
from runtime.results import NoAnswer, Result
from wire.reasons import Reason

if TYPE_CHECKING:
    from outrider.sdk import Model


@dataclass(frozen=True)
class Case:
    """A picture about which the two differ; None is no answer."""

    path: Path
    agreement: Agreement
    a: Result | None
    b: Result | None


@dataclass(frozen=True)
class Comparison:
    """`a`, `b`: the figures of each where the pictures are labelled. `cases`: those that differ most, the worst first."""

    tally: Tally
    cases: tuple[Case, ...]
    a: Measured | None = None
    b: Measured | None = None
    notes: tuple[str, ...] = ()
    pictures_per_s: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Side:
    """One of the two, with what it has come to so far."""

    model: Model
    decode: DecodeSpec
    instrument: Meter | None = None
    notes: list[str] = field(default_factory=list)
    unanswered: int = 0
    first_cause: str = ""
    taken_s: float = 0.0

    def ask(self, picture: Picture, image: Any) -> Result | None:
        started_mono = time.monotonic()
        (answer,) = self.model.ask([image])
        self.taken_s += time.monotonic() - started_mono
        if isinstance(answer, NoAnswer):
            self.unanswered += 1
            self.first_cause = (
                self.first_cause or f"{picture.path.name}: {answer.reason.value}: {answer.message}"
            )
        result = None if isinstance(answer, NoAnswer) else answer
        if self.instrument is not None:
            self.instrument.add(picture, result)
        return result if result is None else visible(result, self.decode)

    def measured(self, pictures: int) -> Measured | None:
        if self.instrument is None:
            return None
        found = self.instrument.figures()
        figures = Figures(found.main, found.classes, found.extra, (*self.notes, *found.notes))
        return Measured(figures, pictures, self.unanswered, self.first_cause, self.taken_s)


def compare(a: Model, b: Model, data: Dataset, source: Source, cases: int, progress: Progress) -> Comparison:
    """Ask both about every picture; `cases`: how many of the most different pictures to keep.

    :raises Refused: the two have different tasks; the data set cannot be used; a picture cannot be read
    """
    from outrider.sdk import read_image

    if a.spec.task is not b.spec.task:
        raise Refused(
            Reason.DATASET_INVALID,
            f"A is for {a.spec.task.value}, B for {b.spec.task.value}; expected two models of one task",
        )
    sides = _Side(a, package_decoding(a)), _Side(b, package_decoding(b))
    if source.labelled:
        for side in sides:
            side.instrument, side.notes = meter(side.model.spec, data, source)
    tally = Tally()
    worst: list[tuple[float, int, Case]] = []
    for done, picture in enumerate(data.pictures, 1):
        image = read_image(picture.path)
        answers = [side.ask(picture, image) for side in sides]
        agreement = agree(*answers)
        tally.add(agreement)
        if agreement.difference > 0 and cases:
            entry = (agreement.difference, -done, Case(picture.path, agreement, *answers))
            heapq.heappushpop(worst, entry) if len(worst) >= cases else heapq.heappush(worst, entry)
        progress(done, len(data.pictures))
    ordered = tuple(case for _, _, case in sorted(worst, key=lambda entry: entry[:2], reverse=True))
    notes = tuple(
        f"{name} gave no answer about {side.unanswered} pictures, the first: {side.first_cause}"
        for name, side in zip("AB", sides, strict=True)
        if side.unanswered
    )
    count = len(data.pictures)
    rates = tuple(round(count / max(side.taken_s, 1e-9), 2) for side in sides)
    return Comparison(
        tally, ordered, sides[0].measured(count), sides[1].measured(count), notes, (rates[0], rates[1])
    )


def differences(a: Figures, b: Figures) -> list[dict[str, Any]]:
    """Headline figures and then classes, side by side: `what`, `A`, `B`, `B - A`; classes by how much they changed."""
    rows = [{"what": name, **_pair(a.main.get(name), b.main.get(name))} for name in a.main]
    column = next(
        (key for row in a.classes.values() for key in row if key not in ("objects", "pictures", "pixels")), ""
    )
    names = dict.fromkeys(
        [*a.classes, *b.classes]
    )  # a class that only one of them finds is in one of the two
    classes: list[dict[str, Any]] = [
        {"what": name, **_pair(a.classes.get(name, {}).get(column), b.classes.get(name, {}).get(column))}
        for name in names
    ]
    return rows + sorted(classes, key=lambda row: -abs(float(row["B - A"] or 0.0)))


def _pair(a: float | None, b: float | None) -> dict[str, Any]:
    return {"A": a, "B": b, "B - A": None if a is None or b is None else round(b - a, 2)}
