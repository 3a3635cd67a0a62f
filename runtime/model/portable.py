"""Rewrites what the ONNX standard allows and not every engine accepts. The results stay the same to the last bit. Imports onnx."""

from __future__ import annotations

from typing import Any

import numpy as np


def make_portable(model: Any) -> None:
    """Change a parsed model in place."""
    if any(node.op_type == "GatherElements" for node in model.graph.node):
        _narrow_gathers(model)


def _narrow_gathers(model: Any) -> None:
    """`GatherElements` whose indices are narrower than its data beside the axis: OpenVINO wants them equal, so the data is cut."""
    from onnx import helper, numpy_helper

    shapes = static_shapes(model)
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type == "GatherElements":
            data, indices = shapes.get(node.input[0]), shapes.get(node.input[1])
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            cut = _cut(data, indices, axis)
            if cut:
                axes, ends = zip(*cut, strict=True)
                names = [f"{node.output[0]}_cut_{part}" for part in ("starts", "ends", "axes")]
                values = (np.zeros(len(axes), np.int64), np.array(ends, np.int64), np.array(axes, np.int64))
                model.graph.initializer.extend(map(numpy_helper.from_array, values, names))
                narrowed = f"{node.output[0]}_cut"
                nodes.append(helper.make_node("Slice", [node.input[0], *names], [narrowed], name=narrowed))
                node.input[0] = narrowed
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _cut(data: tuple[int, ...] | None, indices: tuple[int, ...] | None, axis: int) -> list[tuple[int, int]]:
    """(axis, end) of every side that is wider than the indices; empty where a side is not known or nothing is wider."""
    if data is None or indices is None or len(data) != len(indices):
        return []
    beside = axis % len(data)
    sides = enumerate(zip(data, indices, strict=True))
    return [(i, want) for i, (have, want) in sides if i != beside and have > want]


def static_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that are fully known, by shape inference with values carried along."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    graph = inferred.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.HasField("shape") and all(side > 0 for side in sides):
            shapes[value.name] = tuple(sides)
    return shapes
