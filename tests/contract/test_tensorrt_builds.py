"""Real TensorRT (for RTX, from PyPI) reads and builds the fused graph of every family in FP32, FP16 and INT8 for a GPU that is not here.

What is checked is the contract with its parser and builder, and what the engine takes and gives; running needs the GPU (tests/gpu).
"""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import onnx
import pytest

from runtime.errors import ModelRefused
from runtime.model import fuse, package
from runtime.model.backends.tensorrt import build, building, library
from runtime.model.graph import parse_onnx
from runtime.model.pack import PackOptions, pack
from runtime.model.precision.calibrate import ranges
from runtime.model.precision.quantise import inputs_to_calibrate, prepared, quantise
from runtime.model.session import LoadOptions
from runtime.model.spec import InputSpec, ModelSpec
from tests.conftest import SHARED

TARGET = "SM86"
"""Compute capability 8.6, the nearest to Orin's 8.7 that TensorRT for RTX builds for."""
MODELS = sorted((SHARED / "conformance" / "decode" / "models").glob("*.onnx")) + sorted(
    (SHARED / "assets").glob("*/*.onnx")
)
NAMED = {
    "yolox_nano_416": "yolox",
    "nanodet_m_320": "nanodet",
    "fastestdet_352": "fastestdet",
    "efficientnet_lite0_224": "classifier",
    "vww_mobilenetv1_96": "classifier",
}
"""Where several families could claim a graph, or a person must say so."""
SLOW = {"rfdetr_nano"}
KINDS = {1: "FLOAT", 10: "HALF", 2: "UINT8", 6: "INT32", 7: "INT64"}
"""ONNX element type → TensorRT's name of it."""

pytestmark = [
    pytest.mark.skipif(
        find_spec("tensorrt_rtx") is None,
        reason=f"TensorRT for RTX is not installed (it has no wheel for {platform.machine()}, or the extra 'engines' is missing)",
    ),
    pytest.mark.skipif(not MODELS, reason=f"no models in {SHARED}"),
]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, tuple[Path, ModelSpec] | str]:
    """Packages made so far, or why there is none."""
    return {}


def package_of(
    onnx_file: Path, made: dict[Path, tuple[Path, ModelSpec] | str], folder: Path
) -> tuple[Path, ModelSpec]:
    if onnx_file not in made:
        target = folder / "package"
        options = PackOptions(no_golden=True, family=NAMED.get(onnx_file.stem))
        try:
            pack(onnx_file, target, options, LoadOptions(cache_dir=folder))
            made[onnx_file] = (target, package.read(target))
        except ModelRefused as e:
            made[onnx_file] = f"no family takes {onnx_file.name} without more being said: {e}"
    found = made[onnx_file]
    if isinstance(found, str):
        pytest.skip(found[:300])
    return found


def graph(directory: Path, spec: ModelSpec, precision: str, folder: Path) -> Path:
    """The fused graph as an engine would get it."""
    path, source = folder / "fused.onnx", directory / spec.onnx
    if precision == "int8":
        model = prepared(parse_onnx(source), precision)
        names = inputs_to_calibrate(model)
        quantise(model, ranges(model, spec.input, names, pictures(folder), lambda words: None), precision)
        source = folder / "quantised.onnx"
        onnx.save(model, str(source))
    form = fuse.Form("uint8", "fp16" if precision == "fp16" else "fp32")
    path.write_bytes(fuse.build(source, spec.input, form))
    return path


def pictures(folder: Path) -> list[Path]:
    import cv2
    import numpy as np

    path = folder / "noise.png"
    noise = np.random.default_rng(1).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    cv2.imwrite(str(path), cv2.resize(noise, (640, 480)))
    return [path]


def cases() -> list[object]:
    """Every model in every precision; the largest in one, the others of it by `make test-long`."""
    found = []
    for path in MODELS or [Path("none")]:
        for precision in ("fp32", "fp16", "int8"):
            marks = pytest.mark.long if path.stem in SLOW and precision != "fp16" else ()
            found.append(pytest.param(path, precision, marks=marks, id=f"{path.stem}-{precision}"))
    return found


@pytest.mark.parametrize(("onnx_file", "precision"), cases())
def test_the_fused_graph_becomes_an_engine(
    onnx_file: Path,
    precision: str,
    packed: dict[Path, tuple[Path, ModelSpec] | str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    directory, spec = package_of(onnx_file, packed, tmp_path_factory.mktemp("package"))
    if precision == "int8" and spec.input.dtype == "uint8":
        pytest.skip("a graph that takes bytes holds its own quantisation")
    file = graph(directory, spec, precision, tmp_path)
    told: list[str] = []
    made = building.run(order(file, spec.input, tmp_path / "engine"), told.append)
    side = spec.input.batch or 4
    assert made["inputs"] == [
        [fuse.FEED, [-1 if spec.input.batch is None else side, *spec.input.tensor_shape], "UINT8"]
    ]
    declared = onnx.load(str(file)).graph.output
    assert [(name, kind) for name, _, kind in made["outputs"]] == [  # type: ignore[attr-defined]
        (value.name, KINDS[value.type.tensor_type.elem_type]) for value in declared
    ]
    assert (tmp_path / "engine").stat().st_size == made["bytes"] > 10_000
    assert told, "a build must tell how far it is"


def order(file: Path, spec: InputSpec, out: Path) -> build.Order:
    profiles = ((1, 1, 1), (2, 4, 8)) if spec.batch is None else ()
    shape = (spec.batch, *spec.tensor_shape)
    return build.Order(library.RTX, str(file), str(out), fuse.FEED, shape, profiles, capability=TARGET)


def test_a_graph_it_cannot_read_is_refused_in_its_own_words(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    node = helper.make_node("NonZero", ["x"], ["out"], name="find")
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    result = helper.make_tensor_value_info("out", TensorProto.INT64, [4, "found"])
    model = helper.make_model(
        helper.make_graph([node], "g", [entry], [result]), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "m.onnx"))
    wanted = build.Order(
        library.RTX, str(tmp_path / "m.onnx"), str(tmp_path / "e"), "x", (1, 3, 8, 8), capability=TARGET
    )
    with pytest.raises(ModelRefused, match="NonZero"):
        building.run(wanted, lambda words: None)
    assert not (tmp_path / "e").exists()


def test_a_builder_that_crashes_costs_its_process_only(tmp_path: Path) -> None:
    wanted = build.Order("no.such.module", "m", "e", "x", (1, 3, 8, 8))
    with pytest.raises(ModelRefused, match="cannot be imported"):
        building.run(wanted, lambda words: None)


def test_a_build_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    wanted = build.Order(library.RTX, "m", "e", "x", (1, 3, 8, 8))
    with pytest.raises(ModelRefused, match="longer than"):
        building.run(wanted, lambda words: None, deadline_s=0.05)
