"""What the packaged detectors find on scenes that nobody trained on: AP by class, and the verdict on each cap.

    python -m examples.bottle_caps.evaluate examples/bottle_caps/packages/v1 examples/bottle_caps/packages/v2

AP is COCO's (101 points), from the detections a package gives, that is those above its own score threshold. A cap's verdict
is the class that most of its detections name while it rides by, as the workflow's majority over a track. Caps of which less
than half is in sight neither count nor cost. Needs pycocotools.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import outrider
from examples.bottle_caps.dataset import HELD_OUT_SEEDS
from examples.bottle_caps.scene import CLASSES, HEIGHT_PX, WIDTH_PX, Scene, Truth
from runtime.results import Result

MATCH_IOU = 0.5
LEAST_COUNTED = 0.5
"""Share of a cap that must be in sight."""
LEAST_FRAMES = 5
"""A cap is judged when it was in sight in so many of the frames looked at."""


@dataclass
class Tally:
    """What one model said about all frames. `votes`: classes named for each cap; `seen`: frames in which it was in sight."""

    detections: list[dict[str, Any]] = field(default_factory=list)
    votes: dict[tuple[int, int], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    seen: Counter[tuple[int, int]] = field(default_factory=Counter)
    stray: int = 0


@dataclass(frozen=True)
class ClassScore:
    """Figures of one class; `recall` and `called_good` are shares of `caps`, `ap` and `ap50` 0 to 1."""

    name: str
    caps: int
    ap50: float
    ap: float
    recall: float
    called_good: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("packages", nargs="+", type=Path)
    parser.add_argument("--scenes", type=int, default=16)
    parser.add_argument("--frames", type=int, default=90, help="looked at in each scene")
    parser.add_argument("--stride", type=int, default=3, help="every which frame is looked at")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report = evaluate(arguments.packages, arguments.scenes, arguments.frames, arguments.stride)
    if arguments.json:
        print(json.dumps({name: [vars(score) for score in scores] for name, scores in report.items()}))
    else:
        print("\n\n".join(table(name, scores) for name, scores in report.items()))
    return 0


def evaluate(packages: Sequence[Path], scenes: int, frames: int, stride: int) -> dict[str, list[ClassScore]]:
    """Scores by package and class over the first held-out seeds; each frame is drawn once for all models.

    :raises ModelRefused: a package does not load
    :raises Transient: a model gave no answer
    """
    models = {path.name: outrider.load(path) for path in packages}
    tallies = {name: Tally() for name in models}
    truths: list[list[Truth]] = []
    kinds: dict[tuple[int, int], str] = {}
    for seed in HELD_OUT_SEEDS[:scenes]:
        scene = Scene(seed)
        for k in range(frames):
            image, truth = scene.frame(k * stride)
            kinds |= {(seed, cap.cap_id): cap.name for cap in truth}
            for name, model in models.items():
                _note(tallies[name], len(truths), seed, truth, model.predict(image))
            truths.append(truth)
    for model in models.values():
        model.close()
    return {name: _scores(tally, truths, kinds) for name, tally in tallies.items()}


def _note(tally: Tally, image_id: int, seed: int, truth: list[Truth], found: Result) -> None:
    """Enter one frame's detections and their votes."""
    for box, score, class_id in zip(found.boxes, found.scores, found.class_ids, strict=True):
        x1, y1, x2, y2 = (float(v) for v in box)
        entry = {"image_id": image_id, "category_id": int(class_id), "bbox": [x1, y1, x2 - x1, y2 - y1]}
        tally.detections.append({**entry, "score": float(score)})
    overlaps = iou(found.boxes, np.array([cap.box for cap in truth], np.float32).reshape(-1, 4))
    for j, cap in enumerate(truth):
        if cap.visible < LEAST_COUNTED:
            continue
        tally.seen[seed, cap.cap_id] += 1
        for i in np.flatnonzero(overlaps[:, j] >= MATCH_IOU):
            tally.votes[seed, cap.cap_id][found.class_names[int(i)]] += 1
    tally.stray += int((overlaps.max(axis=1, initial=0.0) < 0.1).sum())


def iou(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(N, M) overlap of boxes (N, 4) and (M, 4), x1 y1 x2 y2."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (a, b)]
    overlap: np.ndarray[Any, Any] = shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-6)
    return overlap


def _scores(tally: Tally, truths: list[list[Truth]], kinds: dict[tuple[int, int], str]) -> list[ClassScore]:
    precision = _average_precision(tally.detections, truths)
    judged = {cap: kinds[cap] for cap, frames in tally.seen.items() if frames >= LEAST_FRAMES}
    verdicts = {cap: _verdict(tally.votes[cap]) for cap in judged}
    scores = []
    for name in CLASSES:
        mine = [verdicts[cap] for cap, kind in judged.items() if kind == name]
        count = max(len(mine), 1)
        ap50, ap = precision[name]
        scores.append(
            ClassScore(name, len(mine), ap50, ap, mine.count(name) / count, mine.count("good") / count)
        )
    return scores


def _verdict(votes: Counter[str]) -> str:
    return votes.most_common(1)[0][0] if votes else "not found"


def _average_precision(
    detections: list[dict[str, Any]], truths: list[list[Truth]]
) -> dict[str, tuple[float, float]]:
    """AP at IoU 0.5, and its mean over 0.5 to 0.95, by class; 0 for a class nobody named."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _coco(truths)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    return {
        name: (_mean(precision[0, :, class_id]), _mean(precision[:, :, class_id]))
        for class_id, name in enumerate(CLASSES)
    }


def _mean(precision: np.ndarray[Any, Any]) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0


def _coco(truths: list[list[Truth]]) -> dict[str, Any]:
    """Caps hardly in sight are crowds of every class: what is found there is not judged."""
    annotations: list[dict[str, Any]] = []
    for image_id, truth in enumerate(truths):
        for cap in truth:
            x1, y1, x2, y2 = cap.box
            counted = cap.visible >= LEAST_COUNTED
            for class_id in [CLASSES.index(cap.name)] if counted else range(len(CLASSES)):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": class_id,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "area": (x2 - x1) * (y2 - y1),
                        "iscrowd": int(not counted),
                    }
                )
    images = [{"id": i, "width": WIDTH_PX, "height": HEIGHT_PX} for i in range(len(truths))]
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
    return {"info": {}, "images": images, "categories": categories, "annotations": annotations}


def table(name: str, scores: Sequence[ClassScore]) -> str:
    """The scores as a Markdown table."""
    lines = [f"{name}:", "", "| class | caps | AP50 | AP | recall per cap | called good |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    lines += [
        f"| {s.name} | {s.caps} | {s.ap50:.3f} | {s.ap:.3f} | {s.recall:.3f} | {s.called_good:.3f} |"
        for s in scores
    ]
    ap50, ap = (float(np.mean([getattr(s, kind) for s in scores])) for kind in ("ap50", "ap"))
    lines.append(f"| mean | {sum(s.caps for s in scores)} | {ap50:.3f} | {ap:.3f} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
