"""Real TensorRT (for RTX) builds the fused graph of every family that has no model at hand, and candidates chosen within the graph.

The graphs are small, of random weights and the exporters' layers (`family_graphs.py`); packing must recognise each by itself.
"""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from runtime.model import families, fuse, package, shrink
from runtime.model.backends.tensorrt import building
from runtime.model.graph import open_onnx
from runtime.model.pack import PackOptions, pack
from runtime.model.session import LoadedModel, LoadOptions
from runtime.model.spec import ModelSpec
from runtime.results import Result
from tests.conftest import SHARED
from tests.contract.family_graphs import GRAPHS
from tests.contract.test_tensorrt_builds import KINDS, graph, order

PRECISIONS = ("fp32", "fp16", "int8")
FEW = {("rtdetr-raw", "fp16"), ("dfine-finished", "fp32"), ("yolov5-seg", "int8"), ("yunet-priors", "fp16")}
"""Built by `make test`; all others by `make test-long`."""
HEADS = ("yolov5-seg", "yolov8-any-batch", "picodet", "nanodet-plus")
REAL_HEADS = (
    "detectors/yolox_nano_416",
    "detectors/nanodet_m_320",
    "../conformance/decode/models/yolo11n-seg_640",
)

needs_builder = pytest.mark.skipif(
    find_spec("tensorrt_rtx") is None,
    reason=f"TensorRT for RTX is not installed (it has no wheel for {platform.machine()}, or the extra 'engines' is missing)",
)


def packed(name: str, folder: Path) -> tuple[Path, ModelSpec]:
    _, build = GRAPHS[name]
    source = build(folder / f"{name}.onnx")
    directory = pack(
        source, folder / "package", PackOptions(no_golden=True), LoadOptions(cache_dir=folder)
    ).directory
    return directory, package.read(directory)


@pytest.mark.parametrize("name", sorted(GRAPHS))
def test_it_is_recognised_and_answers(name: str, tmp_path: Path) -> None:
    directory, spec = packed(name, tmp_path)
    assert spec.family == GRAPHS[name][0]
    model = LoadedModel(
        directory, LoadOptions("onnxruntime-cpu", threads=1, cache_dir=tmp_path, score_threshold=0.01)
    )
    from runtime.model.geometry import place

    batch = np.random.default_rng(2).integers(0, 256, (1, *model.tensor_shape)).astype(np.uint8)
    (answer,) = model.run(batch, [place(spec.input, 200, 100)])
    assert isinstance(answer, Result), answer
    model.close()


def cases() -> list[object]:
    every = [(name, precision) for name in sorted(GRAPHS) for precision in PRECISIONS]
    return [pytest.param(*one, marks=() if one in FEW else pytest.mark.long) for one in every]


@needs_builder
@pytest.mark.parametrize(("name", "precision"), cases())
def test_its_fused_graph_becomes_an_engine(name: str, precision: str, tmp_path: Path) -> None:
    directory, spec = packed(name, tmp_path)
    if precision == "int8" and spec.input.dtype == "uint8":
        pytest.skip("a graph that takes bytes holds its own quantisation")
    built(graph(directory, spec, precision, tmp_path), spec, tmp_path)


def built(file: Path, spec: ModelSpec, folder: Path) -> None:
    made = building.run(order(file, spec.input, folder / "engine"), lambda words: None)
    batch = -1 if spec.input.batch is None else spec.input.batch
    assert made["inputs"] == [[fuse.FEED, [batch, *spec.input.tensor_shape], "UINT8"]]
    declared = onnx.load(str(file)).graph.output
    assert [(name, kind) for name, _, kind in made["outputs"]] == [  # type: ignore[attr-defined]
        (value.name, KINDS[value.type.tensor_type.elem_type]) for value in declared
    ]


def shrunk(source: Path, spec: ModelSpec, precision: str, keep: int, folder: Path) -> Path:
    """The fused graph with the choice of candidates in it."""
    outputs = open_onnx(source).outputs
    family = families.get(spec.family)
    planned = shrink.plan(family.head(outputs, spec), outputs, keep)  # type: ignore[attr-defined]
    assert planned is not None
    form = fuse.Form("uint8", "fp16" if precision == "fp16" else "fp32", planned)
    path = folder / "shrunk.onnx"
    path.write_bytes(fuse.build(source, spec.input, form))
    return path


def quantised(directory: Path, spec: ModelSpec, folder: Path) -> Path:
    """The graph with its pairs of QuantizeLinear and DequantizeLinear, not fused."""
    graph(directory, spec, "int8", folder)
    return folder / "quantised.onnx"


@needs_builder
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "name",
    [*(pytest.param(name, marks=pytest.mark.long) for name in HEADS), *REAL_HEADS],
)
def test_candidates_chosen_within_the_graph_become_an_engine(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name in GRAPHS:
        monkeypatch.setattr(shrink, "LEAST_SAVED_BYTES", -(1 << 30))
        directory, spec = packed(name, tmp_path)
        keep = 64
    else:
        if precision != "fp16" and "yolo11n" not in name:
            pytest.skip("one model is built in every precision")
        source = SHARED / "assets" / f"{name}.onnx"
        if not source.is_file():
            pytest.skip(f"no {source}")
        family = source.stem.split("_")[0] if "detectors" in name else None
        options = PackOptions(no_golden=True, family=family)
        directory = pack(source, tmp_path / "package", options, LoadOptions(cache_dir=tmp_path)).directory
        spec, keep = package.read(directory), shrink.KEEP
    whole = directory / spec.onnx
    source = quantised(directory, spec, tmp_path) if precision == "int8" else whole
    built(shrunk(source, spec, precision, keep, tmp_path), spec, tmp_path)
