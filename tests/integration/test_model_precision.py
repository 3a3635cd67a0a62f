"""What a precision needs before a model may serve in it: an engine that has it, and the golden image."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from runtime.errors import ModelRefused
from runtime.model.session import LoadedModel, LoadOptions
from wire.reasons import Reason

HAS_OPENVINO = find_spec("openvino") is not None
NO_OPENVINO = pytest.mark.skipif(not HAS_OPENVINO, reason="OpenVINO is not installed")


@pytest.fixture
def package(packages: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages["yolox_nano_416"], tmp_path / "pkg"))


def load(package: Path, engine: str, precision: str, **options: object) -> LoadedModel:
    cache = package.parent / "cache"
    return LoadedModel(package, LoadOptions(engine, precision=precision, cache_dir=cache, **options))  # type: ignore[arg-type]


def raw(model: LoadedModel) -> np.ndarray:
    batch = np.random.default_rng(1).integers(0, 256, (1, *model.tensor_shape), np.uint8)
    (output,) = model.outputs(batch)
    return np.asarray(output)


def without_golden(package: Path) -> None:
    text = (package / "model.toml").read_text().replace("present = true", "present = false")
    (package / "model.toml").write_text(text)
    shutil.rmtree(package / "golden")


def test_fp16_computes_otherwise_and_keeps_the_promise(package: Path) -> None:
    half, full = load(package, "onnxruntime-cpu", "fp16"), load(package, "onnxruntime-cpu", "")
    assert (half.info["precision"], full.info["precision"]) == ("fp16", "fp32")
    difference = np.abs(raw(half) - raw(full)).max()
    assert 0 < difference < 1


@NO_OPENVINO
def test_openvino_computes_in_fp32_unless_it_is_told_otherwise(package: Path) -> None:
    reference, ours = load(package, "onnxruntime-cpu", ""), load(package, "openvino", "")
    assert np.abs(raw(reference) - raw(ours)).max() < 0.01, "BF16 would be off by whole pixels"


def tolerate(package: Path, box: float, score: float) -> None:
    text = (package / "model.toml").read_text()
    for key, value in (("box_tolerance", box), ("score_tolerance", score)):
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
    (package / "model.toml").write_text(text)


@NO_OPENVINO
def test_bf16_serves_where_the_golden_image_allows_what_it_costs_and_not_otherwise(package: Path) -> None:
    tolerate(package, 0.05, 0.15)
    try:
        model = load(package, "openvino", "bf16")
    except ModelRefused as e:
        if e.reason is Reason.PRECISION_UNAVAILABLE:
            pytest.skip(f"no BF16 here: {e}")
        raise
    difference = np.abs(raw(model) - raw(load(package, "openvino", ""))).max()
    assert difference > 0.01, "it still computes in FP32"
    tolerate(package, 1e-5, 1e-4)
    with pytest.raises(ModelRefused) as refused:
        load(package, "openvino", "bf16")
    assert refused.value.reason is Reason.GOLDEN_MISMATCH


def test_without_a_golden_image_only_fp32_is_trusted(package: Path) -> None:
    without_golden(package)
    load(package, "onnxruntime-cpu", "fp32")
    with pytest.raises(ModelRefused, match="no golden image") as refused:
        load(package, "onnxruntime-cpu", "fp16")
    assert refused.value.reason is Reason.GOLDEN_ABSENT
    assert load(package, "onnxruntime-cpu", "fp16", unverified=True).precision.name == "fp16"


@pytest.mark.parametrize(
    ("engine", "precision", "words"),
    [
        ("onnxruntime-cpu", "int8", "outrider model build"),
        ("onnxruntime-cpu", "bf16", "not in bf16"),
        ("onnxruntime-cpu", "fp61", "did you mean"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    package: Path, engine: str, precision: str, words: str
) -> None:
    with pytest.raises(ModelRefused, match=words) as refused:
        load(package, engine, precision)
    assert refused.value.reason is Reason.PRECISION_UNAVAILABLE
