"""What cameras cost beyond decoding, and how many a machine bears: 1080p, 720p and small streams made from the real video.

The ratio: the camera's path (decode into a buffer that is used again, hand over to the main thread, letterbox into a slot) against
`cv2.VideoCapture.read` of the same file, each in a process of its own with one decoding thread; CPU seconds a frame, in pairs
within one run. Checks on the picture are apart (`checks_ms`). The streams: real pipeline processes, file-paced, a workflow
without a model, so that the engine's cost stays out; `ratio` of the processor time of a frame against bare decoding of the same file in this run. `--long` takes the whole
table, 1, 4, 8 and 16 streams.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import report
from benchmarks.rig import Rig, assets, cpu_seconds
from wire import local
from wire.manifest import digest_of

BUDGETS = {"cpu_ratio_1080p": "≤ 1.15", "extra_ms_small": "≤ 0.4"}
SIZES = {"1080p": (1920, 1080), "720p": (1280, 720), "small": (640, 360)}
STREAMS = (1, 4)
LONG_STREAMS = (1, 4, 8, 16)
SECONDS = 12
FPS = 25
PAIRS = 5
WARM_FRAMES = 75
WARM_S = 3.0
MEASURE_S = 10.0
ROOT = Path(__file__).resolve().parents[1]
BARE = """
import sys, time, cv2
cv2.setNumThreads(1)
warm, began = int(sys.argv[3]), 0.0
c = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
n = 0
while c.read()[0]:
    n += 1
    if n == warm:
        began = time.process_time()
print(n - warm, time.process_time() - began)
"""
OURS = """
import select, sys, time, cv2
cv2.setNumThreads(1)
import numpy as np
from runtime.camera.opening import open_camera
from runtime.camera.reader import CameraReader
from runtime.model.preprocess import preprocessor
from runtime.model.spec import InputSpec
from wire.camera import Care, PictureChecks
from wire.local import CameraSource
every_s, warm = float(sys.argv[2]), int(sys.argv[3])
camera = CameraSource("c", sys.argv[1], "file", care=Care(checks=PictureChecks(every_s=every_s)))
spec = InputSpec(name="images", width=416, height=416)
slot = np.zeros(spec.tensor_shape, np.uint8)
resize = preprocessor(spec)
reader = CameraReader(camera, open_camera)
n, began = 0, 0.0
def take():
    global n, began
    while (frame := reader.take()) is not None:
        resize.into(frame.image, slot)
        n += 1
        if n == warm:
            began = time.process_time()
reader.start()
ended = False
while not ended:
    select.select([reader], [], [], 1.0)
    reader.clear()
    take()
    ended = any(getattr(s, "state", "") == "ended" for s in reader.news()[0])
take()
print(n - warm, time.process_time() - began)
"""
NO_MODEL = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [],
    "outputs": [],
}


def clip(into: Path, name: str) -> Path:
    """The real video at this size, H.264 as cameras send it (no B frames, a key frame a second)."""
    width, height = SIZES[name]
    path = into / f"{name}.mp4"
    source = assets() / "video" / "one-by-one-person-detection.mp4"
    subprocess.run(
        [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-ss",
            "5",
            "-i",
            str(source),
            "-t",
            str(SECONDS),
            "-vf",
            f"scale={width}:{height},fps={FPS}",
            "-an",
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
            "-bf",
            "0",
            "-g",
            str(FPS),
            "-pix_fmt",
            "yuv420p",
            str(path),
        ],
        check=True,
    )
    return path


def cpu_ms(script: str, path: str, checks_every_s: float) -> float:
    """CPU milliseconds a frame of one run, after the first `WARM_FRAMES`: a camera runs for weeks."""
    arguments = (path, str(checks_every_s), str(WARM_FRAMES))
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], check=True, capture_output=True, text=True, cwd=ROOT
    )
    frames, cpu_s = done.stdout.split()
    return float(cpu_s) / int(frames) * 1000.0


def pairs(path: Path) -> dict[str, Any]:
    """Bare and ours in turn; medians."""
    bare, ours = [], []
    for _ in range(PAIRS):
        bare.append(cpu_ms(BARE, str(path), 0.0))
        ours.append(cpu_ms(OURS, str(path), 86400.0))
    extra = [b - a for a, b in zip(bare, ours, strict=True)]
    return {
        "bare_ms": round(statistics.median(bare), 3),
        "ours_ms": round(statistics.median(ours), 3),
        "ratio": round(statistics.median(b / a for a, b in zip(bare, ours, strict=True)), 4),
        "extra_ms": round(statistics.median(extra), 3),
    }


def streams(path: Path, count: int, folder: Path) -> dict[str, Any]:
    """This many pipeline processes at once, each playing the file at its own rate."""
    workflow = folder / "workflow.json"
    workflow.write_text(json.dumps(NO_MODEL))
    binding = local.Binding(1, "none", digest_of(workflow.read_bytes()), str(workflow), {}, {}, "every", 0.0)
    latency_ms: list[float] = []

    def note(message: local.Message, _at_mono: float) -> None:
        if isinstance(message, local.Event):
            latency_ms.append((time.time() - message.body["frame_wall"]) * 1000.0)

    with Rig() as rig:
        children = []
        for number in range(count):
            camera = local.CameraSource(f"c{number}", str(path), "realtime", loop=True)
            child = rig.spawn("runtime.pipeline", note)
            run_dir = folder / f"run{number}"
            run_dir.mkdir(exist_ok=True)
            child.send(local.Start(camera.name, camera, binding, str(run_dir)))
            children.append(child)
        for _ in rig.until(WARM_S + count * 0.5):
            pass
        latency_ms.clear()
        pids = [child.pid for child in children]
        before, began_mono = cpu_seconds(pids), time.monotonic()
        for _ in rig.until(MEASURE_S):
            pass
        wall_s = time.monotonic() - began_mono
        cpu = (cpu_seconds(pids) - before) / wall_s / count
        rss = [psutil.Process(pid).memory_info().rss / 1e6 for pid in pids]
    ordered = sorted(latency_ms)
    return {
        "fps": round(len(ordered) / wall_s / count, 2),
        "core_share": round(cpu, 4),
        "cpu_ms": round(cpu * wall_s * count * 1000.0 / max(1, len(ordered)), 3),
        "p50_ms": round(ordered[len(ordered) // 2], 2),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)], 2),
        "rss_mb": round(statistics.median(rss), 1),
    }


def measure(counts: Sequence[int] = STREAMS) -> dict[str, Any]:
    """Cameras: cost beyond decoding, and several streams at once (with `--long` up to 16)."""
    figures: dict[str, Any] = {"pairs": PAIRS, "fps": FPS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clips = {size: clip(folder, size) for size in SIZES}
        for size, path in clips.items():
            figures[size] = pairs(path)
        figures["cpu_ratio_1080p"] = figures["1080p"]["ratio"]
        figures["extra_ms_small"] = figures["small"]["extra_ms"]
        looking = cpu_ms(OURS, str(clips["1080p"]), 0.1) - figures["1080p"]["ours_ms"]
        figures["checks_ms"] = round(max(0.0, looking) * FPS / 10.0, 3)
        for size in ("1080p", "720p"):
            table = {n: streams(clips[size], n, folder) for n in counts}
            figures[f"streams_{size}"] = {
                n: {**row, "ratio": round(row["cpu_ms"] / figures[size]["bare_ms"], 3)}
                for n, row in table.items()
            }
    return figures


if __name__ == "__main__":
    if "--long" in sys.argv:
        sys.argv.remove("--long")
        report.run(lambda: measure(LONG_STREAMS), BUDGETS)
    else:
        report.run(measure, BUDGETS)
