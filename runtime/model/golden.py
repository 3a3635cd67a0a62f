"""The golden image: what the model must find in it, made from the user's own graph, and the check of an engine against it.

The promise is computed with ONNX Runtime on the CPU in FP32, graph optimisation off, one thread, from the unmodified graph with
numpy's normalisation. Both sides are fed the same bytes, so that the check judges the engine and not a resize.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model import families, goldentasks
from runtime.model.backends import open_backend
from runtime.model.backends.backend import RunOptions
from runtime.model.families.family import Port
from runtime.model.geometry import Geometry
from runtime.model.nms import iou_matrix
from runtime.model.preprocess import BytePreprocessor, normalise
from runtime.model.spec import GoldenSpec, InputSpec, ModelSpec
from runtime.results import Image, NoAnswer, Result
from wire.reasons import Reason

if TYPE_CHECKING:
    from runtime.model.session import LoadedModel

SCHEMA = 1
MAX_SIDE_PX = 1280
"""Larger pictures are made smaller before they are kept: the package is sent to every device."""
MAX_EXPECTED_BYTES = 8 * 1024 * 1024
REFERENCE = RunOptions(threads=1, spinning=False, optimise=False)
_SHOWN = 3


@dataclass(frozen=True)
class Comparison:
    """Figures of a check. `worst_box`: of the picture's longer side; `missing` and `extra`: detections without a partner."""

    expected: int
    found: int
    matched: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    worst_box: float
    worst_score: float
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.missing and not self.extra and not self.faults

    def __str__(self) -> str:
        words = [
            f"{self.matched} of {self.expected} detections found again",
            f"box off by at most {self.worst_box:.2%} of the picture, score by {self.worst_score:.4f}",
        ]
        for name, cases in (
            ("missing", self.missing),
            ("not expected", self.extra),
            ("wrong otherwise", self.faults),
        ):
            if cases:
                words.append(f"{len(cases)} {name}: {'; '.join(cases[:_SHOWN])}")
        return "; ".join(words)


def fitted(image: Image) -> Image:
    """The picture as the package keeps it: not above `MAX_SIDE_PX`."""
    import cv2

    gain = MAX_SIDE_PX / max(image.shape[:2])
    if gain >= 1:
        return image
    size = (max(1, round(image.shape[1] * gain)), max(1, round(image.shape[0] * gain)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def reference(directory: Path, spec: ModelSpec, image: Image) -> Result:
    """What the unmodified graph finds, down to the score threshold less the tolerance.

    :raises ModelRefused: the graph does not load, does not fit its family, or gives no answer
    """
    tensor = np.empty(spec.input.tensor_shape, np.uint8)
    geometry = BytePreprocessor(spec.input).into(image, tensor)
    outputs, ports = reference_outputs(directory / spec.onnx, spec.input, tensor)
    tolerance = (spec.golden or GoldenSpec()).score_tolerance
    lower = max(0.0, spec.decode.score_threshold - tolerance)
    lenient = replace(spec, decode=replace(spec.decode, score_threshold=lower))
    family = families.get(spec.family)
    if problems := family.check(ports, spec):
        raise ModelRefused(problems[0].reason, "; ".join(map(str, problems)), problems)
    (answer,) = family.decoder(ports, lenient)(outputs, [geometry])
    if isinstance(answer, NoAnswer):
        raise ModelRefused(answer.reason, f"{answer.message}, on the golden image")
    return _read(directory, spec, answer, tensor, geometry) if spec.parts else answer


def _read(
    directory: Path, spec: ModelSpec, found: Result, tensor: npt.NDArray[Any], geometry: Geometry
) -> Result:
    """The texts, read by the package's parts from what lies in the tensor."""
    from runtime.model.reader import TextReader, moved, seen_by
    from runtime.model.session import LoadOptions

    reader = TextReader(directory, spec, LoadOptions(engine="onnxruntime-cpu", threads=1))
    try:
        small = seen_by(tensor, spec.input, geometry)
        answer = reader.read(small, moved(found, (small.shape[1], small.shape[0])))
    finally:
        reader.close()
    if isinstance(answer, NoAnswer):
        raise ModelRefused(answer.reason, f"{answer.message}, on the golden image")
    return moved(answer, found.image_wh)


def reference_outputs(
    graph: Path, spec: InputSpec, tensor: npt.NDArray[Any]
) -> tuple[list[npt.NDArray[Any]], list[Port]]:
    """Raw outputs of an unmodified graph for one tensor of values 0 to 255, and their ports with real shapes.

    :raises ModelRefused: the graph does not load or does not run
    """
    batch = np.repeat(normalise(tensor, spec)[None], spec.batch or 1, axis=0)
    backend = open_backend("onnxruntime-cpu", graph, REFERENCE)
    try:
        outputs = backend.run(np.ascontiguousarray(batch))
    except Transient as e:
        reason = e.reason if e.reason is Reason.OUT_OF_MEMORY else Reason.MODEL_LOAD_FAILED
        raise ModelRefused(reason, f"{graph.name}: {e}") from e
    finally:
        backend.close()
    ports = [
        Port(port.name, (port.shape[0] if port.shape else None, *output.shape[1:]), port.dtype)
        for port, output in zip(backend.outputs, outputs, strict=True)
    ]
    return outputs, ports


def write(directory: Path, spec: ModelSpec, image: Image) -> int:
    """Put the picture (without loss) and the promise into the package; the number of detections above the threshold.

    :raises ModelRefused: see `reference`
    """
    import cv2

    golden = spec.golden or GoldenSpec()
    kept = fitted(image)
    result = reference(directory, spec, kept)
    (directory / golden.image).parent.mkdir(parents=True, exist_ok=True)
    good, png = cv2.imencode(".png", kept)
    if not good:
        raise ModelRefused(Reason.PACKAGE_INVALID, "the golden image cannot be written as PNG")
    (directory / golden.image).write_bytes(png.tobytes())
    (directory / golden.expected).write_text(json.dumps(_to_json(result, spec), indent=1), encoding="utf-8")
    found = int((result.scores > spec.decode.score_threshold).sum())
    return max(found, int(goldentasks.is_whole(result)))


def _to_json(result: Result, spec: ModelSpec) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "reference": "onnxruntime CPU, fp32, graph optimisation off, 1 thread, unmodified graph",
        "score_threshold": spec.decode.score_threshold,
        "image_wh": list(result.image_wh),
        "boxes": [[round(float(v), 3) for v in box] for box in result.boxes],
        "scores": [round(float(score), 6) for score in result.scores],
        "class_ids": [int(i) for i in result.class_ids],
        **goldentasks.to_json(result),
    }


def load(directory: Path, spec: ModelSpec, golden: GoldenSpec) -> tuple[Image, Result]:
    """The picture and the promise of a package.

    :raises ModelRefused: one of them cannot be read
    """
    import cv2

    try:
        image = cv2.imdecode(
            np.frombuffer((directory / golden.image).read_bytes(), np.uint8), cv2.IMREAD_COLOR
        )
        if (directory / golden.expected).stat().st_size > MAX_EXPECTED_BYTES:
            raise ValueError(f"larger than {MAX_EXPECTED_BYTES} bytes")
        body = json.loads((directory / golden.expected).read_text(encoding="utf-8"))
        image_wh = (int(body["image_wh"][0]), int(body["image_wh"][1]))
        promise = Result(
            image_wh=image_wh,
            labels=spec.labels,
            boxes=np.array(body["boxes"], np.float32).reshape(-1, 4),
            scores=np.array(body["scores"], np.float32),
            class_ids=np.array(body["class_ids"], np.int32),
            **goldentasks.from_json(body, image_wh),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError, cv2.error) as e:
        raise ModelRefused(
            Reason.PACKAGE_INVALID, f"{golden.expected}: cannot be read: {e!r}; pack the model again"
        ) from e
    if image is None or len(promise.boxes) != len(promise.scores) or len(promise) != len(promise.class_ids):
        raise ModelRefused(Reason.PACKAGE_INVALID, f"{golden.image}: no picture or no promise; pack again")
    return np.asarray(image, np.uint8), promise


def check(model: LoadedModel) -> dict[str, Any]:
    """Run the golden image through a loaded model; figures for people.

    :raises ModelRefused: GOLDEN_MISMATCH, the message holding the figures; or the package's golden part cannot be read
    """
    golden = model.spec.golden
    if golden is None:
        return {"present": False, "message": Reason.GOLDEN_ABSENT.text}
    image, promise = load(model.directory, model.spec, golden)
    tensor = np.empty(model.tensor_shape, np.uint8)
    geometry: Geometry = BytePreprocessor(model.spec.input).into(image, tensor)
    (answer,) = model.run(tensor.astype(model.feed_dtype)[None], [geometry])
    if isinstance(answer, NoAnswer):
        raise ModelRefused(answer.reason, f"model {model.spec.name!r} on its golden image: {answer.message}")
    figures = compare(promise, answer, golden, model.spec.decode.score_threshold)
    if not figures.holds:
        raise ModelRefused(
            Reason.GOLDEN_MISMATCH, f"model {model.spec.name!r} on its golden image: {figures}; pack it again"
        )
    return {
        "present": True,
        "detections": figures.expected,
        "worst_box": round(figures.worst_box, 6),
        "worst_score": round(figures.worst_score, 6),
    }


def compare(promise: Result, found: Result, golden: GoldenSpec, score_threshold: float) -> Comparison:
    """Match by class and place. A detection whose score is within the tolerance of the threshold may be there or not."""
    margin = score_threshold + golden.score_tolerance
    pairs = _pairs(promise, found, golden)
    partner = {e: f for e, f, _, _ in pairs}
    taken = set(partner.values())
    return Comparison(
        expected=int((promise.scores > score_threshold).sum()),
        found=len(found),
        matched=sum(bool(promise.scores[e] > score_threshold) for e in partner),
        missing=tuple(
            _shown(promise, i) for i in range(len(promise)) if i not in partner and promise.scores[i] > margin
        ),
        extra=tuple(
            _shown(found, i) for i in range(len(found)) if i not in taken and found.scores[i] > margin
        ),
        worst_box=max((off for _, _, off, _ in pairs), default=0.0),
        worst_score=max((off for _, _, _, off in pairs), default=0.0),
        faults=goldentasks.faults(promise, found, [(e, f) for e, f, _, _ in pairs], golden),
    )


def _pairs(promise: Result, found: Result, golden: GoldenSpec) -> list[tuple[int, int, float, float]]:
    """(expected, found, box off, score off) of detections of one class within the tolerances, the best overlap first."""
    side = max(promise.image_wh)
    if not len(promise) or not len(found):
        return []
    box_off = np.abs(promise.boxes[:, None] - found.boxes[None]).max(axis=2) / side
    score_off = np.abs(promise.scores[:, None] - found.scores[None])
    same = promise.class_ids[:, None] == found.class_ids[None]
    fits = same & (box_off <= golden.box_tolerance) & (score_off <= golden.score_tolerance)
    candidates = np.argwhere(fits)
    overlap = iou_matrix(promise.boxes, found.boxes)
    order = sorted(candidates.tolist(), key=lambda ef: (-overlap[ef[0], ef[1]], score_off[ef[0], ef[1]]))
    return _unique(order, box_off, score_off)


def _unique(
    order: Sequence[Sequence[int]], box_off: npt.NDArray[Any], score_off: npt.NDArray[Any]
) -> list[tuple[int, int, float, float]]:
    expected_taken: set[int] = set()
    found_taken: set[int] = set()
    pairs = []
    for e, f in order:
        if e not in expected_taken and f not in found_taken:
            expected_taken.add(e)
            found_taken.add(f)
            pairs.append((e, f, float(box_off[e, f]), float(score_off[e, f])))
    return pairs


def _shown(result: Result, i: int) -> str:
    box = ", ".join(f"{v:.0f}" for v in result.boxes[i] if math.isfinite(v))
    return f"{result.label(int(result.class_ids[i]))} {result.scores[i]:.2f} at [{box}]"
