"""Average precision as COCO defines it, by pycocotools: of boxes, masks and keypoints.

Source: the evaluation of https://cocodataset.org/#detection-eval and #keypoints-eval.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from outrider.evaluation.classes import ClassMap
from outrider.evaluation.dataset import Dataset, Picture
from outrider.evaluation.meter import Figures, percent
from runtime.errors import Refused
from runtime.results import Result
from wire.reasons import Reason

COCO_KEYPOINTS = 17
OTHER_SIGMA = 0.05
"""Of every keypoint, where the skeleton is not COCO's: about the mean of COCO's own, 0.025 to 0.107."""
_STATS = {
    "bbox": ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large"),
    "segm": ("mask AP", "mask AP50", "mask AP75", "mask AP small", "mask AP medium", "mask AP large"),
    "keypoints": ("OKS AP", "OKS AP50", "OKS AP75", "OKS AP medium", "OKS AP large"),
}
_CLASS_COLUMNS = {
    "bbox": ("AP", "AP50"),
    "segm": ("mask AP", "mask AP50"),
    "keypoints": ("OKS AP", "OKS AP50"),
}


class AveragePrecision:
    """A meter of detections against annotations in COCO's form. `kinds`: bbox, segm, keypoints; one or more."""

    def __init__(self, dataset: Dataset, classes: ClassMap, kinds: Sequence[str]) -> None:
        """:raises Refused: EXTRA_MISSING without pycocotools; DATASET_INVALID where the annotations hold no masks or keypoints"""
        self._coco_class, self._eval_class = _pycocotools()
        _check(dataset, kinds)
        self._dataset = dataset
        self._classes = classes
        self._kinds = tuple(kinds)
        ids = {str(category["name"]): int(category["id"]) for category in dataset.coco["categories"]}
        self._category_ids = {class_id: ids[name] for name, class_id in classes.ids.items()}
        self._found: list[dict[str, Any]] = []
        self._passed_over = 0

    def add(self, picture: Picture, result: Result | None) -> None:
        if result is None:
            return
        for i in range(len(result)):
            category = self._category_ids.get(int(result.class_ids[i]))
            if category is None:
                self._passed_over += 1
                continue
            self._found.append(_entry(picture.id, category, result, i))

    def figures(self) -> Figures:
        main: dict[str, float | None] = {}
        rows: dict[str, dict[str, float | int | None]] = {
            name: {"objects": self._dataset.classes.get(name, 0)} for name in self._classes.ids
        }
        for kind in self._kinds:
            evaluation = self._evaluate(kind)
            values = evaluation.stats if self._found else np.full(len(_STATS[kind]), 0.0)
            main |= {name: percent(float(v)) for name, v in zip(_STATS[kind], values, strict=False)}
            self._by_class(kind, evaluation, rows)
        notes = []
        if self._passed_over:
            notes.append(
                f"{self._passed_over} detections of classes that no annotation names were passed over"
            )
        if "keypoints" in self._kinds and _keypoints_of(self._dataset) != COCO_KEYPOINTS:
            notes.append(
                f"the skeleton is not COCO's: OKS with a deviation of {OTHER_SIGMA} for every keypoint"
            )
        return Figures(main, rows, notes=tuple(notes))

    def _evaluate(self, kind: str) -> Any:
        with contextlib.redirect_stdout(io.StringIO()):
            truth = self._coco_class()
            truth.dataset = _prepared(self._dataset.coco, kind)
            truth.createIndex()
            evaluation = self._eval_class(truth, truth.loadRes(self._of(kind)) if self._found else None, kind)
            if not self._found:
                return evaluation
            evaluation.params.imgIds = sorted(picture.id for picture in self._dataset.pictures)
            evaluation.params.catIds = sorted(self._category_ids.values())
            if kind == "keypoints" and (count := _keypoints_of(self._dataset)) != COCO_KEYPOINTS:
                evaluation.params.kpt_oks_sigmas = np.full(count, OTHER_SIGMA)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation

    def _of(self, kind: str) -> list[dict[str, Any]]:
        """The detections with the fields of this kind alone: pycocotools guesses the kind from what it sees."""
        field = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}[kind]
        keep = ("image_id", "category_id", "score", field)
        return [{key: entry[key] for key in keep} for entry in self._found if field in entry]

    def _by_class(self, kind: str, evaluation: Any, rows: dict[str, dict[str, float | int | None]]) -> None:
        ap_column, ap50_column = _CLASS_COLUMNS[kind]
        if not self._found:
            for name in self._classes.ids:
                rows[name] |= {ap_column: 0.0, ap50_column: 0.0}
            return
        # precision: (IoU thresholds, recall steps, classes, areas, detections a picture); -1 where there is nothing to find
        precision = evaluation.eval["precision"][:, :, :, 0, -1]
        position = {category: k for k, category in enumerate(evaluation.params.catIds)}
        for name, class_id in self._classes.ids.items():
            values = precision[:, :, position[self._category_ids[class_id]]]
            rows[name] |= {ap_column: _mean(values), ap50_column: _mean(values[0])}


def _pycocotools() -> tuple[Any, Any]:
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as e:
        raise Refused(
            Reason.EXTRA_MISSING,
            "average precision needs pycocotools, which is not installed: pip install 'outrider[eval]'",
        ) from e
    return COCO, COCOeval


def _mean(values: Any) -> float | None:
    known = values[values > -1]
    return percent(float(known.mean())) if known.size else None


def _entry(image_id: int, category: int, result: Result, i: int) -> dict[str, Any]:
    x1, y1, x2, y2 = (float(v) for v in result.boxes[i])
    entry: dict[str, Any] = {
        "image_id": image_id,
        "category_id": category,
        "score": float(result.scores[i]),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
    }
    if result.masks is not None:
        entry["segmentation"] = _rle(result.masks[i])
    if result.keypoints is not None:
        entry["keypoints"] = [float(v) for v in result.keypoints[i].reshape(-1)]
    return entry


def _rle(mask: Mapping[str, Any]) -> dict[str, Any]:
    counts = mask["counts"]
    return {
        "size": [int(v) for v in mask["size"]],
        "counts": counts if isinstance(counts, bytes) else str(counts).encode(),
    }


def _keypoints_of(dataset: Dataset) -> int:
    lengths = [len(a["keypoints"]) // 3 for a in dataset.coco["annotations"] if a.get("keypoints")]
    return max(lengths, default=0)


def _check(dataset: Dataset, kinds: Sequence[str]) -> None:
    for kind, field in (("bbox", "bbox"), ("segm", "segmentation"), ("keypoints", "keypoints")):
        if kind in kinds and not any(a.get(field) for a in dataset.coco["annotations"]):
            raise Refused(
                Reason.DATASET_INVALID, f"no annotation has a {field!r}, which this task is measured against"
            )


def _prepared(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """A copy with what pycocotools takes for granted: an id, an area, a crowd flag, the number of keypoints.

    Annotations without what this kind measures are left out.
    """
    annotations = []
    for i, given in enumerate(document["annotations"]):
        made = {"iscrowd": 0, **given, "id": given.get("id", i + 1)}
        if "bbox" not in made or (kind == "segm" and not made.get("segmentation")):
            continue
        made.setdefault("area", made["bbox"][2] * made["bbox"][3])
        points = made.get("keypoints") or []
        made.setdefault("num_keypoints", sum(v > 0 for v in points[2::3]))
        if kind == "keypoints":
            made["keypoints"] = points or [0] * (3 * COCO_KEYPOINTS)
        annotations.append(made)
    return {**document, "annotations": annotations}
