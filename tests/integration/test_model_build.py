"""`outrider model build`: a package of another precision, from one of FP32, proven on the golden image."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from outrider.cli import main
from runtime.model import package
from runtime.model.session import LoadedModel, LoadOptions


def build(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    main(["model", "build", *arguments, "--json"])
    verdict: dict[str, object] = json.loads(capsys.readouterr().out)
    return verdict


@pytest.fixture
def fp32(packages: dict[str, Path]) -> Path:
    return packages["yolox_nano_416"]


def test_an_int8_package_is_calibrated_on_pictures_and_keeps_its_promise(
    fp32: Path, assets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for picture in sorted((assets / "images" / "coco_val_ccby" / "val2017").glob("*.jpg"))[:16]:
        (pictures / picture.name).symlink_to(picture)
    out = tmp_path / "int8.pkg"
    verdict = build(
        capsys, str(fp32), "--precision", "int8", "--calibration", str(pictures), "--out", str(out),
        "--box-tolerance", "0.05", "--score-tolerance", "0.2",
    )  # fmt: skip
    assert verdict["ok"], verdict["message"]
    assert package.read(out).precision == "int8"
    ops = [node.op_type for node in onnx.load(str(out / "model.onnx")).graph.node]
    assert ops.count("DequantizeLinear") > ops.count("QuantizeLinear") > 20
    assert (out / "model.onnx").stat().st_size < 0.5 * (fp32 / "model.onnx").stat().st_size
    model = LoadedModel(out, LoadOptions("onnxruntime-cpu", cache_dir=tmp_path))
    assert (model.precision.name, model.check_golden()["present"]) == ("int8", True)


def test_an_fp16_package_is_half_as_large(
    fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fp16.pkg"
    verdict = build(capsys, str(fp32), "--precision", "fp16", "--out", str(out))
    assert verdict["ok"], verdict["message"]
    assert (out / "model.onnx").stat().st_size < 0.55 * (fp32 / "model.onnx").stat().st_size


def test_a_precision_that_costs_too_much_is_refused_and_leaves_nothing(
    fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fp16.pkg"
    verdict = build(
        capsys, str(fp32), "--precision", "fp16", "--out", str(out),
        "--box-tolerance", "0.000001", "--score-tolerance", "0.0000001",
    )  # fmt: skip
    assert (verdict["ok"], verdict["reason"]) == (False, "golden-mismatch")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--precision", "int8"], "invalid-field"),
        (["--precision", "int8", "--calibration", "/nowhere"], "invalid-field"),
        (["--engine", "tensorrt"], "driver-absent"),
    ],
)
def test_what_is_missing_is_told(
    fp32: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    if "tensorrt" in arguments and Path("/proc/driver/nvidia/version").exists():
        pytest.skip("there is a driver here")
    verdict = build(capsys, str(fp32), *arguments, "--out", str(tmp_path / "made"))
    assert (verdict["ok"], verdict["reason"]) == (False, reason)
    assert list(tmp_path.iterdir()) == []
