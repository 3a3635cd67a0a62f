"""Makes a model package from an ONNX file: recognises the family, tries the graph, keeps a golden image.

What is written appears whole or not at all. As a process, `python -m runtime.model.pack JSON` prints one
`wire.local.CheckResult`: a native crash on somebody's file then costs that process only.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from runtime.errors import ModelRefused
from runtime.model import card, families, golden, labels, package
from runtime.model.families.family import Family, Graph, Match, Port
from runtime.model.families.wholeimage import assumption
from runtime.model.graph import OnnxFile, bind_size, describe, open_onnx, size_input
from runtime.model.reader import DIRECTION, RECOGNITION
from runtime.model.session import LoadedModel, LoadOptions
from runtime.model.spec import GoldenSpec, InputSpec, ModelSpec, Task
from wire.local import CheckResult, encode
from wire.problem import Problem
from wire.reasons import Reason

_COCO_CLASSES = 80
_COCO_SLOTS = 91


@dataclass(frozen=True)
class PackOptions:
    """What a person may say about the model; None leaves it to the family. Paths are text, so that this travels as JSON.

    `golden`: an image to promise results on; without one `no_golden` must be set, and the package says so for ever.
    `size`: width and height, where the graph leaves them open. `parts`: the ONNX file of each part of a model that is made of several.
    """

    name: str | None = None
    family: str | None = None
    labels: str | list[str] | None = None
    golden: str | None = None
    no_golden: bool = False
    size: tuple[int, int] | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    nms: str | None = None
    colour: str | None = None
    resize: str | None = None
    anchor: str | None = None
    short_side: int | None = None
    exact: str | None = None
    task: str | None = None
    pad: int | None = None
    scale: float | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    precision: str = "fp32"
    parts: dict[str, str] | None = None
    replace: bool = False

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PackOptions:
        """:raises TypeError: an option that does not exist"""
        tuples = {name: tuple(values[name]) for name in ("size", "mean", "std") if values.get(name)}
        return cls(**{**values, **tuples})


_LINE: dict[str, Any] = {
    "no_golden": True,
    "colour": "BGR",
    "scale": 255.0,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "resize": "letterbox",
    "exact": "float",
}
_PART_OPTIONS = {
    RECOGNITION: PackOptions(family="ctc", size=(320, 48), **_LINE),
    DIRECTION: PackOptions(family="classifier", size=(192, 48), labels=["0", "180"], **_LINE),
}
"""The parts of a model that reads, packed as PP-OCR feeds them; the whole has the golden image."""


@dataclass(frozen=True)
class Packed:
    """A package that was made. `notes` are things a person should know."""

    directory: Path
    spec: ModelSpec
    notes: tuple[str, ...]
    golden: dict[str, Any]
    engine: dict[str, Any]


def pack(source: Path, target: Path, options: PackOptions, load: LoadOptions | None = None) -> Packed:
    """Make the package directory `target` from the file `source`.

    :raises ModelRefused: with every problem found; nothing is left behind
    """
    problems = _wishes(target, options)
    try:
        file = open_onnx(source)
        graph = describe(file, options.size)
    except ModelRefused as e:
        problems = [*(e.problems or [Problem("", e.reason, str(e))]), *problems]
    if problems:
        raise package.refusal(problems, source.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    try:
        _copy_graph(file, partial, graph)
        pack_parts(options.parts or {}, partial, load)
        packed = _fill(partial, file, graph, options, load or LoadOptions())
        _sync(partial)
        partial.chmod(0o755)
        _put(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return replace(packed, directory=target)


def pack_parts(parts: dict[str, str], directory: Path, load: LoadOptions | None) -> None:
    """Pack each part into a folder of its name.

    :raises ModelRefused: no such part, or its file does not fit
    """
    for name, source in parts.items():
        usual = _PART_OPTIONS.get(name)
        if usual is None:
            words = f"no part is called {name!r}; expected one of {', '.join(_PART_OPTIONS)}"
            raise ModelRefused(Reason.INVALID_FIELD, words)
        pack(Path(source), directory / name, replace(usual, name=name), load)


def _put(partial: Path, target: Path) -> None:
    """Give the new package its name; a former one of that name goes only afterwards."""
    if not target.exists():
        partial.replace(target)
        return
    former = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.partial-"))
    target.replace(former)
    partial.replace(target)
    shutil.rmtree(former, ignore_errors=True)


def _wishes(target: Path, options: PackOptions) -> list[Problem]:
    problems = []
    if target.exists() and not (target / package.MODEL_TOML).is_file():
        problems.append(
            Problem(
                "out",
                Reason.PACKAGE_INVALID,
                f"{target} exists and is no package",
                remedy="name another --out",
            )
        )
    elif target.exists() and not options.replace:
        problems.append(
            Problem(
                "out",
                Reason.PACKAGE_INVALID,
                f"{target} exists already",
                remedy="name another --out, or --replace",
            )
        )
    if not options.golden and not options.no_golden:
        problems.append(
            Problem(
                "golden",
                Reason.GOLDEN_ABSENT,
                "no golden image was given",
                "an image in which the model finds something",
                "give --golden IMAGE, or --no-golden to do without the check on every device",
            )
        )
    if options.golden and not Path(options.golden).is_file():
        problems.append(Problem("golden", Reason.INVALID_FIELD, f"no file {options.golden!r}"))
    return problems


def _copy_graph(file: OnnxFile, directory: Path, graph: Graph) -> None:
    sizes = size_input(file)
    if sizes is None:
        shutil.copyfile(file.path, directory / "model.onnx")
    else:
        bind_size(file.path, directory / "model.onnx", sizes, graph.width, graph.height)
    for name in file.external:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.path.parent / name, directory / name)


def _fill(directory: Path, file: OnnxFile, graph: Graph, options: PackOptions, load: LoadOptions) -> Packed:
    notes: list[str] = []
    if graph.sized:
        notes.append("the graph's input for the picture's size was bound to the model's own input size")
    image, outputs = _probe(directory / "model.onnx", graph, notes)
    graph = replace(graph, outputs=tuple(outputs))
    match = _recognise(graph, options.family)
    match = replace(match, input=_with_graph(match.input, image))
    spec = _spec(file.path.stem, match, options, file.external, notes)
    notes += assumption(match, spec.input)
    if problems := families.get(match.family).check(outputs, spec):
        raise package.refusal(problems, file.path.name)
    if options.golden:
        spec = replace(spec, golden=GoldenSpec())
        found = golden.write(directory, spec, _picture(options.golden))
        if not found:
            notes.append(
                "the model finds nothing on the golden image, so the check says little: give a better one"
            )
    else:
        notes.append(Reason.GOLDEN_ABSENT.text)
    package.write(directory, spec)
    model = LoadedModel(directory, load)
    try:
        model.warm()
        figures = model.check_golden()
        return Packed(directory, spec, tuple(notes), figures, model.info)
    finally:
        model.close()


def _with_graph(usual: InputSpec, image: InputSpec) -> InputSpec:
    """The family's usual preprocessing with what the graph itself says about its input."""
    return replace(
        usual,
        name=image.name,
        width=image.width,
        height=image.height,
        layout=image.layout,
        dtype=image.dtype,
        batch=image.batch,
    )


def _probe(path: Path, graph: Graph, notes: list[str]) -> tuple[InputSpec, list[Port]]:
    """Run the graph once: what its outputs really are, and whether an open batch really is open."""
    given: dict[str, Any] = {
        "layout": graph.layout,
        "dtype": graph.image.dtype,
        "batch": graph.image.shape[0],
    }
    image = InputSpec(graph.image.name, graph.width, graph.height, **given)
    tensor = np.full(image.tensor_shape, 114, np.uint8)
    if image.batch is None:
        try:
            golden.reference_outputs(path, replace(image, batch=2), tensor)
        except ModelRefused:
            notes.append("the graph claims to take any batch, but fails on two images: it will be run singly")
            image = replace(image, batch=1)
    _, ports = golden.reference_outputs(path, image, tensor)
    return image, ports


def _recognise(graph: Graph, named: str | None) -> Match:
    if named:
        family = families.get(named)
        match = family.recognise(graph, named=True)
        if match is None:
            raise _unfit(graph, [family], Reason.MODEL_OUTPUTS)
        return replace(match, why=f"named by the packer; {match.why}")
    matches = families.recognise(graph)
    if len(matches) > 1:
        words = "; ".join(f"{match.family}: {match.why}" for match in matches)
        raise ModelRefused(
            Reason.FAMILY_UNKNOWN, f"the graph fits several families: {words}; name one with --family"
        )
    if not matches:
        raise _unfit(graph, [families.get(name) for name in families.names()], Reason.FAMILY_UNKNOWN)
    return matches[0]


def _unfit(graph: Graph, wanted: list[Family], reason: Reason) -> ModelRefused:
    have = ", ".join(map(str, graph.outputs)) or "none"
    expected = "; ".join(f"{family.name}: {family.expects}" for family in wanted)
    problem = Problem(
        "outputs",
        reason,
        f"the graph's outputs are {have} for an input of {graph.width} x {graph.height} px",
        expected,
        "name the right --family, or export the model again",
    )
    return package.refusal([problem], "the graph")


def _spec(
    stem: str, match: Match, options: PackOptions, external: tuple[str, ...], notes: list[str]
) -> ModelSpec:
    names, said = _labels(match, options)
    if said:
        notes.append(said)
    return ModelSpec(
        name=_name(options.name or stem),
        task=_task(match, options.task),
        family=match.family,
        input=_override(match.input, options),
        decode=_override(match.decode, options),
        labels=names,
        precision=options.precision,
        recognised=match.why,
        external=external,
        parts=tuple(sorted(options.parts or {})),
    )


def _task(match: Match, asked: str | None) -> Task:
    """The family's task, or multi-label instead of classification and the other way round, where a person says so."""
    if asked is None or asked == match.task.value:
        return match.task
    either = (Task.CLASSIFICATION, Task.MULTI_LABEL)
    if match.task in either and asked in [task.value for task in either]:
        return Task(asked)
    problem = Problem(
        "task",
        Reason.INVALID_FIELD,
        f"{asked!r} for a model of family {match.family}",
        expected=match.task.value,
        remedy="leave --task out, or name another --family",
    )
    raise package.refusal([problem], "the graph")


def _labels(match: Match, options: PackOptions) -> tuple[tuple[str, ...], str]:
    """The class names, and a note where nobody gave them."""
    if options.labels is not None:
        given = labels.resolve(options.labels)
        if match.classes == _COCO_SLOTS and given == labels.COCO80:
            return labels.COCO91, "the model has a slot for each COCO category id: labels placed by id"
        return given, ""
    if match.labels:
        return match.labels, ""
    if match.classes == _COCO_CLASSES:
        return (
            labels.COCO80,
            "80 classes and no names in the file: COCO's names are assumed; --labels says otherwise",
        )
    if not match.classes:
        return (), ""
    return (), f"{match.classes} classes and no names: results say class_0, class_1 …; give --labels FILE"


def _override(usual: Any, options: PackOptions) -> Any:
    """A spec with the fields of the same name that a person gave."""
    asked = {field.name: getattr(options, field.name, None) for field in fields(usual)}
    changes = {name: value for name, value in asked.items() if value is not None and name != "name"}
    return replace(usual, **changes)


def _name(text: str) -> str:
    """A name that may stand in topics and paths."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip("._-")[:64] or "model"


def _picture(path: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    import cv2

    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise ModelRefused(
            Reason.INVALID_FIELD, f"golden image {path!r}: no picture that can be read; give a JPEG or PNG"
        )
    return np.asarray(image, np.uint8)


def _sync(directory: Path) -> None:
    """Onto the disk before the name appears."""
    for name in package.files(directory):
        with (directory / name).open("rb") as stream:
            os.fsync(stream.fileno())


def main(arguments: list[str]) -> int:
    """`python -m runtime.model.pack '{"source": …, "out": …, "options": {…}}'`; status 0 when packed, 1 when refused."""
    request = json.loads(arguments[0])
    try:
        packed = pack(
            Path(request["source"]), Path(request["out"]), PackOptions.from_json(request["options"])
        )
        made = card.describe(packed.directory, packed.spec, packed.golden, packed.engine, packed.notes)
        verdict = CheckResult(ok=True, card=made)
    except ModelRefused as e:
        verdict = card.refused(e)
    sys.stdout.buffer.write(encode(verdict))
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
