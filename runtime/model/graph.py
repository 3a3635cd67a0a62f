"""Reads an ONNX file: what it takes, what it gives, and whether it can be served at all.

Imports onnx: for packing and for building a fused graph, never on the way to a result. Every problem of a file is collected.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from runtime.errors import ModelRefused
from runtime.model import soundness
from runtime.model.families.family import Graph, Port
from runtime.model.package import MAX_PIXELS, MAX_SIDE_PX, refusal
from wire.problem import Problem
from wire.reasons import Reason

MAX_ONNX_BYTES = 2 * 1024**3 - 1
"""Protocol buffers go no further; larger models keep their weights in files beside the graph."""
IMAGE_TYPES = ("float32", "float16", "uint8")
_MOVING = ("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Concat")
_SCALING = ("Mul", "Div", "Sub", "Add")
_MAX_SCALING_VALUES = 8
"""One for all channels, or one for each."""
_UNREADABLE = "export it again; a download that broke off is the usual cause"


@dataclass(frozen=True)
class OnnxFile:
    """A parsed file. `inputs` leaves out initializers that older exporters list among the inputs."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    ops: dict[str, int]
    metadata: dict[str, str]
    opset: int
    producer: str
    external: tuple[str, ...]
    makers: dict[str, str]
    head: tuple[tuple[str, tuple[float, ...]], ...] = ()


def open_onnx(path: Path) -> OnnxFile:
    """Parse and check a file; weights are not loaded.

    :raises ModelRefused: not ONNX, truncated, an opset that is too new, weights missing; with every problem
    """
    model = parse_onnx(path)
    initial = {tensor.name for tensor in model.graph.initializer}
    if problems := soundness.problems(path, model):
        raise refusal(problems, path.name)
    return OnnxFile(
        path=path,
        inputs=tuple(_port(value) for value in model.graph.input if value.name not in initial),
        outputs=tuple(_port(value) for value in model.graph.output),
        ops=dict(Counter(node.op_type for node in model.graph.node)),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        opset=soundness.opset_of(model),
        producer=model.producer_name,
        external=tuple(sorted(soundness.external(model))),
        makers=_makers(model.graph),
        head=_head(model.graph, initial),
    )


def _makers(graph: Any) -> dict[str, str]:
    """By output, the operator that computes it; nodes that only move or cast values are passed over."""
    by_result = {result: node for node in graph.node for result in node.output}
    found = {}
    for value in graph.output:
        node = by_result.get(value.name)
        while node is not None and node.op_type in _MOVING:
            node = by_result.get(node.input[0])
        found[value.name] = node.op_type if node is not None else ""
    return found


def _head(graph: Any, initial: set[str]) -> tuple[tuple[str, tuple[float, ...]], ...]:
    """Arithmetic on the picture by constants, from the input on; nodes that only move or cast values are passed over."""
    constants = {t.name: t for t in graph.initializer if t.data_location != onnx.TensorProto.EXTERNAL}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            constants[node.output[0]] = node.attribute[0].t
    current = next((value.name for value in graph.input if value.name not in initial), "")
    found: list[tuple[str, tuple[float, ...]]] = []
    for _ in graph.node:
        users = [node for node in graph.node if current in node.input]
        if len(users) != 1:
            break
        node = users[0]
        if node.op_type in _SCALING and len(node.input) == 2:
            other = constants.get(next((name for name in node.input if name != current), ""))
            if other is None or not 0 < math.prod(other.dims) <= _MAX_SCALING_VALUES:
                break
            values = np.asarray(onnx.numpy_helper.to_array(other), np.float64).ravel()
            found.append((node.op_type, tuple(values.tolist())))
        elif node.op_type not in _MOVING:
            break
        current = node.output[0]
    return tuple(found)


def parse_onnx(path: Path) -> Any:
    """The protocol buffer of a file, without its external data.

    :raises ModelRefused: there is no such file, or it is not ONNX
    """
    from google.protobuf.message import DecodeError

    if not path.is_file():
        raise ModelRefused(Reason.MODEL_NOT_ONNX, f"{path}: no such file; correct the path")
    size_bytes = path.stat().st_size
    if size_bytes > MAX_ONNX_BYTES:
        raise ModelRefused(
            Reason.MODEL_NOT_ONNX,
            f"{path.name}: {size_bytes} bytes; at most {MAX_ONNX_BYTES}; export with external data",
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError, ValueError) as e:
        raise ModelRefused(
            Reason.MODEL_NOT_ONNX,
            f"{path.name} ({size_bytes} bytes) is not a readable ONNX model: {e}; {_UNREADABLE}",
        ) from e
    if not model.graph.node or not model.graph.output or model.ir_version == 0:
        raise ModelRefused(
            Reason.MODEL_NOT_ONNX,
            f"{path.name} ({size_bytes} bytes) holds no graph: {len(model.graph.node)} nodes, "
            f"{len(model.graph.output)} outputs; {_UNREADABLE}",
        )
    return model


def _port(value: Any) -> Port:
    tensor = value.type.tensor_type
    shape = tuple(side.dim_value if side.dim_value > 0 else None for side in tensor.shape.dim)
    return Port(value.name, shape, dtype_name(tensor.elem_type))


def dtype_name(elem_type: int) -> str:
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(elem_type))
    except (KeyError, ValueError):
        return f"type {elem_type}"


def describe(file: OnnxFile, size_wh: tuple[int, int] | None = None) -> Graph:
    """The graph as families look at it, its one image input resolved. `size_wh` fills sides the graph leaves open.

    :raises ModelRefused: no input that takes a picture, or a size that cannot be
    """
    image = _image_input(file)
    layout = "NHWC" if image.shape[3] == 3 and image.shape[1] != 3 else "NCHW"
    rows, columns = (1, 2) if layout == "NHWC" else (2, 3)
    given_w, given_h = size_wh or _metadata_size(file.metadata) or (None, None)
    width = image.shape[columns] or given_w
    height = image.shape[rows] or given_h
    problems = _size_problems(image, width, height, size_wh, (image.shape[columns], image.shape[rows]))
    if problems or width is None or height is None:
        raise refusal(problems, file.path.name)
    sized = size_input(file) is not None
    return Graph(
        image, file.outputs, width, height, layout, file.ops, file.metadata, file.makers, sized, file.head
    )


def size_input(file: OnnxFile) -> Port | None:
    """The second input [N, 2] of whole numbers that asks for the picture's width and height, where the graph has one."""
    if len(file.inputs) != 2:
        return None
    asked = [
        p for p in file.inputs if p.dtype in ("int64", "int32") and len(p.shape) == 2 and p.shape[1] == 2
    ]
    return asked[0] if len(asked) == 1 and "size" in asked[0].name.lower() else None


def bind_size(source: Path, target: Path, port: Port, width_px: int, height_px: int) -> None:
    """Write the graph with its size input made a constant, so that boxes come in pixels of the model's own input."""
    model = parse_onnx(source)
    value = np.array([[width_px, height_px]], port.dtype)
    model.graph.initializer.append(onnx.numpy_helper.from_array(value, port.name))
    kept = [entry for entry in model.graph.input if entry.name != port.name]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # before, an initializer had to be an input too
    onnx.save(model, str(target))


def _image_input(file: OnnxFile) -> Port:
    sizes = size_input(file)
    pictures = [port for port in file.inputs if port is not sizes]
    if len(pictures) == 1:
        image = pictures[0]
        takes_colour = len(image.shape) == 4 and (image.shape[1] in (3, None) or image.shape[3] == 3)
        if takes_colour and image.dtype in IMAGE_TYPES:
            return image
    have = ", ".join(map(str, file.inputs)) or "none"
    problem = Problem(
        "inputs",
        Reason.MODEL_INPUTS,
        f"the graph's inputs are {have}",
        f"one picture [N, 3, height, width] or [N, height, width, 3] of {', '.join(IMAGE_TYPES)}",
        "export the model with the picture as its only input",
    )
    raise refusal([problem], file.path.name)


def _metadata_size(metadata: dict[str, str]) -> tuple[int, int] | None:
    """`imgsz`, height and width, as some exporters write it."""
    numbers = [part for part in metadata.get("imgsz", "").strip("[]() ").replace(" ", "").split(",") if part]
    if len(numbers) == 2 and all(part.isdigit() for part in numbers):
        return int(numbers[1]), int(numbers[0])
    return None


def _size_problems(
    image: Port,
    width: int | None,
    height: int | None,
    asked: tuple[int, int] | None,
    fixed: tuple[int | None, int | None],
) -> list[Problem]:
    if width is None or height is None:
        return [
            Problem(
                "input",
                Reason.MODEL_INPUTS,
                f"{image} leaves its size open",
                remedy="give --size WIDTHxHEIGHT",
            )
        ]
    problems = []
    if asked and any(side is not None and side != want for side, want in zip(fixed, asked, strict=True)):
        problems.append(
            Problem(
                "input",
                Reason.MODEL_INPUTS,
                f"{image} is not {asked[0]} x {asked[1]} px",
                remedy="leave --size out",
            )
        )
    if not (8 <= width <= MAX_SIDE_PX and 8 <= height <= MAX_SIDE_PX and width * height <= MAX_PIXELS):
        problems.append(
            Problem(
                "input",
                Reason.MODEL_INPUTS,
                f"an input of {width} x {height} px",
                f"8 to {MAX_SIDE_PX} px a side and at most {MAX_PIXELS} px in all",
                "export again with a size that fits a device",
            )
        )
    return problems
