"""What a golden promise holds besides boxes: masks, keypoints, oriented boxes, texts, classes, class maps, embeddings.

As JSON, back, and how far two results may be apart. The tolerances are those of `GoldenSpec`, each in the unit that fits the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime import masks
from runtime.model.spec import GoldenSpec
from runtime.results import Result

MASK_SHARE = 5.0
"""A mask may differ by so many score tolerances of its union: thin masks change at their rims."""
_SEEN = 0.3
"""Keypoints below this score lie anywhere."""


def to_json(result: Result) -> dict[str, Any]:
    """The parts that the result has."""
    out: dict[str, Any] = {}
    if result.masks is not None:
        out["masks"] = [_mask(mask) for mask in result.masks]
    if result.texts is not None:
        out["texts"] = list(result.texts)
    for name in ("keypoints", "oriented"):
        if (values := getattr(result, name)) is not None:
            out[name] = np.round(values.astype(float), 4).tolist()
    for name in ("classes", "embedding"):
        if (values := getattr(result, name)) is not None:
            out[name] = np.round(values.astype(float), 6).tolist()
    if result.semantic is not None:
        present = np.unique(result.semantic).tolist()
        out["semantic"] = {str(i): masks.encode(result.semantic == i) for i in present}
    return out


def _mask(mask: masks.Rle) -> dict[str, Any]:
    counts = mask["counts"]
    return {"size": list(mask["size"]), "counts": counts if isinstance(counts, str) else counts.decode()}


def from_json(body: dict[str, Any], image_wh: tuple[int, int]) -> dict[str, Any]:
    """Fields of `Result`.

    :raises ValueError: an array or mask does not hold
    """
    out: dict[str, Any] = {}
    if "masks" in body:
        out["masks"] = tuple(body["masks"])
    if "texts" in body:
        out["texts"] = tuple(map(str, body["texts"]))
    count = len(body["scores"])
    if "keypoints" in body:
        points = np.array(body["keypoints"], np.float32)
        out["keypoints"] = points.reshape(count, -1, 3) if count else np.zeros((0, 0, 3), np.float32)
    if "oriented" in body:
        out["oriented"] = np.array(body["oriented"], np.float32).reshape(count, 5)
    for name in ("classes", "embedding"):
        if name in body:
            out[name] = np.array(body[name], np.float32)
    if "semantic" in body:
        semantic = np.zeros((image_wh[1], image_wh[0]), np.uint8)
        for class_id, mask in body["semantic"].items():
            semantic[masks.decode(mask)] = int(class_id)
        out["semantic"] = semantic
    return out


def is_whole(result: Result) -> bool:
    """Whether the result speaks of the image as a whole."""
    return any(value is not None for value in (result.classes, result.semantic, result.embedding))


def faults(
    promise: Result, found: Result, pairs: Sequence[tuple[int, int]], golden: GoldenSpec
) -> tuple[str, ...]:
    """What is further apart than it may be, in words. `pairs`: detections of the promise and those found that belong together."""
    words = [_whole_fault(promise, found, golden)]
    names = ("masks", "keypoints", "oriented", "texts", "classes", "semantic", "embedding")
    words += [
        f"{name} are not on both sides"
        for name in names
        if (getattr(promise, name) is None) != (getattr(found, name) is None)
    ]
    if not any(words):
        words += [_pair_fault(promise, found, e, f, golden) for e, f in pairs]
    return tuple(word for word in words if word)


def _whole_fault(promise: Result, found: Result, golden: GoldenSpec) -> str:
    if promise.classes is not None and found.classes is not None:
        if promise.classes.shape != found.classes.shape:
            return f"{len(found.classes)} classes; {len(promise.classes)} were promised"
        off = float(np.abs(promise.classes - found.classes).max())
        return "" if off <= golden.score_tolerance else f"the score of a class is off by {off:.4f}"
    if promise.semantic is not None and found.semantic is not None:
        if promise.semantic.shape != found.semantic.shape:
            return f"a class map of {found.semantic.shape}; {promise.semantic.shape} was promised"
        share = float((promise.semantic != found.semantic).mean())
        return "" if share <= golden.score_tolerance else f"{share:.2%} of the class map differ"
    if promise.embedding is not None and found.embedding is not None:
        if promise.embedding.shape != found.embedding.shape:
            return f"{len(found.embedding)} numbers; {len(promise.embedding)} were promised"
        off = 1 - float(promise.embedding @ found.embedding)
        return "" if off <= golden.score_tolerance else f"the embedding's cosine is off by {off:.4f}"
    return ""


def _pair_fault(promise: Result, found: Result, e: int, f: int, golden: GoldenSpec) -> str:
    side_px = max(promise.image_wh) * golden.box_tolerance
    if promise.masks is not None and found.masks is not None:
        one, other = masks.decode(promise.masks[e]), masks.decode(found.masks[f])
        union = int((one | other).sum())
        apart = int((one ^ other).sum()) / union if union else 0.0
        if apart > MASK_SHARE * golden.score_tolerance:
            return f"mask {e} differs in {apart:.2%} of its pixels"
    if promise.keypoints is not None and found.keypoints is not None:
        one, other = promise.keypoints[e], found.keypoints[f]
        seen = np.minimum(one[:, 2], other[:, 2]) >= _SEEN
        off = float(np.abs(one - other)[seen, :2].max(initial=0.0))
        if off > side_px:
            return f"a keypoint of detection {e} is off by {off:.1f} px"
    ours, theirs = promise.corners, found.corners
    if ours is not None and theirs is not None:
        off = float(np.abs(ours[e] - theirs[f]).max())
        if off > side_px:
            return f"a corner of detection {e} is off by {off:.1f} px"
    if promise.texts is not None and found.texts is not None and promise.texts[e] != found.texts[f]:
        return f"text {found.texts[f]!r}; {promise.texts[e]!r} was promised"
    return ""
