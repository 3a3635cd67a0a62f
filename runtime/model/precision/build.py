"""Makes a package of another precision from one of FP32: FP16 by conversion, INT8 and FP8 from calibration pictures.

The promise of the golden image stays the one of FP32, and the new package exists only if it still holds. As a process,
`python -m runtime.model.precision.build JSON` prints progress and one `wire.local.CheckResult`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import ModelRefused
from runtime.model import card, package
from runtime.model.precision import BUILT, calibrate
from runtime.model.session import LoadedModel, LoadOptions
from runtime.model.spec import GoldenSpec, ModelSpec
from wire.local import CheckResult, encode
from wire.reasons import Reason


@dataclass(frozen=True)
class BuildOptions:
    """`calibration`: a folder of pictures, for int8 and fp8. Tolerances: None leaves those of the package."""

    precision: str
    calibration: str | None = None
    box_tolerance: float | None = None
    score_tolerance: float | None = None
    engine: str = "auto"
    cache_dir: str | None = None


@dataclass(frozen=True)
class Built:
    """A package that was made, and what its golden image showed."""

    directory: Path
    spec: ModelSpec
    golden: dict[str, Any]
    engine: dict[str, Any]
    notes: tuple[str, ...] = ()


def _silent(words: str) -> None:
    pass


def build(
    source: Path, target: Path, options: BuildOptions, tell: Callable[[str], object] = _silent
) -> Built:
    """Make the package directory `target` from the package directory `source`.

    :raises ModelRefused: what was asked cannot be, or the result is too far from FP32; nothing is left behind
    """
    spec = package.read(source)
    _check(spec, target, options)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.partial-") as temporary:
        partial = Path(temporary) / "package"
        made = _write(source, partial, spec, options, tell)
        golden, engine = _prove(partial, options)
        partial.chmod(0o755)
        partial.replace(target)
    return Built(target, made, golden, engine)


def _check(spec: ModelSpec, target: Path, options: BuildOptions) -> None:
    if target.exists():
        raise ModelRefused(Reason.PACKAGE_INVALID, f"{target} exists already; name another --out")
    if options.precision not in BUILT:
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"a package is built in {', '.join(BUILT)}, not in {options.precision}; bf16 needs none, the engine is asked for it",
        )
    if spec.precision != "fp32":
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"model {spec.name!r} is {spec.precision} already; build from the FP32 package",
        )
    if options.precision != "fp16" and not options.calibration:
        raise ModelRefused(
            Reason.INVALID_FIELD,
            f"{options.precision} needs pictures to calibrate with: give --calibration FOLDER",
        )


def _write(
    source: Path, partial: Path, spec: ModelSpec, options: BuildOptions, tell: Callable[[str], object]
) -> ModelSpec:
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(spec.onnx, *spec.external))
    content = convert(source, spec, options, tell)
    (partial / spec.onnx).write_bytes(content)
    made = replace(spec, precision=options.precision, external=(), golden=_tolerances(spec.golden, options))
    package.write(partial, made)
    return made


def convert(source: Path, spec: ModelSpec, options: BuildOptions, tell: Callable[[str], object]) -> bytes:
    """The graph of the package in the precision asked for.

    :raises ModelRefused: it cannot be converted
    """
    import onnx

    from runtime.model.graph import parse_onnx
    from runtime.model.precision.half import to_half
    from runtime.model.precision.quantise import inputs_to_calibrate, prepared, quantise

    path = source / spec.onnx
    model = parse_onnx(path)
    onnx.load_external_data_for_model(model, str(path.parent))
    if options.precision == "fp16":
        to_half(model)
    else:
        model = prepared(model, options.precision)
        files = calibrate.pictures(Path(options.calibration or ""))
        names = inputs_to_calibrate(model)
        quantise(model, calibrate.ranges(model, spec.input, names, files, tell), options.precision)
    return bytes(model.SerializeToString())


def _tolerances(golden: GoldenSpec | None, options: BuildOptions) -> GoldenSpec | None:
    asked = {"box_tolerance": options.box_tolerance, "score_tolerance": options.score_tolerance}
    changes: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    return replace(golden, **changes) if golden is not None else None


def _prove(directory: Path, options: BuildOptions) -> tuple[dict[str, Any], dict[str, Any]]:
    cache = Path(options.cache_dir) if options.cache_dir else None
    model = LoadedModel(directory, LoadOptions(engine=options.engine, cache_dir=cache))
    try:
        return model.check_golden(), model.info
    finally:
        model.close()


def main(arguments: list[str]) -> int:
    """`'{"source": …, "out": …, "options": {…}}'`; status 0 when built, 1 when refused."""
    request = json.loads(arguments[0])
    try:
        made = build(
            Path(request["source"]),
            Path(request["out"]),
            BuildOptions(**request["options"]),
            lambda words: print(words, file=sys.stderr, flush=True),
        )
        verdict = CheckResult(
            ok=True, card=card.describe(made.directory, made.spec, made.golden, made.engine, list(made.notes))
        )
    except ModelRefused as e:
        verdict = card.refused(e)
    sys.stdout.buffer.write(encode(verdict))
    return 0 if verdict.ok else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
