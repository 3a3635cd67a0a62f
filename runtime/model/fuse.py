"""Puts cast and normalisation into the graph, so that a frame crosses to the engine as bytes.

The user's file stays as it is; the fused graph is a cache entry, keyed by the file's hash and the input specification,
written atomically. `onnx` is imported only when an entry is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import ModelRefused
from runtime.model.package import hash_file, refusal
from runtime.model.shrink import Shrink, append
from runtime.model.spec import InputSpec, ModelSpec
from wire.reasons import Reason

VERSION = 7
"""Part of the key: raise it when the fused graph changes."""
FEED = "outrider_image"
"""The name of the fused graph's input: (N, …) bytes, or floats 0 to 255, in the model's own layout and colour order."""
MAX_CACHED = 64
"""Fused graphs kept; the ones used longest ago go first."""


@dataclass(frozen=True)
class Form:
    """What is made of a graph. feed_dtype: `uint8` or `float32`, what the engine will be fed. precision: `fp32` leaves the graph's
    types as they are, `fp16` converts them. shrink: what of its outputs is chosen from within the graph."""

    feed_dtype: str = "uint8"
    precision: str = "fp32"
    shrink: Shrink | None = None


def cache_base(configured: Path | None = None) -> Path:
    """Where all that models need beside their packages is kept: what the caller configured, else `$XDG_CACHE_HOME/outrider`."""
    if configured is not None:
        return configured
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "outrider"


def cache_dir(configured: Path | None = None) -> Path:
    """Where fused graphs are kept."""
    return cache_base(configured) / "fused"


def fused(directory: Path, spec: ModelSpec, form: Form, cache: Path) -> Path | bytes:
    """The fused graph: a file of the cache, or its bytes where the cache cannot be written.

    :raises ModelRefused: the graph cannot be read or its input does not fit
    """
    path = cache / f"{key(directory, spec, form)}.onnx"
    if path.is_file():
        _touch(path)
        return path
    content = build(directory / spec.onnx, spec.input, form)
    try:
        write_whole(path, content)
    except OSError:
        return content
    _prune(cache)
    return path


def key(directory: Path, spec: ModelSpec, form: Form) -> str:
    """The name of a cache entry: everything the fused graph depends on."""
    parts = {
        "version": VERSION,
        "files": [hash_file(directory / name) for name in (spec.onnx, *spec.external)],
        "input": asdict(spec.input),
        "form": asdict(form),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def build(path: Path, spec: InputSpec, form: Form) -> bytes:
    """The bytes of the graph at `path` with `(value / scale - mean) / std` in front.

    :raises ModelRefused: the graph cannot be read or has no such input
    """
    import onnx

    from runtime.model import soundness
    from runtime.model.graph import parse_onnx
    from runtime.model.portable import make_portable
    from runtime.model.precision.half import to_half

    model = parse_onnx(path)
    if spec.name not in [value.name for value in model.graph.input]:
        names = [value.name for value in model.graph.input]
        raise ModelRefused(Reason.MODEL_INPUTS, f"{path.name} has no input {spec.name!r}; it has {names[:8]}")
    if problems := [*soundness.problems(path, model), *soundness.input_problems(model, spec)]:
        raise refusal(problems, path.name)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        if problems := soundness.number_problems(model):
            raise refusal(problems, path.name)
        _drop_listed_initializers(model)
        make_portable(model)
        if form.precision == "fp16":
            to_half(model)  # before the normalisation is put in front, which stays FP32
        if form.shrink is not None and not append(model, form.shrink):
            raise ModelRefused(
                Reason.MODEL_OPSET, f"{path.name}: too old an opset for choosing candidates in the graph"
            )
        _prepend(model, spec, form.feed_dtype)
        return bytes(model.SerializeToString())
    except (OSError, ValueError, onnx.checker.ValidationError) as e:
        raise ModelRefused(Reason.MODEL_LOAD_FAILED, f"{path.name}: {e}; export it again") from e


def _drop_listed_initializers(model: Any) -> None:
    """Older exporters list weights among the inputs, which forbids an engine to fold them into neighbours."""
    if model.ir_version < 4:
        model.ir_version = 4
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)


def _prepend(model: Any, spec: InputSpec, feed_dtype: str) -> None:
    from onnx import TensorProto, helper

    types = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16}
    graph = model.graph
    nodes: list[Any] = []
    current = FEED
    for op, constant, to in _steps(spec, feed_dtype):
        result = f"{FEED}_{len(nodes)}"
        if constant is not None:
            value = helper.make_node(
                "Constant", [], [f"{result}_by"], value=_tensor(constant, f"{result}_by")
            )
            nodes += [value, helper.make_node(op, [current, f"{result}_by"], [result])]
        else:
            nodes.append(helper.make_node(op, [current], [result], to=types[to]))
        current = result
    if nodes:
        nodes[-1].output[0] = spec.name
    else:
        _feed_directly(graph, spec.name)
    kept = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(kept)
    for value in graph.input:
        if value.name == spec.name:
            shape = [spec.batch or "batch", *spec.tensor_shape]
            if spec.open_width:
                shape[3 if spec.layout == "NCHW" else 2] = "width"
            value.CopyFrom(helper.make_tensor_value_info(FEED, types[feed_dtype], shape))


def _feed_directly(graph: Any, name: str) -> None:
    """The graph takes what comes as it is: TensorRT has no node between bytes and bytes, so the input only gets our name."""
    for node in graph.node:
        node.input[:] = [FEED if used == name else used for used in node.input]
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                _feed_directly(inner, name)


def _steps(spec: InputSpec, feed_dtype: str) -> list[tuple[str, np.ndarray[Any, Any] | None, str]]:
    """(operator, constant, target type): cast, times 1 / (scale x std), minus mean / std, cast; what does nothing is left out."""
    if spec.dtype == "uint8":
        return [] if feed_dtype == "uint8" else [("Cast", None, "uint8")]
    shape = (1, 3, 1, 1) if spec.layout == "NCHW" else (1, 1, 1, 3)
    factor = 1.0 / (spec.scale * np.array(spec.std, np.float64))
    shift = np.array(spec.mean, np.float64) / np.array(spec.std, np.float64)
    steps: list[tuple[str, np.ndarray[Any, Any] | None, str]] = []
    if feed_dtype != "float32":
        steps.append(("Cast", None, "float32"))
    if (factor != 1).any():
        steps.append(("Mul", factor.astype(np.float32).reshape(shape), ""))
    if shift.any():
        steps.append(("Sub", shift.astype(np.float32).reshape(shape), ""))
    if spec.dtype == "float16":
        steps.append(("Cast", None, "float16"))
    return steps


def _tensor(value: np.ndarray[Any, Any], name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value, name)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of the cache, so that nobody ever sees a part of it.

    :raises OSError: the disk does not take it
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=".partial-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        pass


def _prune(cache: Path) -> None:
    try:
        entries = sorted(cache.glob("*.onnx"), key=lambda entry: entry.stat().st_mtime, reverse=True)
        for entry in entries[MAX_CACHED:]:
            entry.unlink(missing_ok=True)
    except OSError:
        pass
