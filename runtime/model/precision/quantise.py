"""Writes INT8 or FP8 into a graph as pairs of QuantizeLinear and DequantizeLinear: what every engine reads, and TensorRT obeys.

Symmetric, zero point 0. Activations have one scale a tensor, from calibration; weights one a channel, and are stored quantised.
The last convolution or product of every output stays as it is, since its rounding is the result's, and so do depthwise convolutions:
with them YOLOX-nano's scores correlate 0.69 with those of FP32, without 0.99. Imports onnx.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused
from wire.reasons import Reason

LARGEST = {"int8": 127.0, "fp8": 448.0}
"""The largest number of each; FP8 is E4M3 with finite values only."""
OPSET = {"int8": 13, "fp8": 19}
"""The first opset whose QuantizeLinear has scales by channel, or knows FP8."""
QUANTISED = {"Conv": 0, "ConvTranspose": 1, "Gemm": None, "MatMul": -1}
"""Operator → the axis of its weights' output channels; that of Gemm depends on `transB`."""
SMALLEST_SCALE = 1e-8


def inputs_to_calibrate(model: Any) -> list[str]:
    """The activations whose range must be known, in the graph's order, each once."""
    return list(dict.fromkeys(node.input[0] for node in _nodes(model)))


def quantise(model: Any, ranges: Mapping[str, float], kind: str) -> int:
    """Change a parsed model in place; how many operators were quantised. `ranges`: the largest magnitude of each activation.

    :raises ModelRefused: PRECISION_UNAVAILABLE: nothing in the graph can be quantised
    """
    nodes = _nodes(model)
    if not nodes:
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"nothing in the graph can be computed in {kind}: it has no convolution or product with weights but the last",
        )
    rewrite = _Rewrite(model.graph, ranges, kind)
    for node in nodes:
        rewrite.apply(node)
    rewrite.finish()
    return len(nodes)


def prepared(model: Any, kind: str) -> Any:
    """The model with its weights in the open, lifted to an opset that can say it; the given one may change.

    :raises ModelRefused: PRECISION_UNAVAILABLE: it cannot be lifted
    """
    import onnx

    from runtime.model.portable import fold_stored_weights
    from runtime.model.soundness import opset_of

    fold_stored_weights(model)
    wanted = OPSET[kind]
    if opset_of(model) >= wanted:
        return model
    try:
        lifted = onnx.version_converter.convert_version(model, wanted)
    except Exception as e:  # the converter raises what its adapters do, RuntimeError among others
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"the graph is of opset {opset_of(model)}, {kind} needs {wanted}, and it cannot be converted: {e}; "
            f"export it with opset_version={wanted}",
        ) from e
    weights = {tensor.name for tensor in lifted.graph.initializer}
    inputs = [value for value in lifted.graph.input if value.name not in weights]
    del lifted.graph.input[:]  # the converter lists weights among them
    lifted.graph.input.extend(inputs)
    return lifted


def _nodes(model: Any) -> list[Any]:
    """What is quantised: has weights of its own, and another such operator after it."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    consumers: dict[str, list[int]] = defaultdict(list)
    graph = list(model.graph.node)
    for index, node in enumerate(graph):
        for name in node.input:
            consumers[name].append(index)
    leads = [False] * len(graph)
    for index in range(len(graph) - 1, -1, -1):
        followers = {follower for name in graph[index].output for follower in consumers[name]}
        leads[index] = any(leads[f] or _takes(graph[f], weights) for f in followers)
    return [node for node, leading in zip(graph, leads, strict=True) if leading and _takes(node, weights)]


def _takes(node: Any, weights: Mapping[str, Any]) -> bool:
    if node.op_type not in QUANTISED or len(node.input) < 2 or node.input[0] in weights:
        return False
    if any(a.name == "group" and a.i > 1 for a in node.attribute):
        return (
            False  # depthwise: few operations to save, and channels of very different ranges under one scale
        )
    tensor = weights.get(node.input[1])
    return tensor is not None and tensor.data_type == 1 and len(tensor.dims) >= 2


class _Rewrite:
    """One graph under way. Pairs are made once for each activation and each weight."""

    def __init__(self, graph: Any, ranges: Mapping[str, float], kind: str) -> None:
        self._graph = graph
        self._ranges = ranges
        self._kind = kind
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._before: dict[int, list[Any]] = defaultdict(list)
        self._pairs: dict[str, str] = {}
        self._kept = list(graph.node)

    def apply(self, node: Any) -> None:
        index = next(i for i, held in enumerate(self._kept) if held is node)
        node.input[1] = self._weight(node, index)
        node.input[0] = self._activation(node.input[0], index)

    def finish(self) -> None:
        nodes = [made for i, node in enumerate(self._kept) for made in (*self._before[i], node)]
        used = {name for node in nodes for name in node.input} | {o.name for o in self._graph.output}
        tensors = [tensor for name, tensor in self._weights.items() if name in used]
        for field, values in ((self._graph.node, nodes), (self._graph.initializer, tensors)):
            del field[:]
            field.extend(values)

    def _activation(self, name: str, index: int) -> str:
        from onnx import helper

        if name in self._pairs:
            return self._pairs[name]
        scale = max(self._ranges[name] / LARGEST[self._kind], SMALLEST_SCALE)
        scale_name, zero = self._constants(name, np.array(scale, np.float32))
        quantised, again = f"{name}_quantised", f"{name}_dequantised"
        self._before[index] += [
            helper.make_node("QuantizeLinear", [name, scale_name, zero], [quantised], name=quantised),
            helper.make_node("DequantizeLinear", [quantised, scale_name, zero], [again], name=again),
        ]
        self._pairs[name] = again
        return again

    def _weight(self, node: Any, index: int) -> str:
        from onnx import helper, numpy_helper

        name, axis = node.input[1], _axis(node)
        value = np.asarray(numpy_helper.to_array(self._weights[name]), np.float32)
        axis %= value.ndim
        pair = f"{name}_by_{axis}"
        if pair in self._pairs:
            return self._pairs[pair]
        others = tuple(i for i in range(value.ndim) if i != axis)
        scales = np.maximum(np.abs(value).max(axis=others) / LARGEST[self._kind], SMALLEST_SCALE)
        shape = [-1 if i == axis else 1 for i in range(value.ndim)]
        scale_name, zero = self._constants(pair, scales.astype(np.float32))
        stored, again = f"{pair}_quantised", f"{pair}_dequantised"
        self._weights[stored] = self._stored(value / scales.reshape(shape), stored)
        self._before[index].append(
            helper.make_node("DequantizeLinear", [stored, scale_name, zero], [again], name=again, axis=axis)
        )
        self._pairs[pair] = again
        return again

    def _constants(self, name: str, scale: npt.NDArray[np.float32]) -> tuple[str, str]:
        from onnx import numpy_helper

        scale_name, zero = f"{name}_scale", f"{name}_zero"
        self._weights[scale_name] = numpy_helper.from_array(scale, scale_name)
        self._weights[zero] = self._stored(np.zeros(scale.shape, np.float32), zero)
        return scale_name, zero

    def _stored(self, value: npt.NDArray[np.float32], name: str) -> Any:
        """A tensor of the quantised type, from values in its own steps."""
        from onnx import TensorProto, helper, numpy_helper

        limit = LARGEST[self._kind]
        if self._kind == "int8":
            return numpy_helper.from_array(np.clip(np.rint(value), -limit, limit).astype(np.int8), name)
        clipped = np.clip(value, -limit, limit).astype(np.float32)
        return helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, list(value.shape), clipped.ravel().tolist())


def _axis(node: Any) -> int:
    axis = QUANTISED[node.op_type]
    if axis is not None:
        return axis
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return 0 if transposed else 1
