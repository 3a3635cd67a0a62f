"""Rewrites a graph of FP32 into one typed FP16, for engines that compute in exactly the types a graph states.

Rules: one Cast for a tensor and direction; the decoding tail (whatever has no convolution or product after it) stays FP32, since
FP16 is half a pixel apart at 512 to 1024 px; the inputs and outputs keep their types. Imports onnx.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "LSTM", "GRU"})
"""What costs the time, and has accumulators of its own."""
FULL = frozenset({"Range", "NonMaxSuppression", "CumSum", "QuantizeLinear", "DequantizeLinear", "GridSample"})
"""Operators that stay FP32: their standard or an engine has no FP16, or a position needs its digits."""
FLOAT_INPUTS = {"Resize": {1, 2}, "Upsample": {1}}
"""Inputs that the standard wants as FP32 whatever the data is: regions and scales."""
SOURCES = frozenset({"Cast", "ConstantOfShape", "RandomUniformLike", "RandomNormalLike", "EyeLike"})
"""Operators whose output type an attribute states."""
LARGEST = 65504.0
"""The largest FP16 number; weights beyond it are cut, or they would become infinite."""


def to_half(model: Any) -> None:
    """Change a parsed model in place; its weights must be inside. Subgraphs (If, Loop) are left as they are, in FP32."""
    _Conversion(model).run()


class _Conversion:
    """One graph under way. `held`: what a float tensor is typed now; `casts`: those made, by tensor and type."""

    def __init__(self, model: Any) -> None:
        import onnx
        from onnx import TensorProto

        self.float, self.half = TensorProto.FLOAT, TensorProto.FLOAT16
        self.graph = model.graph
        _lift_constants(self.graph)
        self.weights = {tensor.name: tensor for tensor in self.graph.initializer}
        self.types = _types(onnx.shape_inference.infer_shapes(model, data_prop=True).graph)
        self.held: dict[str, int] = {
            value.name: self.float for value in self.graph.input if self.types.get(value.name) == self.float
        }
        self.casts: dict[tuple[str, int], str] = {}
        self.nodes: list[Any] = []
        self.kept: dict[str, Any] = {}

    def run(self) -> None:
        light = _tail(self.graph)
        for index, node in enumerate(self.graph.node):
            full = node.op_type in FULL or index in light or any(a.HasField("g") for a in node.attribute)
            self._convert(node, self.float if full else self.half)
        self._restore_outputs()
        self._replace(self.graph.node, self.nodes)
        self._replace(self.graph.initializer, self.kept.values())
        del self.graph.value_info[:]

    @staticmethod
    def _replace(field: Any, values: Any) -> None:
        made = list(values)
        del field[:]
        field.extend(made)

    def _convert(self, node: Any, kind: int) -> None:
        for place, name in enumerate(node.input):
            if not name:
                continue
            if self.types.get(name) != self.float:
                if name in self.weights:
                    self.kept[name] = self.weights[name]
                continue
            wanted = self.float if place in FLOAT_INPUTS.get(node.op_type, ()) else kind
            node.input[place] = self._as(name, wanted)
        if node.op_type in SOURCES and kind == self.half:
            self._retype(node)
        for name in node.output:
            if self.types.get(name) == self.float:
                self.held[name] = kind
        self.nodes.append(node)

    def _as(self, name: str, kind: int) -> str:
        """The tensor in this type: a weight is converted, an activation cast, once each."""
        from onnx import helper

        if name in self.weights:
            return self._weight(name, kind)
        if self.held.get(name, kind) == kind:
            return name
        made = self.casts.get((name, kind))
        if made is None:
            made = self.casts[name, kind] = f"{name}_as_{'fp16' if kind == self.half else 'fp32'}"
            self.nodes.append(helper.make_node("Cast", [name], [made], name=made, to=kind))
        return made

    def _weight(self, name: str, kind: int) -> str:
        from onnx import numpy_helper

        if kind == self.float:
            self.kept[name] = self.weights[name]
            return name
        converted = f"{name}_fp16"
        if converted not in self.kept:
            value = np.clip(numpy_helper.to_array(self.weights[name]), -LARGEST, LARGEST)
            self.kept[converted] = numpy_helper.from_array(value.astype(np.float16), converted)
        return converted

    def _retype(self, node: Any) -> None:
        from onnx import numpy_helper

        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i == self.float:
                attribute.i = self.half
            elif attribute.name == "value" and attribute.t.data_type == self.float:
                value = numpy_helper.to_array(attribute.t).astype(np.float16)
                attribute.t.CopyFrom(numpy_helper.from_array(value))

    def _restore_outputs(self) -> None:
        """An output that has become FP16 keeps its name and type; what made it gets another name."""
        from onnx import helper

        for output in self.graph.output:
            name = output.name
            if self.types.get(name) != self.float or self.held.get(name) != self.half:
                continue
            inner = f"{name}_fp16"
            for node in self.nodes:
                for field in (node.input, node.output):
                    for place, used in enumerate(field):
                        if used == name:
                            field[place] = inner
            self.nodes.append(helper.make_node("Cast", [inner], [name], name=f"{name}_cast", to=self.float))


def _lift_constants(graph: Any) -> None:
    """Constant nodes become initializers, so that both are converted in one way."""
    from onnx import TensorProto, helper, numpy_helper

    kept = []
    for node in graph.node:
        if node.op_type != "Constant" or node.attribute[0].name in (
            "sparse_value",
            "value_string",
            "value_strings",
        ):
            kept.append(node)
            continue
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            tensor = TensorProto.FromString(value.SerializeToString())
        else:
            kind = np.float32 if "float" in attribute.name else np.int64
            tensor = numpy_helper.from_array(np.array(value, kind))
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
    del graph.node[:]
    graph.node.extend(kept)


def _types(graph: Any) -> dict[str, int]:
    """Element types by tensor name, as inference finds them."""
    values = (*graph.value_info, *graph.input, *graph.output)
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _tail(graph: Any) -> set[int]:
    """Indices of the nodes after which nothing heavy comes, themselves not heavy."""
    consumers: dict[str, list[int]] = defaultdict(list)
    for index, node in enumerate(graph.node):
        for name in node.input:
            consumers[name].append(index)
    leads: set[int] = set()
    for index in range(len(graph.node) - 1, -1, -1):
        node = graph.node[index]
        if node.op_type in HEAVY or any(
            follower in leads for name in node.output for follower in consumers[name]
        ):
            leads.add(index)
    return set(range(len(graph.node))) - leads
