"""Where the tests find real models, pictures, videos and cases; each is skipped, with the reason, where it is absent."""

from __future__ import annotations

import gc
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
DETECTORS = {"yolox_nano_416": "yolox", "nanodet_m_320": "nanodet"}
SHARED = ROOT.parent / "shared"

settings.register_profile("quick", max_examples=20, deadline=None)
settings.register_profile("thorough", max_examples=1000, deadline=None)
settings.load_profile("quick")


def pytest_collection_finish() -> None:
    """Modules, tests and their tables stay until the end: looking for garbage among them took a fifth of the unit tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def folder(variable: str, default: Path) -> Path:
    path = Path(os.environ.get(variable, default))
    if not path.is_dir():
        pytest.skip(f"no folder {path}; set {variable}")
    return path


@pytest.fixture(scope="session")
def assets() -> Path:
    """Models, images and videos."""
    return folder("OUTRIDER_ASSETS", SHARED / "assets")


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """The path of a real mosquitto."""
    path = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if path is None:
        pytest.skip("mosquitto is not installed")
    return path


@pytest.fixture(scope="session")
def packages(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The detectors as packages with a golden image, by name."""
    from outrider.demo.stage import outrider

    folder = tmp_path_factory.mktemp("packages")
    golden = next((assets / "images" / "coco_val_ccby" / "val2017").glob("*397133.jpg"))
    for name, family in DETECTORS.items():
        onnx = assets / "detectors" / f"{name}.onnx"
        outrider(
            "model", "pack", str(onnx), "--family", family, "--labels", "coco80",
            "--golden", str(golden), "--out", str(folder / name),
        )  # fmt: skip
    return {name: folder / name for name in DETECTORS}
