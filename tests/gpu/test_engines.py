"""Every GPU engine of this machine: the same answers as FP32 on the processor, graphs, batches, refit, and how fast."""

from __future__ import annotations

import mmap
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from runtime.errors import ModelRefused
from runtime.model.backends import open_backend
from runtime.model.backends.backend import RunOptions
from runtime.model.backends.cuda.library import DriverCuda
from runtime.model.fuse import Form, fused
from runtime.model.geometry import place
from runtime.model.pack import PackOptions, pack
from runtime.model.package import read
from runtime.model.session import LoadedModel, LoadOptions
from tests.conftest import SHARED
from tests.contract import test_cuda_seam as seam

RUNS = 200
WARM = 20
RFDETR = SHARED / "conformance" / "decode" / "models" / "rfdetr_nano.onnx"


def median_ms(call: Callable[[], Any]) -> float:
    taken = []
    for turn in range(WARM + RUNS):
        start = time.perf_counter()
        call()
        if turn >= WARM:
            taken.append(1000 * (time.perf_counter() - start))
    return round(statistics.median(taken), 3)


def noise(model: LoadedModel, count: int = 1) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).integers(0, 256, (count, *model.tensor_shape)).astype(np.uint8)


def test_the_driver_passes_the_suite_of_the_seam(gpu: object) -> None:
    for test in (
        seam.test_what_went_in_comes_out,
        seam.test_a_captured_graph_does_nothing_until_launched_and_then_reads_what_is_there_now,
        seam.test_waiting_within_a_capture_spoils_it_and_the_stream_can_be_used_again,
        seam.test_a_capture_that_was_not_begun_cannot_end,
        seam.test_memory_is_freed_once,
        seam.test_a_host_buffer_has_an_address_on_the_gpu,
        seam.test_memory_of_others_can_be_read_once_it_is_registered,
        seam.test_memory_that_is_not_there_is_told_by_its_code,
        seam.test_a_thread_that_has_entered_may_call,
    ):
        cuda = DriverCuda()
        cuda.enter()
        test(cuda)


@pytest.mark.parametrize("name", ["yolox_nano_416", "nanodet_m_320"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_golden_image_holds(
    engine: str, name: str, precision: str, packages: dict[str, Path], tmp_path: Path, figures: dict[str, Any]
) -> None:
    model = LoadedModel(packages[name], LoadOptions(engine, cache_dir=tmp_path, precision=precision))
    shown = model.check_golden()
    assert shown["present"]
    figures[f"golden {name} {engine} {precision}"] = shown
    assert model.info.get("cuda_graph") is True, "shapes are fixed, so the run must be one CUDA graph"
    model.close()


def test_runs_after_each_other_do_not_mix(engine: str, packages: dict[str, Path], tmp_path: Path) -> None:
    model = LoadedModel(packages["yolox_nano_416"], LoadOptions(engine, cache_dir=tmp_path))
    pictures = [np.full_like(noise(model), value) for value in (0, 114, 255)]
    first = [model.outputs(picture)[0] for picture in pictures]
    for picture, wanted in list(zip(pictures, first, strict=True))[::-1]:
        assert np.allclose(model.outputs(picture)[0], wanted, atol=1e-3)


def test_candidates_chosen_in_the_graph_are_those_of_the_whole_outputs(
    engine: str, packages: dict[str, Path], tmp_path: Path, figures: dict[str, Any]
) -> None:
    took = {}
    for shrink in (False, True):
        options = LoadOptions(engine, cache_dir=tmp_path, shrink=shrink)
        model = LoadedModel(packages["yolox_nano_416"], options)
        assert any("outrider_rows" in port for port in model.info["outputs"]) is shrink
        assert model.check_golden()["present"]
        batch = noise(model)
        where = [place(model.spec.input, 640, 480)]
        took["chosen" if shrink else "whole"] = median_ms(lambda: model.run(batch, where))  # noqa: B023
        model.close()
    figures[f"candidates {engine}"] = took


def test_pinned_slots_answer_as_copied_ones(
    engine: str, packages: dict[str, Path], tmp_path: Path, figures: dict[str, Any]
) -> None:
    model = LoadedModel(packages["yolox_nano_416"], LoadOptions(engine, cache_dir=tmp_path))
    shape, pages = model.tensor_shape, -(-int(np.prod(model.tensor_shape)) // mmap.PAGESIZE)
    memory = np.frombuffer(mmap.mmap(-1, 2 * pages * mmap.PAGESIZE), np.uint8)
    slots = [memory[i * pages * mmap.PAGESIZE :][: np.prod(shape)].reshape(shape) for i in range(2)]
    for slot, value in zip(slots, noise(model, 2), strict=True):
        slot[:] = value
    copied = [model.outputs(slot[None].copy()) for slot in slots]
    copied_ms = median_ms(lambda: model.outputs(slots[0][None]))
    model.pin(slots)
    for slot, wanted in zip(slots, copied, strict=True):
        for a, b in zip(model.outputs(slot[None]), wanted, strict=True):
            assert np.allclose(a, b, atol=1e-3)
    figures[f"slots {engine}"] = {
        "copied_ms": copied_ms,
        "pinned_ms": median_ms(lambda: model.outputs(slots[0][None])),
    }
    model.unpin(slots)
    model.close()


def test_a_kept_engine_loads_without_a_build(
    engine: str, packages: dict[str, Path], tmp_path: Path, figures: dict[str, Any]
) -> None:
    took = []
    for _ in range(2):
        start = time.perf_counter()
        model = LoadedModel(packages["yolox_nano_416"], LoadOptions(engine, cache_dir=tmp_path))
        took.append(round(time.perf_counter() - start, 3))
        origin = model.info.get("origin")
        model.close()
    figures[f"load {engine}"] = {"first_s": took[0], "again_s": took[1]}
    assert origin in (None, "cache")


def test_a_weights_only_update_is_refitted(
    gpu: object, packages: dict[str, Path], tmp_path: Path, figures: dict[str, Any]
) -> None:
    pytest.importorskip("tensorrt")
    directory = packages["yolox_nano_416"]
    graph = fused(directory, read(directory), Form(), tmp_path / "fused")
    model = onnx.load(str(graph))
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4 and tensor.data_type == onnx.TensorProto.FLOAT:
            value = numpy_helper.to_array(tensor) * np.float32(1.01)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    other = tmp_path / "other.onnx"
    onnx.save(model, str(other))
    took = []
    for path in (Path(str(graph)), other):
        start = time.perf_counter()
        backend = open_backend("tensorrt", path, RunOptions(cache=tmp_path, refit=True))
        took.append(time.perf_counter() - start)
    assert backend.info["origin"] == "refit"
    reference = open_backend("onnxruntime-cpu", other, RunOptions())
    picture = (
        np.random.default_rng(1).integers(0, 256, (1, *read(directory).input.tensor_shape)).astype(np.uint8)
    )
    assert np.allclose(backend.run(picture)[0], reference.run(picture)[0], rtol=0.05, atol=0.05)
    figures["refit_ratio"] = round(took[1] / took[0], 4)


@pytest.mark.skipif(not RFDETR.is_file(), reason=f"no {RFDETR}")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_rfdetr_nano_is_timed(engine: str, precision: str, tmp_path: Path, figures: dict[str, Any]) -> None:
    directory = tmp_path / "rfdetr"
    pack(RFDETR, directory, PackOptions(no_golden=True), LoadOptions("onnxruntime-cpu", cache_dir=tmp_path))
    options = LoadOptions(engine, cache_dir=tmp_path, precision=precision, unverified=True)
    try:
        model = LoadedModel(directory, options)
    except ModelRefused as e:
        figures[f"rfdetr_nano {engine} {precision}"] = str(e)
        raise
    batch = noise(model)
    outputs = model.outputs(batch)
    assert all(np.isfinite(output).all() for output in outputs)
    figures[f"rfdetr_nano {engine} {precision}"] = {
        "call_p50_ms": median_ms(lambda: model.outputs(batch)),
        "cuda_graph": model.info.get("cuda_graph"),
        "version": model.info["version"],
        "reference": "2.3 ms on a T4, TensorRT FP16",
    }
    model.close()
