"""What Outrider costs a device: memory of the idle processes, CPU to the first result, disk, and the cost of one camera.

`overhead_core_share` is CPU time of pipeline and engine process at 10 frames/s, less bare decoding and bare inference of
the same frames at the same pace, each with one thread, because a second one that waits for the first costs time of its own. The
three are measured in turn, again and again; the median of the differences.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report, scene
from benchmarks.agentrig import ConnectedAgent
from benchmarks.rig import Rig, assets, cpu_seconds
from wire import local

CAMERA_S = 12.0
ROUNDS = 4
CAMERA_FPS = 10.0
RUNS = 5


def rss_mb(pid: int) -> float:
    import psutil

    return round(float(psutil.Process(pid).memory_info().rss) / 2**20, 1)


def agent_rss_mb() -> float | None:
    """An enrolled agent, connected to a real mosquitto, with nothing to run; None where there is no mosquitto."""
    if not (shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")):
        return None
    with ConnectedAgent() as agent:
        time.sleep(5.0)
        return rss_mb(agent.pid)


def pipeline_rss_mb(workflow: Path | None) -> float:
    """A pipeline process whose workflow is compiled and whose camera has not delivered yet."""
    with Rig() as rig:
        from wire.manifest import digest_of

        path = workflow or scene.WORKFLOW
        models = {
            scene.MODEL_ID: local.ModelBinding("none", "sha256:" + "0" * 64, str(rig.run_dir / "none.sock"))
        }
        binding = local.Binding(1, "w", digest_of(path.read_bytes()), str(path), models)
        silent = local.CameraSource("door", "rtsp://127.0.0.1:9/none", "live")
        pipeline = rig.pipeline(silent, binding)
        rig.await_message(pipeline, local.PipelineUp)
        for _ in rig.until(2.0):
            pass
        return rss_mb(pipeline.pid)


def child_cpu_s(code: str) -> float:
    """CPU seconds of a new Python process that runs this code, median of several; the first one only warms the cache."""
    seconds = []
    for _ in range(RUNS + 1):
        probe = f"{code}\nimport resource\nu = resource.getrusage(resource.RUSAGE_SELF)\nprint(u.ru_utime + u.ru_stime)"
        out = subprocess.run([sys.executable, "-c", probe], check=True, capture_output=True, text=True)
        seconds.append(float(out.stdout.split()[-1]))
    return round(statistics.median(seconds[1:]), 3)


def install_mb(distribution: str = "outrider", extra: str = "cpu") -> float:
    """Bytes on disk of the distribution and all it requires with this extra, byte code included, Python itself not."""
    seen: set[str] = set()
    waiting = [(distribution, extra)]
    total = 0
    while waiting:
        name, wanted = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        total += sum(_size(Path(str(file.locate()))) for file in found.files or ())
        waiting += [(required, "") for required in _requirements(found, wanted)]
    root = Path(__file__).resolve().parents[1]
    total += sum(
        _size(path)
        for part in ("wire", "runtime", "agent", "outrider")
        for path in (root / part).rglob("*.py*")
    )
    return round(total / 2**20, 1)


def _requirements(found: importlib.metadata.Distribution, extra: str) -> list[str]:
    from packaging.requirements import Requirement

    parsed = [Requirement(line) for line in found.requires or ()]
    return [
        re.sub(r"[-_.]+", "-", each.name).lower()
        for each in parsed
        if not each.marker or each.marker.evaluate({"extra": extra})
    ]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def overhead_core_share(package: scene.Package) -> dict[str, float]:
    """The share of a core that one camera costs beyond decoding and inference."""
    rounds = [
        (camera_cpu_share(package), decode_cpu_share(), inference_cpu_share(package.onnx))
        for _ in range(ROUNDS)
    ]
    ours, decode, infer = (round(statistics.median(column), 4) for column in zip(*rounds, strict=True))
    return {
        "camera_core_share": ours,
        "decode_core_share": decode,
        "inference_core_share": infer,
        "overhead_core_share": round(statistics.median(o - d - i for o, d, i in rounds), 4),
    }


def camera_cpu_share(package: scene.Package) -> float:
    with Rig() as rig:
        engine, socket = rig.engine(package.name, package.digest, package.directory, threads=1)
        rig.await_message(engine, local.EngineUp)
        pipeline = rig.pipeline(scene.camera("realtime", loop=True), scene.binding(package, socket))
        for _ in rig.until(5.0):
            pass
        started, cpu = time.monotonic(), cpu_seconds([engine.pid, pipeline.pid])
        for _ in rig.until(CAMERA_S):
            pass
        return (cpu_seconds([engine.pid, pipeline.pid]) - cpu) / (time.monotonic() - started)


PACED = """
import time
def paced(step, seconds, fps):
    step()
    cpu, start = time.process_time(), time.monotonic()
    for i in range(int(seconds * fps)):
        time.sleep(max(0.0, start + i / fps - time.monotonic()))
        step()
    print((time.process_time() - cpu) / (time.monotonic() - start))
"""


def decode_cpu_share() -> float:
    code = f"""{PACED}
import cv2
capture = cv2.VideoCapture({str(scene.video())!r}, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
paced(capture.read, {CAMERA_S}, {CAMERA_FPS})"""
    return _share(code)


def inference_cpu_share(onnx: Path) -> float:
    code = f"""{PACED}
import numpy as np, onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.add_session_config_entry("session.intra_op.allow_spinning", "0")
session = ort.InferenceSession({str(onnx)!r}, options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
feed = {{entry.name: np.random.default_rng(1).uniform(0, 255, entry.shape).astype(np.float32)}}
paced(lambda: session.run(None, feed), {CAMERA_S}, {CAMERA_FPS})"""
    return _share(code)


def _share(code: str) -> float:
    return float(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


def measure() -> dict[str, Any]:
    """Memory, CPU and disk of a device's processes."""
    tracker = Path(__file__).resolve().parents[1] / "examples" / "workflows" / "track_people.json"
    with tempfile.TemporaryDirectory() as folder:
        package = scene.pack("yolox_nano_416", Path(folder))
        picture = str(assets() / scene.GOLDEN)
        first = f"import outrider\noutrider.load({str(package.directory)!r}).predict({picture!r})"
        return {
            "agent_rss_mb": agent_rss_mb(),
            "pipeline_rss_mb": pipeline_rss_mb(None),
            "pipeline_tracker_rss_mb": pipeline_rss_mb(tracker) if tracker.exists() else None,
            "import_cpu_s": child_cpu_s("import outrider"),
            "first_result_cpu_s": child_cpu_s(first),
            "install_mb": install_mb(),
            **overhead_core_share(package),
        }


BUDGETS = {
    "agent_rss_mb": "<= 80",
    "pipeline_rss_mb": "<= 110",
    "pipeline_tracker_rss_mb": "<= 190",
    "import_cpu_s": "<= 0.6",
    "first_result_cpu_s": "<= 1.5",
    "install_mb": "<= 850",
    "overhead_core_share": "<= 0.03",
}

if __name__ == "__main__":
    report.run(measure, BUDGETS)
