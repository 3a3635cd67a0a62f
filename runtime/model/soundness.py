"""What is wrong with a graph that shows without running it: its opset, its weight files, its names, its input.

Imports onnx. Looks at every tensor, those of branches and loops included. Every problem is collected.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from runtime.model.package import is_inside
from runtime.model.spec import InputSpec
from wire.problem import Problem, shown
from wire.reasons import Reason

MIN_OPSET = 7
"""Broadcasting as this code relies on it came with opset 7."""

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def problems(path: Path, model: Any) -> list[Problem]:
    """Of a parsed file at `path`, beside which its weight files must lie."""
    return [*_opset_problems(model), *_external_problems(path, model), *_name_problems(model)]


def input_problems(model: Any, spec: InputSpec) -> list[Problem]:
    """Where the graph's own input is of another shape than the package says."""
    for value in model.graph.input:
        sides = [side.dim_value for side in value.type.tensor_type.shape.dim]
        wanted = (spec.batch or 0, *spec.tensor_shape)
        fits = len(sides) == len(wanted) and all(
            a <= 0 or b <= 0 or a == b for a, b in zip(sides, wanted, strict=True)
        )
        if value.name == spec.name and sides and not fits:
            return [
                Problem(
                    "input",
                    Reason.MODEL_INPUTS,
                    f"the graph takes {[side if side > 0 else None for side in sides]}",
                    f"{[spec.batch, *spec.tensor_shape]}, as model.toml says",
                    "pack the model again",
                )
            ]
    return []


def number_problems(model: Any) -> list[Problem]:
    """The weights that hold a NaN, which a run need not show: a layer may swallow it. All values must be in the model."""
    found = [t.name for t in _tensors(model) if t.data_type in _FLOATS and _has_nan(t)]
    if not found:
        return []
    return [
        Problem(
            "weights",
            Reason.MODEL_NAN,
            f"{len(found)} tensor(s) hold values that are not numbers, the first being {shown(found[0])}",
            remedy="export another checkpoint; a training that diverged is the usual cause",
        )
    ]


def _has_nan(tensor: Any) -> bool:
    values = onnx.numpy_helper.to_array(tensor)
    return values.size > 1 and bool(np.isnan(values).any())


def opset_of(model: Any) -> int:
    """The version of the standard operators; 1 where the file does not say."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)


def external(model: Any) -> set[str]:
    """The files that hold weights of the graph."""
    return {location for tensor in _outside(model) if (location := _entries(tensor).get("location"))}


def _opset_problems(model: Any) -> list[Problem]:
    opset, newest = opset_of(model), onnx.defs.onnx_opset_version()
    if MIN_OPSET <= opset <= newest:
        return []
    return [
        Problem(
            "opset",
            Reason.MODEL_OPSET,
            f"operators of opset {opset}",
            f"an opset from {MIN_OPSET} to {newest}",
            "export again, for example with opset_version=17",
        )
    ]


def _outside(model: Any) -> Iterator[Any]:
    """Tensors whose values are in another file."""
    return (t for t in _tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL)


def _tensors(model: Any) -> Iterator[Any]:
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        tensors = [*graph.initializer]
        for node in graph.node:
            for attribute in node.attribute:
                tensors += [attribute.t] if attribute.HasField("t") else []
                graphs += [attribute.g] if attribute.HasField("g") else []
                graphs += attribute.graphs
        yield from tensors


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _external_problems(path: Path, model: Any) -> list[Problem]:
    found = []
    for name in sorted(external(model)):
        if not is_inside(name):
            found.append(
                _weights(f"weights at {name!r}", "a path beside the graph", "export the model again")
            )
        elif not (path.parent / name).is_file():
            found.append(
                _weights(
                    f"the graph keeps weights in {name!r}, which is not beside it",
                    f"the file {path.parent / name}",
                    "copy that file too, or export with the weights inside",
                )
            )
    return found or [problem for tensor in _outside(model) for problem in _range_problems(path, tensor)][:1]


def _range_problems(path: Path, tensor: Any) -> list[Problem]:
    """Where a tensor's place lies outside its file: engines read it without asking."""
    entries = _entries(tensor)
    name = entries.get("location", "")
    if not name:
        return [
            _weights(
                f"tensor {tensor.name!r} names no file", "a file beside the graph", "export the model again"
            )
        ]
    size = (path.parent / name).stat().st_size
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else max(0, size - offset)
    except ValueError:
        offset = length = -1
    if offset >= 0 and length >= 0 and offset + length <= size:
        return []
    place = f"offset {shown(entries.get('offset', 0))}, length {shown(entries.get('length'))}"
    return [
        _weights(
            f"tensor {tensor.name!r} is to be read from {name!r} at {place}",
            f"a place within its {size} bytes",
            "copy the whole file; a download that broke off is the usual cause",
        )
    ]


def _weights(message: str, expected: str, remedy: str) -> Problem:
    return Problem("external", Reason.MODEL_WEIGHTS, message, expected, remedy)


def _name_problems(model: Any) -> list[Problem]:
    names = [value.name for value in (*model.graph.input, *model.graph.output)]
    if all(names) and len(set(names)) == len(names):
        return []
    return [
        Problem(
            "graph", Reason.MODEL_NOT_ONNX, "inputs or outputs without a name of their own", "unique names"
        )
    ]
