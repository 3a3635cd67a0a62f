"""Rewrites what the ONNX standard allows and not every engine accepts. The results stay the same to the last bit. Imports onnx."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

_SPLIT_BY_INPUT = 13
"""From this opset on Split takes its sizes as an input."""


def make_portable(model: Any) -> None:
    """Change a parsed model in place; its weights must be inside."""
    fold_stored_weights(model)
    if any(node.op_type == "GatherElements" for node in model.graph.node):
        _join_slices(model)
        _narrow_gathers(model)


def fold_stored_weights(model: Any) -> None:
    """Weights that a file stores in a smaller type, with the Cast and Mul that make them large again, become plain ones.

    TensorRT refuses INT8 constants that no DequantizeLinear reads, OpenVINO 2026.4 crashes on them in BF16, and quantisation has to
    see the weights. Pairs of QuantizeLinear and DequantizeLinear stay.
    """
    from onnx import numpy_helper

    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    kept, folded = [], False
    for node in model.graph.node:
        if node.op_type in _FOLDED and all(name in tensors for name in node.input) and len(node.output) == 1:
            values = [numpy_helper.to_array(tensors[name]) for name in node.input]
            made = np.ascontiguousarray(_FOLDED[node.op_type](node, values))
            tensors[node.output[0]] = numpy_helper.from_array(made, node.output[0])
            folded = True
        else:
            kept.append(node)
    if not folded:
        return
    used = {name for node in kept for name in node.input} | {value.name for value in model.graph.output}
    used |= {name for node in kept for a in node.attribute for name in _names_within(a)}
    for field, made_of in (
        (model.graph.node, kept),
        (model.graph.initializer, [tensor for name, tensor in tensors.items() if name in used]),
    ):
        del field[:]
        field.extend(made_of)


def _names_within(attribute: Any) -> set[str]:
    """What a subgraph takes from outside."""
    graphs = [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    nodes = [node for graph in graphs for node in graph.node]
    deeper = {name for node in nodes for a in node.attribute for name in _names_within(a)}
    return (
        deeper
        | {name for node in nodes for name in node.input}
        | {value.name for graph in graphs for value in graph.output}
    )


def _cast(node: Any, values: list[Any]) -> Any:
    from onnx import helper

    return values[0].astype(helper.tensor_dtype_to_np_dtype(helper.get_node_attr_value(node, "to")))


def _transposed(node: Any, values: list[Any]) -> Any:
    return values[0].transpose(next((list(a.ints) for a in node.attribute if a.name == "perm"), None))


_FOLDED: dict[str, Callable[[Any, list[Any]], Any]] = {
    "Cast": _cast,
    "Mul": lambda node, values: values[0] * values[1],
    "Transpose": _transposed,
    "Identity": lambda node, values: values[0],
}


def _join_slices(model: Any) -> None:
    """Slices that share a tensor out along one axis become one Split: OpenVINO 2026.4 loses the first of them before a gather."""
    from onnx import helper, numpy_helper

    shapes = static_shapes(model)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    groups: dict[tuple[str, int], list[tuple[int, int, Any]]] = {}
    for node in model.graph.node:
        if (found := _sliced(node, constants, shapes)) is not None:
            axis, start, end = found
            groups.setdefault((node.input[0], axis), []).append((start, end, node))
    splits: dict[str, Any] = {}
    for (data, axis), members in groups.items():
        members.sort(key=lambda member: member[:2])
        bounds = [0, *(end for _, end, _ in members)]
        tiles = [start for start, _, _ in members] == bounds[:-1] and bounds[-1] == shapes[data][axis]
        if opset < _SPLIT_BY_INPUT or len(members) < 2 or not tiles:
            continue
        sizes = f"{data}_split_{axis}"
        model.graph.initializer.append(numpy_helper.from_array(np.diff(bounds).astype(np.int64), sizes))
        outputs = [node.output[0] for _, _, node in members]
        split = helper.make_node("Split", [data, sizes], outputs, name=sizes, axis=axis)
        splits |= dict.fromkeys(outputs, split)
    _put_in_place(model, splits)


def _put_in_place(model: Any, splits: dict[str, Any]) -> None:
    """Each split where the first of its slices was; the slices go."""
    kept: list[Any] = []
    for node in model.graph.node:
        split = splits.get(node.output[0]) if node.op_type == "Slice" else None
        if split is None:
            kept.append(node)
        elif not any(split is other for other in kept):
            kept.append(split)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _sliced(
    node: Any, constants: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> tuple[int, int, int] | None:
    """(axis, start, end) of a Slice along one axis with a step of 1 and known bounds; None for anything else."""
    if node.op_type != "Slice" or node.input[0] not in shapes or len(node.input) < 4:
        return None
    values = [constants[name] for name in node.input[1:] if name in constants and constants[name].size == 1]
    if len(values) != len(node.input) - 1:
        return None
    start, end, axis, step = (int(value.flat[0]) for value in (*values, np.ones(1))[:4])
    shape = shapes[node.input[0]]
    axis %= len(shape)
    start, end = (min(at + shape[axis] if at < 0 else at, shape[axis]) for at in (start, end))
    return (axis, start, end) if step == 1 else None


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
