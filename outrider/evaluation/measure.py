"""Chooses what a task is measured by, and drives a model over a data set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from outrider.evaluation import classes, dataset
from outrider.evaluation.dataset import Dataset
from outrider.evaluation.meter import Figures, Meter
from runtime.errors import Refused
from runtime.model.spec import ModelSpec, Task
from runtime.results import NoAnswer
from wire.reasons import Reason

if TYPE_CHECKING:
    from outrider.sdk import Model

Progress = Callable[[int, int], None]
"""Told of pictures done and pictures in all."""

_COCO_KINDS = {
    Task.DETECTION: ("bbox",),
    Task.ORIENTED_DETECTION: ("bbox",),
    Task.INSTANCE_SEGMENTATION: ("bbox", "segm"),
    Task.KEYPOINTS: ("keypoints",),
}
_NEEDS = {
    Task.CLASSIFICATION: ("folders", "--labels-by-folder DIR"),
    Task.SEMANTIC_SEGMENTATION: ("masks", "--images DIR --masks DIR"),
    **dict.fromkeys((*_COCO_KINDS, Task.MULTI_LABEL), ("coco", "--images DIR --annotations FILE")),
}


@dataclass(frozen=True)
class Source:
    """A data set as a person names it."""

    images: Path | None = None
    annotations: Path | None = None
    folders: Path | None = None
    masks: Path | None = None
    mask_labels: str | None = None
    pairs: tuple[str, ...] = ()
    shared_only: bool = False
    limit: int = 0

    @property
    def labelled(self) -> bool:
        return any((self.annotations, self.folders, self.masks))

    def open(self) -> Dataset:
        """:raises Refused: DATASET_INVALID"""
        if self.folders:
            found = dataset.folders(self.folders)
        elif self.images is None:
            raise Refused(Reason.DATASET_INVALID, "no pictures; give --images DIR, or --labels-by-folder DIR")
        elif self.annotations:
            found = dataset.coco(self.images, self.annotations)
        elif self.masks:
            found = dataset.masks(self.images, self.masks)
        else:
            found = dataset.unlabelled(self.images)
        return found.first(self.limit)


@dataclass(frozen=True)
class Measured:
    """What came out of one model. `unanswered`: pictures the model gave no answer about, with the first one's words."""

    figures: Figures
    pictures: int
    unanswered: int
    first_cause: str
    taken_s: float


def meter(spec: ModelSpec, data: Dataset, source: Source) -> tuple[Meter, list[str]]:
    """What measures this task on this data set, and what a reader has to know.

    :raises Refused: the task cannot be measured, or not on such a data set, or classes do not match
    """
    if spec.task not in _NEEDS:
        raise Refused(
            Reason.DATASET_INVALID,
            f"task {spec.task.value!r} cannot be measured; expected one of {', '.join(t.value for t in _NEEDS)}",
        )
    kind, words = _NEEDS[spec.task]
    if data.kind != kind:
        raise Refused(Reason.DATASET_INVALID, f"a model for {spec.task.value} is measured with {words}")
    given = classes.pairs(source.pairs)
    if kind == "masks":
        return _semantic(spec, source, given)
    matched = classes.match(list(data.classes), spec.labels, given, shared_only=source.shared_only)
    notes = (
        [f"left out, since the model has no such class: {', '.join(matched.left_out)}"]
        if matched.left_out
        else []
    )
    if spec.task is Task.CLASSIFICATION:
        from outrider.evaluation.classification import Accuracy

        return Accuracy(matched, spec.labels), notes
    if spec.task is Task.MULTI_LABEL:
        from outrider.evaluation.classification import MultiLabel

        return MultiLabel(data, matched), notes
    if spec.task is Task.ORIENTED_DETECTION:
        notes.append("oriented boxes are measured by their outer boxes")
    from outrider.evaluation.precision import AveragePrecision

    return AveragePrecision(data, matched, _COCO_KINDS[spec.task]), notes


def _semantic(spec: ModelSpec, source: Source, given: dict[str, str]) -> tuple[Meter, list[str]]:
    from outrider.evaluation.semantic import IGNORE, MeanIoU, table
    from runtime.model import labels

    if not spec.labels:
        raise Refused(Reason.DATASET_INVALID, "the package has no class names: pack it with --labels FILE")
    if source.mask_labels is None:
        values = {i: i for i in range(len(spec.labels))}
        return MeanIoU(spec.labels, table(values), known=frozenset({*values, IGNORE})), []
    names = labels.resolve(source.mask_labels)
    matched = classes.match(names, spec.labels, given, shared_only=source.shared_only)
    values = {value: matched.ids[name] for value, name in enumerate(names) if name in matched.ids}
    known = frozenset({*range(len(names)), IGNORE})
    left_out = [f"not judged: {', '.join(matched.left_out)}"] if matched.left_out else []
    return MeanIoU(spec.labels, table(values), known=known), left_out


def evaluate(model: Model, data: Dataset, source: Source, progress: Progress) -> Measured:
    """Ask about every picture and measure.

    :raises Refused: see `meter`; a picture cannot be read
    """
    instrument, notes = meter(model.spec, data, source)
    unanswered, first_cause = 0, ""
    started_mono = time.monotonic()
    for done, picture in enumerate(data.pictures, 1):
        (answer,) = model.ask([picture.path])
        if isinstance(answer, NoAnswer):
            unanswered += 1
            first_cause = first_cause or f"{picture.path.name}: {answer.reason.value}: {answer.message}"
        instrument.add(picture, None if isinstance(answer, NoAnswer) else answer)
        progress(done, len(data.pictures))
    taken_s = time.monotonic() - started_mono
    figures = instrument.figures()
    figures = Figures(figures.main, figures.classes, figures.extra, (*notes, *figures.notes))
    return Measured(figures, len(data.pictures), unanswered, first_cause, taken_s)
