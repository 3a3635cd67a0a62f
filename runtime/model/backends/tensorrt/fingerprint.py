"""What a graph is apart from its weights: two versions of one network have the same structure, and one engine can hold either.

Weights are large floating-point initializers; small ones and integers are part of the structure, since they are shapes, axes, limits.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runtime.model.fuse import write_whole

WEIGHT_ELEMENTS = 8
"""Above this a floating-point initializer is a weight. Scales of a Resize have 4 elements, regions 8, limits and factors 1 or 3."""


@dataclass(frozen=True)
class Fingerprint:
    """`structure`, `weights`: SHA-256. `shape`: of the one input, None where the batch is open."""

    structure: str
    weights: str
    input: str
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


def read(graph: Path, notes: Path | None = None) -> Fingerprint:
    """The fingerprint of a file. `notes`: a folder that remembers, so that a known graph is only hashed and onnx not imported."""
    weights = _hash(graph)
    note = notes / f"{weights}.json" if notes is not None else None
    if note is not None and note.is_file():
        try:
            return _from_json(json.loads(note.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError):
            note.unlink(missing_ok=True)
    made = compute(graph, weights)
    if note is not None:
        try:
            write_whole(note, json.dumps(asdict(made)).encode())
        except OSError:
            pass
    return made


def compute(graph: Path, weights: str) -> Fingerprint:
    """Read the graph itself. Imports onnx."""
    import onnx

    model = onnx.load(str(graph))
    (entry,) = model.graph.input
    sides = [side.dim_value or None for side in entry.type.tensor_type.shape.dim]
    outputs = tuple(value.name for value in model.graph.output)
    return Fingerprint(_structure(model), weights, entry.name, tuple(sides), outputs)


def _structure(model: Any) -> str:
    """The hash of the graph with the values of its weights, and what is for people, left out."""
    import onnx

    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    for tensor in model.graph.initializer:
        count = 1
        for side in tensor.dims:
            count *= side
        if count > WEIGHT_ELEMENTS and tensor.data_type in floats:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)
    del model.metadata_props[:]
    for field in ("doc_string", "producer_name", "producer_version"):
        model.ClearField(field)
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _hash(path: Path) -> str:
    made = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            made.update(block)
    return made.hexdigest()


def _from_json(body: dict[str, Any]) -> Fingerprint:
    return Fingerprint(
        str(body["structure"]),
        str(body["weights"]),
        str(body["input"]),
        tuple(body["shape"]),
        tuple(body["outputs"]),
    )
