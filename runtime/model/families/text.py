"""Text: detection by differentiable binarisation (a map (N, 1, H, W) of how likely each pixel is text), and reading of one line by CTC
(N, steps, 1 + characters).

Lines are the smallest rectangles around connected pixels, grown by area × ratio / circumference. Reading takes the best character of
each step, repeats and blanks left out; its score is the mean of what is left. Sources: Liao et al., Real-time Scene Text Detection with
Differentiable Binarization, 2020, section 3.5; Graves et al., Connectionist Temporal Classification, 2006; PP-OCRv4's settings.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from runtime.model.families.family import (
    Decoder,
    Evaluation,
    Graph,
    Match,
    Output,
    Port,
    as_float,
    has_nan,
    not_a_number,
    outputs_problem,
)
from runtime.model.families.yolorows import in_image
from runtime.model.geometry import Geometry
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.results import Answer, Floats, Result, corners_of
from wire.problem import Problem
from wire.reasons import Reason

LABELS = ("text",)
_HALF = (0.5, 0.5, 0.5)
_LEAST_SIDE_PX = 3
_LEAST_GROWN_SIDE_PX = 5
_MAX_CANDIDATES = 1000
_LEAST_CHARACTERS = 10


class TextDetection:
    """DB text detection; with parts of the package that read, whole texts."""

    name = "db"
    evaluation = Evaluation()
    expects = "one output [N, 1, height, width] of the input's size, made by a sigmoid"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        if not _is_map(graph.outputs, graph.width, graph.height):
            return None
        if not named and graph.makers.get(graph.outputs[0].name) != "Sigmoid":
            return None
        options = {"map_threshold": 0.3, "grow": 1.6, "text_threshold": 0.5}
        return Match(
            self.name,
            Task.TEXT,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                colour="BGR",
                anchor="top-left",
                pad=0,
                mean=_HALF,
                std=_HALF,
            ),
            DecodeSpec(score_threshold=0.5, nms="none", max_detections=_MAX_CANDIDATES, options=options),
            1,
            f"one output {graph.outputs[0]}: a map of where text is, of 1 class",
            LABELS,
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        if not _is_map(outputs, spec.input.width, spec.input.height):
            return [outputs_problem(outputs, self.expects, self.name)]
        if spec.labels and len(spec.labels) != 1:
            return [Problem("labels", Reason.MODEL_LABELS, f"{len(spec.labels)} labels for 1 class")]
        return []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return TextDetectionDecoder(spec)


def _is_map(outputs: Sequence[Port], width: int, height: int) -> bool:
    return len(outputs) == 1 and outputs[0].shape[1:] == (1, height, width)


class TextDetectionDecoder:
    """Decodes the map of one model. Lines come in reading order, their first corner top left."""

    def __init__(self, spec: ModelSpec) -> None:
        options = spec.decode.options
        self._spec = spec
        self._map_threshold = float(options.get("map_threshold", 0.3))
        self._grow = float(options.get("grow", 1.6))

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i, 0], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, values: Floats, geometry: Geometry) -> Answer:
        if has_nan(values):
            return not_a_number(self._spec)
        found = self._lines(values)
        lines = in_image(np.array([line for line, _ in found], np.float32).reshape(-1, 5), geometry)
        scores = np.array([score for _, score in found], np.float32)
        order = reading_order(lines)[: self._spec.decode.max_detections]
        corners = corners_of(lines[order])
        limit = np.array([geometry.image_width_px, geometry.image_height_px] * 2, np.float32)
        outer = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        return Result(
            image_wh=(geometry.image_width_px, geometry.image_height_px),
            labels=self._spec.labels,
            boxes=np.clip(outer, 0, limit),
            scores=scores[order],
            class_ids=np.zeros(len(order), np.int32),
            oriented=lines[order],
        )

    def _lines(self, values: Floats) -> list[tuple[list[float], float]]:
        """Oriented boxes in tensor pixels, with their scores."""
        likely = (values > self._map_threshold).astype(np.uint8)
        joined = cv2.dilate(likely, np.ones((2, 2), np.uint8))
        contours, _ = cv2.findContours(joined, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for contour in contours[:_MAX_CANDIDATES]:
            centre, (w, h), angle = cv2.minAreaRect(contour)
            if min(w, h) < _LEAST_SIDE_PX:
                continue
            score = _mean_within(values, cv2.boxPoints((centre, (w, h), angle)))
            more = w * h * self._grow / (w + h)  # twice area x ratio / circumference: it grows on both sides
            if score < self._spec.decode.score_threshold or min(w, h) + more < _LEAST_GROWN_SIDE_PX:
                continue
            found.append((upright(centre, (w + more, h + more), angle), score))
        return found


def _mean_within(values: Floats, corners: npt.NDArray[np.float32]) -> float:
    height, width = values.shape
    low = np.clip(np.floor(corners.min(axis=0)), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, [width - 1, height - 1]).astype(int)
    inside = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(inside, [(corners - low).astype(np.int32)], 1)
    return float(cv2.mean(values[low[1] : high[1] + 1, low[0] : high[0] + 1], inside)[0])


def upright(centre: Sequence[float], size: Sequence[float], angle_degrees: float) -> list[float]:
    """Centre x y, width, height, angle in radians of a rectangle, its width along the side that is nearest to level."""
    quarters = round(angle_degrees / 90)
    w, h = (size[1], size[0]) if quarters % 2 else (size[0], size[1])
    return [centre[0], centre[1], w, h, float(np.radians(angle_degrees - 90 * quarters))]


def reading_order(lines: Floats, same_row_px: float = 10.0) -> npt.NDArray[np.intp]:
    """Indices of oriented boxes (N, 5) from top to bottom, and from left to right where their tops are nearly level."""
    if not len(lines):
        return np.zeros(0, np.intp)
    first = corners_of(lines)[:, 0]
    by_top = np.argsort(first[:, 1], kind="stable")
    row, rows = 0, []
    for i, index in enumerate(by_top):
        row += bool(i) and first[index, 1] - first[by_top[i - 1], 1] >= same_row_px
        rows.append(row)
    return by_top[np.lexsort((first[by_top, 0], rows))]


class TextReading:
    """A reader of one line of text, by CTC. `characters` in the options: those of the classes after the blank, in order."""

    name = "ctc"
    evaluation = Evaluation()
    expects = "one output [N, steps, 1 + characters] with the characters in the file's metadata (`character`)"

    def recognise(self, graph: Graph, *, named: bool = False) -> Match | None:
        classes = _ctc_classes(graph.outputs)
        characters = graph.metadata.get("character", "").splitlines()
        if classes == len(characters) + 2:
            characters.append(" ")  # the authors' last class, which their list leaves out
        if not classes or (not named and classes != len(characters) + 1):
            return None
        return Match(
            self.name,
            Task.TEXT,
            InputSpec(
                graph.image.name,
                graph.width,
                graph.height,
                colour="BGR",
                anchor="top-left",
                pad=127,
                mean=_HALF,
                std=_HALF,
                open_width=graph.image.shape[-1] is None,
            ),
            DecodeSpec(score_threshold=0.0, nms="none", options={"characters": characters}),
            0,
            f"one output {graph.outputs[0]}: a line of text from {len(characters)} characters, by CTC",
        )

    def check(self, outputs: Sequence[Port], spec: ModelSpec) -> list[Problem]:
        classes = _ctc_classes(outputs)
        if not classes:
            return [outputs_problem(outputs, self.expects, self.name)]
        characters = spec.decode.options.get("characters", ())
        if spec.labels or len(characters) + 1 != classes:
            words = f"{len(spec.labels)} labels and {len(characters)} characters for a reader of {classes} classes"
            wish = f"no labels, and {classes - 1} characters in the file's metadata"
            return [
                Problem("labels", Reason.MODEL_LABELS, words, wish, "export the model with its characters")
            ]
        return []

    def decoder(self, outputs: Sequence[Port], spec: ModelSpec) -> Decoder:
        return TextReadingDecoder(spec)


def _ctc_classes(outputs: Sequence[Port]) -> int:
    if len(outputs) != 1 or len(outputs[0].shape) != 3:
        return 0
    classes = outputs[0].shape[2] or 0
    return classes if classes > _LEAST_CHARACTERS else 0


class TextReadingDecoder:
    """Decodes the output of one model: a result of one text, whose box is the picture."""

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._characters = ("", *spec.decode.options.get("characters", ()))

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        batch = as_float(outputs[0])
        return [self._one(batch[i], geometry) for i, geometry in enumerate(geometries)]

    def _one(self, steps: Floats, geometry: Geometry) -> Answer:
        if has_nan(steps):
            return not_a_number(self._spec)
        text, score = self.read(steps)
        width, height = geometry.image_width_px, geometry.image_height_px
        return Result(
            image_wh=(width, height),
            labels=("text",),
            boxes=np.array([[0, 0, width, height]], np.float32),
            scores=np.array([score], np.float32),
            class_ids=np.zeros(1, np.int32),
            texts=(text,),
        )

    def read(self, steps: Floats) -> tuple[str, float]:
        """The text of (steps, classes) probabilities, and how sure it is."""
        best, sure = steps.argmax(axis=1), steps.max(axis=1)
        keep = best != 0
        keep[1:] &= best[1:] != best[:-1]
        if not keep.any():
            return "", 0.0
        return "".join(self._characters[i] for i in best[keep]), float(sure[keep].mean())
