"""The model package: a directory with `model.toml`, the graph, labels, and a golden image with what it must give.

Owns the form of the package. Loads no model and imports neither onnx nor an engine; nothing of a package is run here.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

from runtime.errors import ModelRefused
from runtime.model import labels as label_files
from runtime.model.spec import Constraints, DecodeSpec, GoldenSpec, InputSpec, ModelSpec, Task
from runtime.model.toml import Table
from wire.problem import Problem
from wire.reasons import Reason

if TYPE_CHECKING:
    from wire.manifest import Manifest, Needs

_tomllib = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")

SCHEMA = 1
MODEL_TOML = "model.toml"
LABELS_TXT = "labels.txt"
MAX_TOML_BYTES = 1024 * 1024
MAX_FILES = 256
"""As `wire.manifest` allows."""
MAX_SIDE_PX = 8192
MAX_PIXELS = 4096 * 4096
"""A larger input than this is a mistake or an attack on memory: 50 MB a frame as bytes, 200 MB as floats."""
_HASH_CHUNK_BYTES = 1024 * 1024


def read(directory: Path) -> ModelSpec:
    """The content of a package directory, labels included; the files it names are there.

    :raises ModelRefused: with every problem found
    """
    document = _document(directory)
    problems: list[Problem] = []
    spec = parse(document, problems)
    problems += _missing(directory, spec)
    labels_file = Table(document.get("model", {}), "model", []).text("labels", "")
    spec = _with_labels(directory, labels_file, spec, problems)
    if problems:
        raise refusal(problems, f"package {directory.name!r}")
    return spec


def refusal(problems: list[Problem], what: str) -> ModelRefused:
    """One error with every problem; its code is the first one's."""
    words = "; ".join(map(str, problems))
    return ModelRefused(problems[0].reason, f"{what} has {len(problems)} problem(s): {words}", problems)


def _document(directory: Path) -> dict[str, Any]:
    path = directory / MODEL_TOML
    if not path.is_file():
        raise ModelRefused(
            Reason.PACKAGE_INVALID,
            f"{directory}: no {MODEL_TOML}; a package is a directory that `outrider model pack` has made",
        )
    try:
        if path.stat().st_size > MAX_TOML_BYTES:
            raise ValueError(f"larger than {MAX_TOML_BYTES} bytes")
        parsed: dict[str, Any] = _tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ModelRefused(
            Reason.PACKAGE_INVALID, f"{path}: cannot be read: {e}; pack the model again"
        ) from e
    return parsed


def parse(document: dict[str, Any], problems: list[Problem]) -> ModelSpec:
    """The spec of a parsed `model.toml`, without labels; what is wrong is added to `problems`."""
    root = Table(document, "", problems)
    schema = root.integer("schema", least=1, most=10_000)
    if schema > SCHEMA:
        root.problem("schema", f"{schema} is newer than this version reads", str(SCHEMA), "update Outrider")
    model = root.table("model")
    task = model.choice("task", [t.value for t in Task], Task.DETECTION.value)
    spec_input = _input(root.table("input"))
    golden = root.table("golden")
    return ModelSpec(
        name=model.text("name", longest=64),
        task=Task(task),
        family=model.text("family", longest=64),
        input=spec_input,
        decode=_decode(root.table("decode")),
        onnx=_path(model, "onnx", "model.onnx"),
        precision=model.text("precision", "fp32", longest=32),
        recognised=model.text("recognised", "", longest=2000),
        external=tuple(p for p in model.texts("external") if _safe(model, "external", p)),
        parts=_parts(model),
        constraints=_constraints(root.table("constraints")),
        golden=_golden(golden) if golden.flag("present", default=False) else None,
    )


def _parts(model: Table) -> tuple[str, ...]:
    names = model.texts("parts")
    for name in names:
        if not name.isidentifier():
            model.problem("parts", f"{name!r} is no name of a part", "a folder of the package")
    return tuple(name for name in names if name.isidentifier())


def _input(table: Table) -> InputSpec:
    width = table.integer("width", least=1, most=MAX_SIDE_PX)
    height = table.integer("height", least=1, most=MAX_SIDE_PX)
    if width * height > MAX_PIXELS:
        table.problem("width", f"{width} x {height} px", f"at most {MAX_PIXELS} px in all")
    batch = table.integer("batch", 1, least=0, most=1024)
    return InputSpec(
        name=table.text("name"),
        width=width,
        height=height,
        layout=cast("Literal['NCHW', 'NHWC']", table.choice("layout", ("NCHW", "NHWC"), "NCHW")),
        dtype=cast("Any", table.choice("dtype", ("float32", "float16", "uint8"), "float32")),
        colour=cast("Literal['BGR', 'RGB']", table.choice("colour", ("BGR", "RGB"), "RGB")),
        resize=cast("Any", table.choice("resize", ("letterbox", "stretch", "centre-crop"), "letterbox")),
        anchor=cast("Any", table.choice("anchor", ("centre", "top-left"), "centre")),
        rounding=cast("Any", table.choice("rounding", ("nearest", "down"), "nearest")),
        pad=table.integer("pad", 114, least=0, most=255),
        scale=table.number("scale", 255.0, least=1e-6, most=1e6),
        mean=table.three("mean", (0.0, 0.0, 0.0)),
        std=table.three("std", (1.0, 1.0, 1.0), zero=False),
        exact=cast("Any", table.choice("exact", ("uint8", "float", "pil"), "uint8")),
        short_side=table.integer("short_side", 0, least=0, most=MAX_SIDE_PX),
        open_width=table.flag("open_width", default=False),
        batch=batch or None,
    )


def _decode(table: Table) -> DecodeSpec:
    return DecodeSpec(
        score_threshold=table.number("score_threshold", 0.25, least=0, most=1),
        iou_threshold=table.number("iou_threshold", 0.45, least=0, most=1),
        nms=cast("Any", table.choice("nms", ("class", "agnostic", "none"), "class")),
        max_detections=table.integer("max_detections", 300, least=1, most=100_000),
        class_offset=table.integer("class_offset", 0, least=-1000, most=100_000),
        options=table.table("options").raw(),
    )


def _constraints(table: Table) -> Constraints:
    capability = table.text("compute_capability", "", longest=8)
    if capability and not re.fullmatch(r"\d+\.\d+", capability):
        table.problem("compute_capability", f"{capability!r} is none", "a number like 7.2")
        capability = ""
    return Constraints(
        table.integer("memory_mib", 0, least=0, most=1 << 20), tuple(table.texts("engines")), capability
    )


def _golden(table: Table) -> GoldenSpec:
    usual = GoldenSpec()
    return GoldenSpec(
        image=_path(table, "image", usual.image),
        expected=_path(table, "expected", usual.expected),
        box_tolerance=table.number("box_tolerance", usual.box_tolerance, least=0, most=1),
        score_tolerance=table.number("score_tolerance", usual.score_tolerance, least=0, most=1),
    )


def _path(table: Table, key: str, default: str) -> str:
    text = table.text(key, default, longest=200)
    return text if _safe(table, key, text) else default


def _safe(table: Table, key: str, text: str) -> bool:
    if is_inside(text):
        return True
    table.problem(key, f"{text!r} is no path inside the package", "a relative path without '..'")
    return False


def is_inside(path: str) -> bool:
    """Whether a path stays within the package: relative, forward slashes, no `..`, no empty or hidden tricks."""
    pure = PurePosixPath(path)
    return bool(path) and not (
        pure.is_absolute() or ".." in pure.parts or str(pure) != path or "\\" in path or "\0" in path
    )


def _missing(directory: Path, spec: ModelSpec) -> list[Problem]:
    named = [("model.onnx", spec.onnx), *(("model.external", path) for path in spec.external)]
    if spec.golden is not None:
        named += [("golden.image", spec.golden.image), ("golden.expected", spec.golden.expected)]
    return [
        Problem(
            where, Reason.PACKAGE_INVALID, f"{path!r} is not in the package", remedy="pack the model again"
        )
        for where, path in named
        if not _is_own_file(directory, path)
    ]


def _is_own_file(directory: Path, path: str) -> bool:
    """A regular file whose real place is within the package."""
    full = directory / path
    return full.is_file() and full.resolve().is_relative_to(directory.resolve())


def _with_labels(directory: Path, file: str, spec: ModelSpec, problems: list[Problem]) -> ModelSpec:
    if not file:
        return spec
    if not is_inside(file) or not _is_own_file(directory, file):
        message = f"{file!r} is not in the package"
        problems.append(Problem("model.labels", Reason.PACKAGE_INVALID, message, remedy="pack again"))
        return spec
    try:
        return replace(spec, labels=label_files.read_file(directory / file))
    except ModelRefused as e:
        problems += e.problems or [Problem("model.labels", e.reason, str(e))]
        return spec


def write(directory: Path, spec: ModelSpec) -> None:
    """Write `model.toml` and `labels.txt`; the other files are the packer's business."""
    import tomli_w

    if spec.labels:
        (directory / LABELS_TXT).write_text("\n".join(spec.labels) + "\n", encoding="utf-8")
    (directory / MODEL_TOML).write_text(tomli_w.dumps(document(spec)), encoding="utf-8")


def document(spec: ModelSpec) -> dict[str, Any]:
    """The content of `model.toml`."""
    model: dict[str, Any] = {
        "name": spec.name,
        "task": spec.task.value,
        "family": spec.family,
        "precision": spec.precision,
        "onnx": spec.onnx,
        "recognised": spec.recognised,
    }
    if spec.labels:
        model["labels"] = LABELS_TXT
    if spec.external:
        model["external"] = list(spec.external)
    if spec.parts:
        model["parts"] = list(spec.parts)
    form = {**asdict(spec.input), "batch": spec.input.batch or 0}
    form["mean"], form["std"] = list(spec.input.mean), list(spec.input.std)
    constraints = {name: value for name, value in asdict(spec.constraints).items() if value}
    golden = {"present": False} if spec.golden is None else {"present": True, **asdict(spec.golden)}
    return {
        "schema": SCHEMA,
        "model": model,
        "input": form,
        "decode": asdict(spec.decode),
        "golden": golden,
        **({"constraints": constraints} if constraints else {}),
    }


def manifest(directory: Path) -> Manifest:
    """Every file of the package with its SHA-256.

    :raises ModelRefused: a link, something that is no plain file, or too many files
    """
    from wire.manifest import FileEntry, Manifest

    entries = [
        FileEntry(path=path, sha256=hash_file(directory / path), size=(directory / path).stat().st_size)
        for path in files(directory)
    ]
    return Manifest(files=tuple(entries), needs=_needs(directory))


def _needs(directory: Path) -> Needs | None:
    """What the package declares; None where it declares nothing, or is no package."""
    from wire.manifest import Needs

    try:
        spec = parse(_document(directory), [])
    except ModelRefused:
        return None
    declared = spec.constraints
    if declared == Constraints():
        return None
    return Needs(
        memory_bytes=declared.memory_mib * 1024 * 1024,
        engines=declared.engines,
        compute_capability=declared.compute_capability,
        width=spec.input.width,
        height=spec.input.height,
    )


def digest(directory: Path) -> str:
    """`sha256:…` of the package's manifest: the name of its whole content."""
    return manifest(directory).digest


def files(directory: Path) -> list[str]:
    """The relative paths of every file, sorted.

    :raises ModelRefused: a link, something that is no plain file, or too many files
    """
    found = sorted(_walk(directory))
    if len(found) > MAX_FILES:
        raise ModelRefused(
            Reason.PACKAGE_INVALID, f"{directory}: {len(found)} files; a package holds at most {MAX_FILES}"
        )
    return found


def _walk(directory: Path) -> Iterator[str]:
    for root, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(root) / name
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ModelRefused(
                    Reason.PACKAGE_INVALID, f"{path}: neither a file nor a folder; a package holds no links"
                )
        yield from ((Path(root) / name).relative_to(directory).as_posix() for name in names)


def hash_file(path: Path) -> str:
    """`sha256:…` of a file's bytes."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            state.update(chunk)
    return "sha256:" + state.hexdigest()
