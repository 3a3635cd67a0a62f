"""The choice of candidates within the graph: only the best rows of a detector's head cross back from the GPU.

A head answers a row for each cell, of which a picture needs a few. What is appended joins the head's outputs to rows, ranks each row by its best
score, and gives the best `keep` of them, with their cells and ranks, and whether any value was no number. The decoder then sees the rows that it
would have chosen itself, in the order of their cells. Where more than `keep` rows pass the threshold, the best of them are seen. On a
processor nothing crosses and nothing is gained: YOLO11n took 46.5 ms without and 45.8 to 48.1 ms with it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from runtime.model.families.family import Decoder, Output, Port, as_float, not_a_number
from runtime.model.geometry import Geometry
from runtime.model.spec import ModelSpec
from runtime.results import Answer, Floats, Ints

logger = logging.getLogger(__name__)

KEEP = 1024
"""Rows that cross back. TensorRT ranks up to 3840; a picture full of objects has some hundred rows above a usual threshold."""
LEAST_SAVED_BYTES = 256 * 1024
"""Of one picture's outputs: less is copied in the time that ranking takes. RF-DETR's 300 queries are 110 KiB in all."""
MIN_OPSET = 11
_AXES_AS_INPUT_OPSET = 18
_NAME = "outrider_rows"


@dataclass(frozen=True)
class Head:
    """What makes rows of a graph's outputs. `levels`: for each level the outputs whose columns stand side by side; the levels' rows come one behind
    the other. `columns_first`: each output is (N, columns, rows). `scores`: first and last column, exclusive, of the class scores; `objectness`: the
    column they are multiplied by."""

    levels: tuple[tuple[int, ...], ...]
    scores: tuple[int, int]
    objectness: int | None = None
    columns_first: bool = False


@dataclass(frozen=True)
class Shrink:
    """A head, and how many of its rows are kept; part of the key of a fused graph."""

    head: Head
    keep: int
    names: tuple[str, ...]
    """All outputs of the graph, in its order."""

    @property
    def used(self) -> frozenset[int]:
        return frozenset(index for level in self.head.levels for index in level)


class RowDecoder(Protocol):
    """A decoder that can also be given the rows themselves."""

    def of_rows(self, rows: Floats, cells: Ints, others: Sequence[Output], geometry: Geometry) -> Answer:
        """rows: (M, columns) of the cells (M,), in their order; others: this picture's part of the outputs that are no rows."""


def plan(head: Head | None, outputs: Sequence[Port], keep: int = KEEP) -> Shrink | None:
    """What to append, or None where it would save too little, or the outputs leave their sizes open."""
    if head is None:
        return None
    used = [outputs[i] for level in head.levels for i in level]
    if any(port.dtype != "float32" or None in port.shape[1:] for port in used):
        return None
    bytes_now = 4 * sum(math.prod(side or 1 for side in port.shape[1:]) for port in used)
    row, column = (2, 1) if head.columns_first else (1, 2)
    columns = sum(outputs[i].shape[column] or 0 for i in head.levels[0])
    rows = sum(outputs[level[0]].shape[row] or 0 for level in head.levels)
    if rows <= keep or bytes_now - 4 * keep * (columns + 2) < LEAST_SAVED_BYTES:
        return None
    return Shrink(head, keep, tuple(port.name for port in outputs))


def append(model: Any, shrink: Shrink) -> bool:
    """Put the choice behind a graph's outputs. False, and nothing changed, where its operators are older than this needs."""
    from onnx import helper

    from runtime.model.soundness import opset_of

    opset = opset_of(model)
    graph = model.graph
    if opset < MIN_OPSET:
        return False
    by_name = {value.name: value for value in graph.output}
    _Writer(graph, opset, shrink).write()
    batch = by_name[shrink.names[min(shrink.used)]].type.tensor_type.shape.dim[0]
    first = batch.dim_value or batch.dim_param or "batch"
    columns = sum(_columns(by_name[shrink.names[i]], shrink.head) for i in shrink.head.levels[0])
    kept = [by_name[name] for i, name in enumerate(shrink.names) if i not in shrink.used]
    made = [
        helper.make_tensor_value_info(_NAME, 1, [first, shrink.keep, columns]),
        helper.make_tensor_value_info(f"{_NAME}_cells", 6, [first, shrink.keep]),
        helper.make_tensor_value_info(f"{_NAME}_ranks", 1, [first, shrink.keep]),
        helper.make_tensor_value_info(f"{_NAME}_nan", 1, [first]),
    ]
    del graph.output[:]
    graph.output.extend([*made, *kept])
    return True


def _columns(value: Any, head: Head) -> int:
    return int(value.type.tensor_type.shape.dim[1 if head.columns_first else 2].dim_value)


class _Writer:
    """Writes the nodes."""

    def __init__(self, graph: Any, opset: int, shrink: Shrink) -> None:
        self._graph = graph
        self._opset = opset
        self._shrink = shrink
        self._count = 0

    def write(self) -> None:
        head, keep = self._shrink.head, self._shrink.keep
        rows = self._rows()
        rank = self._max(self._columns(rows, *head.scores), 2)
        if head.objectness is not None:
            sure = self._columns(rows, head.objectness, head.objectness + 1)
            rank = self._node("Mul", rank, self._node("Reshape", sure, self._ints(0, -1)))
        ranks, cells = f"{_NAME}_ranks", f"{_NAME}_where"
        self._named("TopK", [rank, self._ints(keep)], [ranks, cells], axis=1, largest=1, sorted=1)
        places = self._node("Reshape", cells, self._ints(0, keep, 1))
        width = sum(_columns(self._output(i), head) for i in head.levels[0])
        tiled = self._node("Tile", places, self._ints(1, 1, width))
        self._named("GatherElements", [rows, tiled], [_NAME], axis=1)
        self._named("Cast", [cells], [f"{_NAME}_cells"], to=6)
        wrong = self._node("Cast", self._node("IsNaN", rows), to=1)
        self._max(self._node("Reshape", wrong, self._ints(0, -1)), 1, f"{_NAME}_nan")

    def _rows(self) -> str:
        """(N, rows, columns) of all levels."""
        head = self._shrink.head
        levels = []
        for level in head.levels:
            parts = [self._shrink.names[i] for i in level]
            if head.columns_first:
                parts = [self._node("Transpose", part, perm=[0, 2, 1]) for part in parts]
            levels.append(parts[0] if len(parts) == 1 else self._node("Concat", *parts, axis=2))
        return levels[0] if len(levels) == 1 else self._node("Concat", *levels, axis=1)

    def _output(self, index: int) -> Any:
        name = self._shrink.names[index]
        return next(value for value in self._graph.output if value.name == name)

    def _columns(self, rows: str, start: int, stop: int) -> str:
        return self._node("Slice", rows, self._ints(start), self._ints(stop), self._ints(2))

    def _max(self, value: str, axis: int, name: str = "") -> str:
        if self._opset >= _AXES_AS_INPUT_OPSET:
            return self._named("ReduceMax", [value, self._ints(axis)], [name or self._fresh()], keepdims=0)
        return self._named("ReduceMax", [value], [name or self._fresh()], axes=[axis], keepdims=0)

    def _ints(self, *values: int) -> str:
        from onnx import numpy_helper

        name = self._fresh()
        self._graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def _node(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self._named(op, list(inputs), [self._fresh()], **attributes)

    def _named(self, op: str, inputs: list[str], results: list[str], **attributes: Any) -> str:
        from onnx import helper

        self._graph.node.append(
            helper.make_node(op, inputs, results, name=f"{results[0]}_node", **attributes)
        )
        return results[0]

    def _fresh(self) -> str:
        self._count += 1
        return f"{_NAME}_{self._count}"


class ShrunkDecoder:
    """Decodes what `append` answers, by the family's own decoder."""

    def __init__(self, decoder: RowDecoder, spec: ModelSpec, keep: int) -> None:
        self._decoder = decoder
        self._spec = spec
        self._keep = keep
        self._told = False

    def __call__(self, outputs: Sequence[Output], geometries: Sequence[Geometry]) -> list[Answer]:
        rows, cells, ranks, wrong, *others = outputs
        return [
            not_a_number(self._spec)
            if wrong[i] > 0
            else self._one(
                as_float(rows[i]), cells[i], ranks[i], [other[i : i + 1] for other in others], geometry
            )
            for i, geometry in enumerate(geometries)
        ]

    def _one(
        self, rows: Floats, cells: Ints, ranks: Floats, others: Sequence[Output], geometry: Geometry
    ) -> Answer:
        passing = int(np.count_nonzero(ranks > self._spec.decode.score_threshold))
        if passing == self._keep and not self._told:
            self._told = True
            logger.warning(
                "model %r: %d candidates or more pass the threshold, the best %d are looked at",
                self._spec.name, self._keep, self._keep,
            )  # fmt: skip
        order = cells[:passing].argsort(kind="stable")  # as without: equal scores are decided by the cell
        return self._decoder.of_rows(rows[:passing][order], cells[:passing][order], others, geometry)


def decoder_for(decoder: Decoder, shrink: Shrink, spec: ModelSpec) -> ShrunkDecoder:
    """:raises TypeError: the family names a head, but its decoder takes no rows"""
    if not hasattr(decoder, "of_rows"):
        raise TypeError(f"{type(decoder).__name__} has no of_rows")
    return ShrunkDecoder(cast("RowDecoder", decoder), spec, shrink.keep)
