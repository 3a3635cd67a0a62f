"""Whole packages on the fake TensorRT: the path of a device from the package to answers, and a weights-only update by refitting."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from runtime.model import backends, golden, package
from runtime.model.session import LoadedModel, LoadOptions
from tests.fakes import tensorrt
from tests.fakes.tensorrt_machine import CURRENT, machine

ENGINE = "tensorrt-fake"


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backends.ENGINES, ENGINE, "tests.fakes.tensorrt_machine:open_current")


def on(*faults: str) -> None:
    CURRENT[:] = [machine(*faults)]


def load(directory: Path, cache: Path, precision: str = "") -> LoadedModel:
    return LoadedModel(directory, LoadOptions(ENGINE, cache_dir=cache, precision=precision))


@pytest.fixture
def old(packages: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages["yolox_nano_416"], tmp_path / "old"))


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    """The same network with other weights, and its own promise."""
    directory = Path(shutil.copytree(old, tmp_path / "new"))
    model = onnx.load(str(directory / "model.onnx"))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and tensor.data_type == onnx.TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor) * np.float32(1.002)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    onnx.save(model, str(directory / "model.onnx"))
    spec = package.read(directory)
    assert spec.golden is not None
    image, _ = golden.load(directory, spec, spec.golden)
    golden.write(directory, spec, image)
    return directory


def test_a_package_answers_as_it_does_on_onnxruntime(old: Path, tmp_path: Path) -> None:
    on()
    model = load(old, tmp_path)
    reference = LoadedModel(old, LoadOptions("onnxruntime-cpu", cache_dir=tmp_path))
    batch = np.random.default_rng(1).integers(0, 256, (1, *model.tensor_shape), np.uint8)
    assert model.feed_dtype == "uint8"
    assert np.allclose(model.outputs(batch)[0], reference.outputs(batch)[0], atol=1e-3)
    assert model.check_golden()["present"]
    model.close()
    assert CURRENT[0].cuda.live() == {}  # type: ignore[attr-defined]


def test_candidates_chosen_in_the_engine_find_the_golden_image_again(old: Path, tmp_path: Path) -> None:
    on()
    model = LoadedModel(old, LoadOptions(ENGINE, cache_dir=tmp_path, shrink=True))
    assert any(port.startswith("outrider_rows [1, 1024, 85]") for port in model.info["outputs"])
    assert model.check_golden()["present"]
    model.warm()
    model.close()


def test_a_weights_only_update_is_a_refit_that_the_golden_image_confirms(
    old: Path, new: Path, tmp_path: Path
) -> None:
    on()
    load(old, tmp_path)
    updated = load(new, tmp_path)
    assert updated.info["origin"] == "refit"
    assert updated.check_golden()["present"]
    assert (len(tensorrt._builds), len(tensorrt._refits)) == (1, 1)
    assert load(new, tmp_path).info["origin"] == "cache", "what the golden image confirmed is kept"


def test_a_refit_that_loses_a_bias_is_noticed_and_the_engine_built_anew(
    old: Path, new: Path, tmp_path: Path
) -> None:
    on("drop-bias")
    load(old, tmp_path)
    updated = load(new, tmp_path)
    assert updated.info["origin"] == "build"
    assert updated.check_golden()["present"]
    assert (len(tensorrt._builds), len(tensorrt._refits)) == (2, 1)


def test_without_a_golden_image_nothing_is_refitted(old: Path, new: Path, tmp_path: Path) -> None:
    text = (new / "model.toml").read_text().replace("present = true", "present = false")
    (new / "model.toml").write_text(text)
    on()
    load(old, tmp_path)
    assert load(new, tmp_path).info["origin"] == "build"
    assert tensorrt._refits == []


def test_half_precision_is_another_engine(old: Path, tmp_path: Path) -> None:
    on()
    load(old, tmp_path)
    half = load(old, tmp_path, "fp16")
    assert (half.info["origin"], half.info["precision"]) == ("build", "fp16")
    assert half.check_golden()["present"]
