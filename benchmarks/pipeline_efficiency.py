"""How much of the bare engine's speed is left end to end: decoding, letterbox, engine process, workflow, events to the agent.

Bare is `session.run` alone on a ready tensor, in this process. Ours runs the real file through real pipeline and engine
processes, every result handed over and acknowledged. Five interleaved pairs, median of the ratios; at one engine thread,
and at all cores, where decoding must share them: `bound_all_cores` is what is left at best.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import report, scene
from benchmarks.rig import Rig
from wire import local

PAIRS = 5
FRAMES = 240
WARM_FRAMES = 30


def bare(onnx: Path, threads: int, frames: int) -> tuple[float, float]:
    """Frames a second, and CPU seconds a frame, of the bare session."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    feed = {entry.name: np.random.default_rng(1).uniform(0, 255, entry.shape).astype(np.float32)}
    for _ in range(5):
        session.run(None, feed)
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(frames):
        session.run(None, feed)
    return frames / (time.perf_counter() - start), (time.process_time() - cpu) / frames


def decode_cpu_s(video: Path, frames: int) -> float:
    """CPU seconds a frame of bare OpenCV decoding."""
    import cv2

    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    cpu = time.process_time()
    read = sum(capture.read()[0] for _ in range(frames))
    return (time.process_time() - cpu) / max(1, read)


def end_to_end(rig: Rig, package: scene.Package, threads: int) -> float:
    """Results a second that reach the agent's end, after a warm-up."""
    times: list[float] = []

    def note(message: local.Message, at_mono: float) -> None:
        if isinstance(message, local.Event):
            times.append(at_mono)

    engine, socket = rig.engine(package.name, package.digest, package.directory, threads=threads)
    rig.await_message(engine, local.EngineUp)
    pipeline = rig.pipeline(scene.camera("file"), scene.binding(package, socket), note)
    for _ in rig.until(120):
        if len(times) >= FRAMES + WARM_FRAMES:
            break
    pipeline.process.kill()
    engine.stop()
    return (len(times) - 1 - WARM_FRAMES) / (times[-1] - times[WARM_FRAMES])


def measure() -> dict[str, Any]:
    """Frames a second end to end against the bare engine's."""
    cores = os.cpu_count() or 1
    figures: dict[str, Any] = {"model": "yolox_nano_416", "video": scene.video().name, "pairs": PAIRS}
    with tempfile.TemporaryDirectory() as folder, Rig() as rig:
        package = scene.pack("yolox_nano_416", Path(folder))
        for label, threads in (("", 1), ("_all_cores", cores)):
            pairs, ratios, bounds = [], [], []
            for _ in range(PAIRS):
                bare_fps, bare_cpu = bare(package.onnx, threads, FRAMES)
                ours_fps = end_to_end(rig, package, threads)
                decode = decode_cpu_s(scene.video(), FRAMES)
                pairs.append((round(bare_fps, 2), round(ours_fps, 2)))
                ratios.append(ours_fps / bare_fps)
                bounds.append(bare_cpu / (bare_cpu + decode))
            figures[f"ratio{label}"] = round(statistics.median(ratios), 4)
            figures[f"bare_and_ours_fps{label}"] = pairs
            figures[f"bound{label}"] = round(statistics.median(bounds), 4)
    figures["share_of_bound_all_cores"] = round(figures["ratio_all_cores"] / figures["bound_all_cores"], 4)
    del figures["bound"]
    return figures


if __name__ == "__main__":
    report.run(measure, {"ratio": ">= 0.95", "share_of_bound_all_cores": ">= 0.95"})
