"""What our engine call costs beyond the bare one, for each family and engine; engines against each other; batches; refitting.

Ours is `LoadedModel.run` on ready bytes: engine, decoding, checks; preprocessing is apart. The bare call is timed within ours, so
that each difference is of one call. `overhead_cpu_ms` is the same in processor time of the calling thread, which waits for nothing beyond
the bare call: what the overhead is on a machine without other load. `ours_of_bare` compares both as wholes, in interleaved pairs. All
figures are medians of one run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.rig import assets

PAIRS = 15
WARM = 3
CAMERAS = 4
PICTURE = "images/coco_val_ccby/val2017/000000397133.jpg"
ROOT = Path(__file__).resolve().parents[1]
FAMILIES = {
    "yolox": "detectors/yolox_nano_416.onnx",
    "nanodet": "detectors/nanodet_m_320.onnx",
    "fastestdet": "detectors/fastestdet_352.onnx",
    "classifier": "classification/efficientnet_lite0_224.onnx",
    "ultraface": "face_person/ultraface_rfb_320.onnx",
    "movenet": "pose/movenet_lightning_192_dequant.onnx",
    "segmentation": "segmentation/road_segmentation_adas_0001.onnx",
    "yolo": "decode/yolo11n_640.onnx",
    "yolo-seg": "decode/yolo11n-seg_640.onnx",
    "yolo-pose": "decode/yolo11n-pose_640.onnx",
    "yolo-obb": "decode/yolo11n-obb_640.onnx",
    "yolo-end": "decode/yolo26n_640_end2end1.onnx",
    "rfdetr": "decode/rfdetr_nano.onnx",
}
BATCHED = ROOT / "examples" / "bottle_caps" / "packages" / "v2"
"""A package whose graph takes any batch once its input says so."""
BUDGETS = {"cpu": (0.05, 0.3), "gpu": (0.1, 0.4)}
"""Share of the bare call, milliseconds: the larger of both is allowed."""


@dataclass(frozen=True)
class Entry:
    """An engine of ours, where it computes, and whether it is there."""

    name: str
    place: str
    missing: str = ""


def engines() -> list[Entry]:
    """All, with the reason why one cannot run here."""
    gpu = no_gpu()
    has_openvino = "" if find_spec("openvino") else "not installed"
    cuda, trt = gpu, gpu or ("" if find_spec("tensorrt") else "not installed")
    if not cuda:
        import onnxruntime

        there = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        cuda = "" if there else "the installed ONNX Runtime has no CUDA"
    return [
        Entry("onnxruntime-cpu", "cpu"),
        Entry("openvino", "cpu", has_openvino),
        Entry("onnxruntime-cuda", "gpu", cuda),
        Entry("tensorrt", "gpu", trt),
    ]


def no_gpu() -> str:
    """Why there is none; empty where there is one."""
    from runtime.errors import ModelRefused
    from runtime.model.backends.cuda import driver

    try:
        driver.ask()
    except ModelRefused as e:
        return str(e)
    return ""


def packages(folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """A package for each family, and why some have none."""
    from runtime.errors import ModelRefused
    from runtime.model.pack import PackOptions, pack
    from runtime.model.session import LoadOptions

    made, refused = {}, {}
    for name, place in FAMILIES.items():
        decode = assets().parent / "conformance" / "decode" / "models"
        onnx = decode / Path(place).name if place.startswith("decode/") else assets() / place
        try:
            family = name if name in ("yolox", "nanodet", "fastestdet", "classifier") else None
            options = PackOptions(no_golden=True, family=family)
            made[name] = pack(onnx, folder / name, options, LoadOptions(cache_dir=folder)).directory
        except ModelRefused as e:
            refused[name] = str(e)[:200]
    return made, refused


def bare_call(model: Any, batch: Any) -> Callable[[], Any]:
    """The engine's own call: what is left when everything of ours is taken away."""
    backend = model._backend
    engine = model.info["engine"]
    if engine == "onnxruntime" and model.info["provider"] == "CPUExecutionProvider":
        session, names, feed = backend._session, backend._names, {backend._feed: batch}
        return lambda: session.run(names, feed)
    if engine == "openvino":
        request = backend._compiled.create_infer_request()
        tensor = backend._tensor(batch, shared_memory=True)

        def infer() -> None:
            request.set_input_tensor(0, tensor)
            request.infer()

        return infer
    if engine == "onnxruntime":
        backend.run(batch)
        lane = backend._lanes[batch.shape]
        return lambda: lane.run(backend._session, batch)
    backend.run(batch)
    lane = backend._lane(len(batch))
    return lambda: (
        backend._cuda.launch(lane.graph, backend._stream),
        backend._cuda.synchronize(backend._stream),
    )


def loaded(directory: Path, engine: str, cache: Path) -> tuple[Any, Any, list[Any]]:
    """A model with the bytes of a real picture, and where it lies in them."""
    import cv2
    import numpy as np

    from runtime.model.preprocess import BytePreprocessor
    from runtime.model.session import LoadedModel, LoadOptions

    model = LoadedModel(directory, LoadOptions(engine, cache_dir=cache, max_batch=CAMERAS))
    tensor = np.empty(model.tensor_shape, np.uint8)
    picture = cv2.imread(str(assets() / PICTURE))
    geometry = BytePreprocessor(model.spec.input).into(np.asarray(picture, np.uint8), tensor)
    return model, np.ascontiguousarray(tensor[None]), [geometry]


def timed_ms(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - start)


def interleaved(calls: list[Callable[[], Any]], pairs: int = PAIRS) -> list[list[float]]:
    """Times of each call in milliseconds, taken in turns, the order changing."""
    for _ in range(WARM):
        for call in calls:
            call()
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(pairs):
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            taken[index].append(timed_ms(calls[index]))
    return taken


class Stopwatch:
    """Stands where our code expects a function, and notes how long each call took."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self.last_ms = self.last_cpu_ms = 0.0

    def __call__(self, *arguments: Any) -> Any:
        start, start_cpu = time.perf_counter(), time.thread_time()
        try:
            return self._call(*arguments)
        finally:
            self.last_cpu_ms = 1000 * (time.thread_time() - start_cpu)
            self.last_ms = 1000 * (time.perf_counter() - start)


class Timed:
    """An object of the engine's library with one method under a stopwatch."""

    def __init__(self, wrapped: Any, method: str) -> None:
        self._wrapped = wrapped
        self.watch = Stopwatch(getattr(wrapped, method))
        setattr(self, method, self.watch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._wrapped, name)


def watched(model: Any) -> tuple[Stopwatch, Callable[[], object]]:
    """Time the engine's own call within ours; and how to undo it."""
    backend, provider = model._backend, model.info["provider"]
    if model.info["engine"] == "openvino":
        request = backend._idle.get()
        timed = Timed(request, "infer")
        backend._idle.put(timed)
        return timed.watch, lambda: (backend._idle.get(), backend._idle.put(request))
    if provider == "CPUExecutionProvider":
        watch = Stopwatch(backend._run)
        return _swapped(backend, "_run", watch), lambda: setattr(backend, "_run", watch._call)
    if model.info["engine"] == "onnxruntime":
        holder, name, timed = backend, "_session", Timed(backend._session, "run_with_iobinding")
    else:
        holder, name, timed = backend, "_cuda", Timed(backend._cuda, "synchronize")
    former = getattr(holder, name)
    setattr(holder, name, timed)
    return timed.watch, lambda: setattr(holder, name, former)


def _swapped(holder: Any, name: str, watch: Stopwatch) -> Stopwatch:
    setattr(holder, name, watch)
    return watch


def beyond_ms(model: Any, batch: Any, geometries: list[Any]) -> tuple[float, float, float]:
    """Medians of the bare call, of what ours takes beyond it, and of that in processor time of the calling thread."""
    watch, undo = watched(model)
    whole = Stopwatch(model.run)
    bare, extra, cpu = [], [], []
    try:
        for turn in range(WARM + PAIRS):
            whole(batch, geometries)
            if turn >= WARM:
                bare.append(watch.last_ms)
                extra.append(whole.last_ms - watch.last_ms)
                cpu.append(whole.last_cpu_ms - watch.last_cpu_ms)
    finally:
        undo()
    return statistics.median(bare), statistics.median(extra), statistics.median(cpu)


def overhead(name: str, directory: Path, entry: Entry, cache: Path) -> dict[str, Any]:
    """One row: what our call costs beyond the bare one."""
    model, batch, geometries = loaded(directory, entry.name, cache)
    try:
        base, extra, cpu = beyond_ms(model, batch, geometries)
        bare, ours = interleaved([bare_call(model, batch), lambda: model.run(batch, geometries)])
    finally:
        model.close()
    share, least = BUDGETS[entry.place]
    return {
        "family": name,
        "engine": entry.name,
        "bare_ms": round(base, 3),
        "overhead_ms": round(extra, 3),
        "overhead_share": round(extra / base, 4),
        "ours_of_bare": round(statistics.median(ours) / statistics.median(bare), 3),
        "of_budget": round(extra / max(share * base, least), 3),
        "overhead_cpu_ms": round(cpu, 3),
        "of_budget_cpu": round(cpu / max(share * base, least), 3),
    }


def against(directory: Path, cache: Path) -> float:
    """OpenVINO's speed as a multiple of ONNX Runtime's, bare calls in turns."""
    first, batch, _ = loaded(directory, "onnxruntime-cpu", cache)
    second, _, _ = loaded(directory, "openvino", cache)
    try:
        times = interleaved([bare_call(first, batch), bare_call(second, batch)])
    finally:
        first.close()
        second.close()
    return round(statistics.median(times[0]) / statistics.median(times[1]), 3)


def any_batch(folder: Path) -> Path:
    """A copy of the package whose graph takes any batch."""
    import shutil

    import onnx

    directory = Path(shutil.copytree(BATCHED, folder / "any-batch"))
    model = onnx.load(str(directory / "model.onnx"))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, str(directory / "model.onnx"))
    text = (directory / "model.toml").read_text().replace("\nbatch = 1\n", "\nbatch = 0\n")
    (directory / "model.toml").write_text(text)
    return directory


def batching(directory: Path, entry: Entry, cache: Path) -> float:
    """Time of four cameras in one run ÷ in four runs; below 1 batching pays."""
    import numpy as np

    model, batch, geometries = loaded(directory, entry.name, cache)
    four = np.ascontiguousarray(np.repeat(batch, CAMERAS, axis=0))

    def singly() -> None:
        for i in range(CAMERAS):
            model.run(four[i : i + 1], geometries)

    try:
        together, apart = interleaved([lambda: model.run(four, geometries * CAMERAS), singly])
    finally:
        model.close()
    return round(statistics.median(a / b for a, b in zip(together, apart, strict=True)), 3)


def refitting(directory: Path, cache: Path) -> tuple[float | None, str]:
    """Time of a weights-only update ÷ of a full build on TensorRT, or why it is not known."""
    entry = next(e for e in engines() if e.name == "tensorrt")
    if entry.missing:
        return None, entry.missing
    import onnx
    from onnx import numpy_helper

    from runtime.model.backends import open_backend
    from runtime.model.backends.backend import RunOptions
    from runtime.model.fuse import Form, fused
    from runtime.model.package import read

    graph = fused(directory, read(directory), Form(), cache / "fused")
    model = onnx.load(str(graph))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * 1.01, tensor.name))
    other = cache / "other.onnx"
    onnx.save(model, str(other))
    options = RunOptions(cache=cache / "refit", refit=True)
    build_ms = timed_ms(lambda: open_backend("tensorrt", Path(str(graph)), options).close())
    refit_ms = timed_ms(lambda: open_backend("tensorrt", other, options).close())
    return round(refit_ms / build_ms, 4), ""


def measure() -> dict[str, Any]:
    """Overhead of the engine call, and engines against each other."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made, refused = packages(folder)
        usable = [entry for entry in engines() if not entry.missing]
        rows = [overhead(name, path, entry, folder) for name, path in made.items() for entry in usable]
        worst = max(rows, key=lambda row: row["of_budget"])
        ratio, reason = refitting(made["yolox"], folder)
        batched = any_batch(folder)
        both = any(entry.name == "openvino" for entry in usable)
        return {
            "overhead_ms": worst["overhead_ms"],
            "overhead_share": worst["overhead_share"],
            "overhead_of_budget": worst["of_budget"],
            "overhead_worst": f"{worst['family']} on {worst['engine']}",
            "overhead_cpu_of_budget": max(row["of_budget_cpu"] for row in rows),
            "rows": rows,
            "openvino_speed_of_onnxruntime": {n: against(p, folder) for n, p in made.items()}
            if both
            else None,
            "four_cameras_batched_of_apart": {
                entry.name: batching(batched, entry, folder) for entry in usable
            },
            "refit_ratio": ratio,
            "refit_reason": reason,
            "engines_missing": {entry.name: entry.missing for entry in engines() if entry.missing},
            "families_missing": refused,
            "pairs": PAIRS,
        }


if __name__ == "__main__":
    report.run(
        measure,
        {"overhead_of_budget": "<= 1: CPU max(5 %, 0.3 ms), GPU max(10 %, 0.4 ms)", "refit_ratio": "<= 0.1"},
    )
