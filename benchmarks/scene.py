"""What the benchmarks of the main job run on: two detectors packed, the video of people walking by, a workflow."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rig import assets
from wire import local
from wire.manifest import digest_of

WORKFLOW = Path(__file__).resolve().parents[1] / "examples" / "workflows" / "count_people.json"
MODEL_ID = "people/1"
DETECTORS = {"yolox_nano_416": "yolox", "nanodet_m_320": "nanodet"}
GOLDEN = "images/coco_val_ccby/val2017/000000397133.jpg"


@dataclass(frozen=True)
class Package:
    """A packed model."""

    name: str
    directory: Path
    digest: str
    onnx: Path


def pack(name: str, into: Path) -> Package:
    """Pack one of the detectors, with a golden image."""
    from runtime.model.package import digest

    onnx = assets() / "detectors" / f"{name}.onnx"
    directory = into / name
    command = [sys.executable, "-m", "outrider", "model", "pack", str(onnx), "--family", DETECTORS[name]]
    command += ["--labels", "coco80", "--golden", str(assets() / GOLDEN), "--out", str(directory)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Package(name, directory, digest(directory), onnx)


def video() -> Path:
    return assets() / "video" / "one-by-one-person-detection.mp4"


def camera(pace: str, *, loop: bool = False) -> local.CameraSource:
    return local.CameraSource("door", str(video()), pace, loop=loop)


def binding(package: Package, socket: str, revision: int = 1, send: str = "every") -> local.Binding:
    """The workflow over this model, with an event for every frame unless said otherwise."""
    return local.Binding(
        revision,
        "count_people",
        digest_of(WORKFLOW.read_bytes()),
        str(WORKFLOW),
        {MODEL_ID: local.ModelBinding(package.name, package.digest, socket)},
        {},
        send,
        0.0,
    )
