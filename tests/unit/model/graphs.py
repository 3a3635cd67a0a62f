"""Small ONNX graphs that tests make themselves."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, UINT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


def save(path, nodes, inputs, outputs, weights=(), *, listed=False, ir_version=8, opset=13):
    """Write a graph. `listed`: name the weights among the inputs, as old exporters do."""
    tensors = [numpy_helper.from_array(value, name) for name, value in weights]
    infos = [helper.make_tensor_value_info(*entry) for entry in inputs]
    if listed:
        infos += [helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in tensors]
    graph = helper.make_graph(
        nodes, "g", infos, [helper.make_tensor_value_info(*entry) for entry in outputs], tensors
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    onnx.save(model, str(path))
    return path


def echo(path, *, dtype=FLOAT, shape=(1, 3, 4, 4), name="images", **options):
    """A graph that answers its input."""
    node = helper.make_node("Identity", [name], ["out"])
    return save(path, [node], [(name, dtype, list(shape))], [("out", dtype, list(shape))], **options)


def constant_rows(path, rows, *, size=32, batch=1, name="images", output="output", **options):
    """A detector that answers the same rows whatever it sees: (1, A, 5 + C) plus nothing times the picture."""
    nodes = [
        helper.make_node("ReduceMean", [name], ["mean"], axes=[1, 2, 3], keepdims=1),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Squeeze", ["nothing", "last"], ["flat"]),
        helper.make_node("Add", ["flat", "rows"], [output]),
    ]
    weights = [
        ("zero", np.zeros(1, np.float32)),
        ("last", np.array([3], np.int64)),
        ("rows", np.asarray(rows, np.float32)[None]),
    ]
    side = batch if batch is not None else "batch"
    return save(
        path,
        nodes,
        [(name, FLOAT, [side, 3, size, size])],
        [(output, FLOAT, [side, *np.asarray(rows).shape])],
        weights,
        **options,
    )
