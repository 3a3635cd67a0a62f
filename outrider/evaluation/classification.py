"""How often a classifier is right: top-1, top-5, the confusion of classes; and mean average precision for several labels."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from outrider.evaluation.classes import ClassMap
from outrider.evaluation.dataset import Dataset, Picture
from outrider.evaluation.meter import Figures, percent
from runtime.results import Result

TOP = 5
NO_ANSWER = "(no answer)"


class Accuracy:
    """A meter of classifiers on pictures that lie in folders named like their class."""

    def __init__(self, classes: ClassMap, labels: tuple[str, ...]) -> None:
        self._classes = classes
        self._labels = labels
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._top5: Counter[str] = Counter()
        self._few = False

    def add(self, picture: Picture, result: Result | None) -> None:
        wanted = self._classes.ids.get(picture.label)
        if wanted is None:
            return
        if result is None or result.classes is None or not len(result.classes):
            self._pairs[picture.label, NO_ANSWER] += 1
            return
        order = np.argsort(-result.classes, kind="stable")[:TOP].tolist()
        self._few = len(result.classes) <= TOP
        best = int(order[0])
        self._pairs[picture.label, self._classes.names.get(best, self._name(best))] += 1
        self._top5[picture.label] += wanted in order

    def figures(self) -> Figures:
        total = sum(self._pairs.values())
        right = sum(count for (truth, found), count in self._pairs.items() if truth == found)
        main = {"top-1": percent(right / total) if total else None}
        if not self._few:  # where it would say nothing
            main["top-5"] = percent(sum(self._top5.values()) / total) if total else None
        confusion = [
            {"truth": truth, "found": found, "pictures": count}
            for (truth, found), count in self._pairs.most_common()
            if truth != found
        ]
        rows = {name: self._row(name) for name in self._classes.ids}
        return Figures(main, rows, {"confusion": confusion})

    def _row(self, name: str) -> dict[str, float | int | None]:
        pictures = sum(count for (truth, _), count in self._pairs.items() if truth == name)
        called = sum(count for (_, found), count in self._pairs.items() if found == name)
        right = self._pairs[name, name]
        return {
            "pictures": pictures,
            "top-1": percent(right / pictures) if pictures else None,
            "precision": percent(right / called) if called else None,
        }

    def _name(self, class_id: int) -> str:
        return self._labels[class_id] if class_id < len(self._labels) else f"class_{class_id}"


class MultiLabel:
    """A meter of models that name every class in a picture, against the classes of its COCO annotations."""

    def __init__(self, dataset: Dataset, classes: ClassMap) -> None:
        self._classes = classes
        names = {category["id"]: str(category["name"]) for category in dataset.coco["categories"]}
        self._truth: dict[int, set[str]] = {}
        for annotation in dataset.coco["annotations"]:
            self._truth.setdefault(annotation["image_id"], set()).add(names[annotation["category_id"]])
        self._scores: list[npt.NDArray[Any]] = []
        self._there: list[set[str]] = []

    def add(self, picture: Picture, result: Result | None) -> None:
        width = max(self._classes.names) + 1
        nothing = np.zeros(width, np.float32)
        answered = result is not None and result.classes is not None
        self._scores.append(result.classes[:width] if answered else nothing)  # type: ignore[union-attr,index]
        self._there.append(self._truth.get(picture.id, set()))

    def figures(self) -> Figures:
        rows: dict[str, dict[str, float | int | None]] = {}
        for name, class_id in self._classes.ids.items():
            there = np.array([name in truth for truth in self._there], bool)
            scores = np.array([score[class_id] for score in self._scores], np.float64)
            rows[name] = {"pictures": int(there.sum()), "AP": percent(average_precision(there, scores))}
        known = [row["AP"] for row in rows.values() if row["AP"] is not None]
        return Figures({"mAP": round(float(np.mean(known)), 2) if known else None}, rows)


def average_precision(there: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64]) -> float:
    """Mean precision at each picture that holds the class, in order of falling score; -1 where none does."""
    if not there.any():
        return -1.0
    hits = there[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())
