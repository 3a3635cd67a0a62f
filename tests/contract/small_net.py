"""Writes small graphs of random weights, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 128
FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8


@dataclass
class Net:
    """A graph under construction. Features are (name, channels)."""

    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(3))

    def op(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        result = name or f"/{op}_{len(self.nodes)}:0"
        self.nodes.append(helper.make_node(op, list(inputs), [result], **attributes))
        return result

    def ops(self, op: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        results = [f"/{op}_{len(self.nodes)}:{i}" for i in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), results, **attributes))
        return results

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def drawn(self, *shape: int) -> str:
        spread = 1 / np.sqrt(max(1, int(np.prod(shape[1:]))))
        return self.const(self.random.normal(0, spread, shape))

    def conv(
        self,
        x: str,
        inner: int,
        outer: int,
        *,
        side: int = 3,
        stride: int = 1,
        act: str = "Relu",
        groups: int = 1,
    ) -> str:
        made = self.op(
            "Conv", x, self.drawn(outer, inner // groups, side, side), self.drawn(outer),
            kernel_shape=[side, side], strides=[stride, stride], pads=[side // 2] * 4, group=groups,
        )  # fmt: skip
        if act == "Silu":
            return self.op("Mul", made, self.op("Sigmoid", made))
        return self.op(act, made) if act else made

    def shuffled(self, x: str, channels: int, size: int) -> str:
        """A depthwise and a pointwise layer, the channels exchanged, as ShuffleNet has it."""
        x = self.conv(self.conv(x, channels, channels, groups=channels, act=""), channels, channels, side=1)
        split = self.op("Reshape", x, self.ints(-1, 2, channels // 2, size, size))
        return self.op(
            "Reshape", self.op("Transpose", split, perm=[0, 2, 1, 3, 4]), self.ints(-1, channels, size, size)
        )

    def pyramid(self, x: str = "images", levels: int = 3, act: str = "Silu", channels: int = 16) -> list[str]:
        """Features of strides 8, 16, 32 (and 64), joined from above as detectors do."""
        for inner, outer in ((3, 8), (8, 8), (8, channels)):
            x = self.conv(x, inner, outer, stride=2, act=act)
        found = [x]
        for _ in range(levels - 1):
            found.append(self.conv(found[-1], channels, channels, stride=2, act=act))
        for i in range(levels - 2, -1, -1):
            up = self.op(
                "Resize",
                found[i + 1],
                "",
                self.const([1, 1, 2, 2]),
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            found[i] = self.conv(self.op("Concat", found[i], up, axis=1), 2 * channels, channels, act=act)
        return found

    def rows(self, x: str, columns: int) -> str:
        """(N, C, h, w) → (N, h w, C)."""
        flat = self.op("Reshape", x, self.ints(0, columns, -1))
        return self.op("Transpose", flat, perm=[0, 2, 1])

    def linear(self, x: str, inner: int, outer: int) -> str:
        return self.op("Add", self.op("MatMul", x, self.drawn(inner, outer)), self.drawn(outer))

    def norm(self, x: str, width: int) -> str:
        return self.op(
            "LayerNormalization",
            x,
            self.const(np.ones(width)),
            self.const(np.zeros(width)),
            axis=-1,
            epsilon=1e-5,
        )

    def attention(self, query: str, source: str, width: int, heads: int = 2) -> str:
        parts = []
        for x in (query, source, source):
            split = self.op("Reshape", self.linear(x, width, width), self.ints(0, -1, heads, width // heads))
            parts.append(self.op("Transpose", split, perm=[0, 2, 1, 3]))
        scores = self.op("MatMul", parts[0], self.op("Transpose", parts[1], perm=[0, 1, 3, 2]))
        weights = self.op("Softmax", self.op("Mul", scores, self.const(0.3)), axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", weights, parts[2]), perm=[0, 2, 1, 3])
        return self.norm(self.op("Add", query, self.op("Reshape", mixed, self.ints(0, -1, width))), width)

    def save(
        self,
        path: Path,
        outputs: Sequence[tuple[str, int, list[Any]]],
        image: Sequence[Any] = (1, 3, SIDE, SIDE),
        dtype: int = FLOAT,
        metadata: dict[str, str] | None = None,
        extra: Sequence[Any] = (),
    ) -> Path:
        inputs = [helper.make_tensor_value_info("images", dtype, list(image)), *extra]
        results = [helper.make_tensor_value_info(*one) for one in outputs]
        graph = helper.make_graph(self.nodes, "g", inputs, results, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        helper.set_model_props(model, metadata or {})
        onnx.checker.check_model(model)
        onnx.save(model, str(path))
        return path
