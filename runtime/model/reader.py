"""Reads the texts of a picture: cuts out the lines that a detector found, turns those that stand on their head, reads them.

A package that reads holds two more packages, its parts: `recognition`, and where it has one `direction`. Owns both. The lines are cut
as PP-OCR cuts them: a perspective of the corners, cubic; a line higher than wide is turned; 48 pixels high, grey behind its end. The
parts run in ONNX Runtime, since every line has a width of its own. One thread at a time may call it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.geometry import Geometry, place
from runtime.model.spec import InputSpec, ModelSpec
from runtime.results import Answer, Floats, Image, NoAnswer, Result

if TYPE_CHECKING:
    from runtime.model.session import LoadedModel, LoadOptions

RECOGNITION, DIRECTION = "recognition", "direction"
PARTS = (RECOGNITION, DIRECTION)
_GREY = 127.5
"""Behind the end of a line: 0 after normalisation, as the authors fill it."""
_BATCH = 6
"""Lines read together, those of nearly the same length; the authors' number, on which the padding depends."""
_TURNED = "180"
_SURELY_TURNED = 0.9
_HIGH = 1.5
"""Lines so many times higher than wide are turned by a quarter."""


@dataclass(frozen=True)
class Part:
    """A loaded part, fed with floats 0 to 255."""

    model: LoadedModel

    def run(self, lines: Sequence[Image]) -> list[Result]:
        """One result for each line.

        :raises Transient: the engine failed, or gave no numbers
        """
        spec = self.model.spec.input
        width = _width_for(lines, spec)
        tensors = np.stack([_tensor(line, spec, width) for line in lines])
        answers = self.model.run(tensors, [_geometry(line) for line in lines])
        for answer in answers:
            if isinstance(answer, NoAnswer):
                raise Transient(answer.reason, answer.message)
        return [answer for answer in answers if isinstance(answer, Result)]


class TextReader:
    """The parts of one package."""

    def __init__(self, directory: Path, spec: ModelSpec, options: LoadOptions) -> None:
        """Load the parts.

        :raises ModelRefused: one of them cannot be loaded
        """
        from runtime.model.session import LoadedModel

        own = replace(
            options,
            engine=options.engine if options.engine.startswith("onnxruntime") else "onnxruntime",
            exact=True,
            score_threshold=None,
            max_batch=_BATCH,
            precision="",
        )
        self._threshold = float(spec.decode.options.get("text_threshold", 0.5))
        self._parts: dict[str, Part] = {}
        try:
            for name in spec.parts:
                self._parts[name] = Part(LoadedModel(directory / name, own))
        except ModelRefused:
            self.close()
            raise

    def read(self, image: Image, found: Answer) -> Answer:
        """The lines of a detector's answer with their texts; what cannot be read is left out.

        image: (H, W, 3) uint8 BGR; the answer is in its pixels.
        """
        if isinstance(found, NoAnswer) or found.oriented is None:
            return found
        corners = found.corners
        assert corners is not None, "there are oriented boxes"
        lines = [cut(image, line) for line in corners]
        seen = [i for i, line in enumerate(lines) if line is not None]
        try:
            texts, turned = self._read([line for line in lines if line is not None])
        except Transient as e:
            return NoAnswer(e.reason, str(e))
        return self._answer(found.select(np.array(seen, np.intp)), texts, turned)

    def _answer(self, found: Result, texts: list[Result], turned: npt.NDArray[np.bool_]) -> Result:
        assert found.oriented is not None, "the caller has looked"
        oriented = found.oriented.copy()
        oriented[turned, 4] += np.float32(np.pi)
        scores = np.array([text.scores[0] for text in texts], np.float32)
        words = tuple(text.texts[0] if text.texts else "" for text in texts)
        read = replace(found, oriented=oriented, scores=scores, texts=words)
        clear = np.array([bool(word) for word in words], np.bool_) & (scores >= self._threshold)
        return read.select(clear)

    def _read(self, lines: list[Image]) -> tuple[list[Result], npt.NDArray[np.bool_]]:
        """A text for each line, and which lines stand on their head."""
        turned = np.zeros(len(lines), np.bool_)
        if DIRECTION in self._parts:
            for i, answer in enumerate(self._each(DIRECTION, lines)):
                ((_, name, score),) = answer.top(1)
                turned[i] = name == _TURNED and score > _SURELY_TURNED
        upright = [
            np.ascontiguousarray(line[::-1, ::-1]) if t else line
            for line, t in zip(lines, turned, strict=True)
        ]
        return self._each(RECOGNITION, upright), turned

    def _each(self, name: str, lines: list[Image]) -> list[Result]:
        """The part's result for each line; lines of nearly the same length run together."""
        order = sorted(range(len(lines)), key=lambda i: lines[i].shape[1] / lines[i].shape[0])
        results: dict[int, Result] = {}
        for start in range(0, len(order), _BATCH):
            some = order[start : start + _BATCH]
            results.update(zip(some, self._parts[name].run([lines[i] for i in some]), strict=True))
        return [results[i] for i in range(len(lines))]

    def close(self) -> None:
        """Give the memory back."""
        for part in self._parts.values():
            part.model.close()


def seen_by(tensor: npt.NDArray[Any], spec: InputSpec, geometry: Geometry) -> Image:
    """The picture as it lies in a model's input (values 0 to 255), (H, W, 3) uint8 BGR, without the padding."""
    rows = tensor.transpose(1, 2, 0) if spec.layout == "NCHW" else tensor
    left, top = max(0, geometry.left_px), max(0, geometry.top_px)
    inside = rows[top : top + geometry.resized_height_px, left : left + geometry.resized_width_px]
    ordered = inside if spec.colour == "BGR" else inside[:, :, ::-1]
    return np.ascontiguousarray(ordered, np.uint8)


def moved(result: Result, to_wh: tuple[int, int]) -> Result:
    """The result for the same picture at another size."""
    gain_x, gain_y = to_wh[0] / result.image_wh[0], to_wh[1] / result.image_wh[1]
    oriented = result.oriented
    if oriented is not None:
        oriented = oriented * np.array([gain_x, gain_y, gain_x, gain_y, 1], np.float32)
    boxes = result.boxes * np.array([gain_x, gain_y] * 2, np.float32)
    return replace(result, image_wh=to_wh, boxes=boxes.astype(np.float32), oriented=oriented)


def cut(image: Image, corners: Floats) -> Image | None:
    """The line within four corners (4, 2), clockwise from the top left, level; None where nothing is left of it."""
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1], np.float32)
    whole = np.trunc(np.clip(np.round(corners), 0, limit)).astype(np.float32)
    sides = np.linalg.norm(whole - np.roll(whole, -1, axis=0), axis=1)
    width, height = int(max(sides[0], sides[2])), int(max(sides[1], sides[3]))
    if width <= 3 or height <= 3:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    line = cv2.warpPerspective(
        image,
        cv2.getPerspectiveTransform(whole, target),
        (width, height),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.ascontiguousarray(np.rot90(line) if height / width >= _HIGH else line)


def _width_for(lines: Sequence[Image], spec: InputSpec) -> int:
    if not spec.open_width:
        return spec.width
    ratios = [line.shape[1] / line.shape[0] for line in lines]
    return int(spec.height * max(spec.width / spec.height, *ratios))


def _tensor(line: Image, spec: InputSpec, width: int) -> Floats:
    """A line in the part's input: the height of the input, as wide as that makes it, grey behind its end."""
    wanted = min(width, int(np.ceil(spec.height * line.shape[1] / line.shape[0])))
    resized = cv2.resize(line, (max(1, wanted), spec.height))
    canvas = np.full((spec.height, width, 3), _GREY, np.float32)
    canvas[:, : resized.shape[1]] = resized
    ordered = canvas if spec.colour == "BGR" else canvas[:, :, ::-1]
    return np.ascontiguousarray(ordered.transpose(2, 0, 1) if spec.layout == "NCHW" else ordered)


def _geometry(line: Image) -> Geometry:
    height, width = line.shape[:2]
    return place(InputSpec("line", width, height, resize="stretch"), width, height)
