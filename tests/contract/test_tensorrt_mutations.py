"""Faults seeded into our TensorRT code: the suites on the fake GPU must notice each. A fault that passes is a hole in them.

A fault is a piece of source and what it becomes; one whose piece is no longer in the source fails too, so that the list stays true.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.model.backends.cuda import api, pins
from runtime.model.backends.tensorrt import build, engine, fingerprint, opening, refit, store
from tests.fakes import cuda as fakes
from tests.unit.backends import test_tensorrt_engine as running
from tests.unit.backends import test_tensorrt_opening as getting

SUITE: tuple[Callable[..., None], ...] = (
    running.test_every_run_has_its_own_answer,
    running.test_after_the_first_run_of_a_size_only_its_graph_is_launched,
    running.test_what_cannot_be_captured_runs_all_the_same,
    running.test_shared_memory_needs_no_copies,
    running.test_a_full_gpu_refuses_the_request_and_keeps_what_runs,
    running.test_an_error_that_spoils_the_process_is_told_by_its_reason,
    running.test_where_tensorrt_only_says_that_it_failed_the_driver_is_asked_why,
    running.test_pinned_slots_are_read_where_they_lie,
    running.test_pinned_slots_need_no_copies_where_memory_is_shared,
    running.test_slots_that_fit_no_lane_or_are_several_are_copied,
    running.test_what_cannot_be_captured_is_copied_from_slots,
    running.test_a_wrong_tensor_is_a_failed_request,
    running.test_another_thread_may_run_it,
    running.test_an_output_whose_size_depends_on_the_picture_is_refused,
    running.test_a_closed_engine_says_so,
    getting.test_an_engine_is_built_once_and_then_kept,
    getting.test_new_weights_go_into_the_engine_of_the_old,
    getting.test_a_refitted_engine_is_kept_only_when_confirmed,
    getting.test_a_kept_engine_that_does_not_load_is_built_again,
    getting.test_timings_are_handed_on_and_those_of_another_machine_are_not,
    getting.test_a_driver_that_is_too_old_is_told_before_the_runtime_is_touched,
)
PARAMETRISED: tuple[tuple[Callable[..., None], dict[str, object]], ...] = (
    (getting.test_where_refitting_fails_or_is_not_allowed_the_engine_is_built, {"faults": ("no-refit",)}),
    (getting.test_where_refitting_fails_or_is_not_allowed_the_engine_is_built, {"faults": ()}),
    (getting.test_another_structure_is_never_refitted, {"change": {"factor": 3.0}}),
    (getting.test_another_gpu_or_driver_needs_another_engine, {"change": {"driver": 13000}}),
    (getting.test_another_gpu_or_driver_needs_another_engine, {"change": {"capability": 89}}),
)
SYNC = "self._cuda.synchronize(self._stream)"
FAULTS = [
    # order
    (engine, f"            {SYNC}\n        except CudaError as e:\n            raise _failed(e)", "        except CudaError as e:\n            raise _failed(e)"),
    (engine, f"        self._enqueue(lane)\n        {SYNC}\n        lane.graph", "        self._enqueue(lane)\n        lane.graph"),
    (engine, f"        self._enqueue(lane)\n        {SYNC}\n        lane.graph", "        lane.graph"),
    (engine, "            if buffer.is_input:\n", "            if not buffer.is_input:\n"),
    (engine, "            if not buffer.is_input:\n                self._cuda.copy_out", "            if buffer.is_input:\n                self._cuda.copy_out"),
    (engine, "        if not lane.context.execute_async_v3(self._stream):", "        if False:"),
    (engine, "np.copyto(lane.buffers[0].array[:count], batch, casting=\"no\")", "pass"),
    (engine, "batch, casting=\"no\")", "batch, casting=\"unsafe\")"),
    # a GPU that is lost
    (engine, "    if error.spoils:", "    if False:"),
    (engine, "            raise self._why(e) from e", "            raise"),
    (api, "700, 702,", ""),
    (api, "718, 719,", ""),
    # answers
    (engine, "[:count].copy()", "[:count]"),
    (engine, "made[port.name][:count].copy()", "made[port.name].copy()"),
    (engine, "for port in self._outputs]\n\n    def _why", "for port in reversed(self._outputs)]\n\n    def _why"),
    (engine, "1 << max(0, count - 1).bit_length()", "1 << max(0, count - 1).bit_length() >> 1"),
    # capture
    (engine, "            self._cuda.enter()\n            lane = self._lane", "            lane = self._lane"),
    (engine, "            graph = self._cuda.end_capture(self._stream)\n", "            pass\n"),
    (engine, "        self._cuda.begin_capture(self._stream)\n        refused", "        refused"),
    (engine, "        except (CudaError, Transient) as e:\n            refused = e", "        except CudaError as e:\n            refused = e"),
    (engine, "                if lane.graph is None:\n                    self._enqueue(lane)", "                if True:\n                    self._enqueue(lane)"),
    # shapes and profiles
    (engine, "if p[0] <= lane.batch <= p[2])", "if True)"),
    (engine, "            self._lanes[batch] = lane\n", ""),
    (engine, "        if min(shape, default=0) < 0:", "        if False:"),
    # lifetime
    (engine, "                if graph is not None:\n                    self._cuda.destroy_graph(graph)\n", "                pass\n"),
    (engine, "                if buffer.owned:\n                    self._cuda.free_device(buffer.device)\n", "                pass\n"),
    (engine, "                self._cuda.free_host(buffer.host)\n", "                pass\n"),
    (engine, "            self._cuda.free_host(host)\n            raise", "            raise"),
    (engine, "                self._free(lane)\n                raise", "                raise"),
    (engine, "            self._cuda.destroy_stream(self._stream)\n", "            pass\n"),
    (engine, "            self._free(lane)\n        self._lanes.clear()", "            pass\n        self._lanes.clear()"),
    (engine, "            device = self._cuda.device_address(host) if shared else", "            device = host if shared else"),
    (engine, "Buffer(port.name, port in self._inputs, size_bytes, host, device, not shared, array)",
     "Buffer(port.name, port in self._inputs, size_bytes, host, device, True, array)"),
    (engine, "self._cuda.device_buffer(size_bytes)", "self._cuda.device_buffer(size_bytes // 2)"),
    # slots
    (engine, "                    self._cuda.destroy_graph(lane.direct.pop(address))\n", "                    lane.direct.pop(address)\n"),
    (engine, "        self._pins.unpin(parts)\n\n    def _direct", "        pass\n\n    def _direct"),
    (engine, "        self._pins.close()\n", ""),
    (engine, "(lane.graph, *lane.direct.values())", "(lane.graph,)"),
    (engine, "own.device if own.owned else self._cuda.device_address(address)", "own.device"),
    (engine, "            lane.buffers[0] = own\n", "            pass\n"),
    (engine, "lane.context.set_tensor_address(own.name, device)", "bool(device)"),
    (engine, "batch.flags.c_contiguous and self._pins.holds(address, batch.nbytes)", "batch.flags.c_contiguous"),
    (engine, "batch.flags.c_contiguous and self._pins.holds(address, batch.nbytes)", "self._pins.holds(address, 1)"),
    (engine, "                lane.direct[address] = graph\n", "                pass\n"),
    (engine, "batch.shape != own.shape or batch.dtype != own.dtype", "batch.dtype != own.dtype"),
    (engine, "batch.shape != own.shape or batch.dtype != own.dtype", "batch.shape != own.shape"),
    (pins, "        if self._sizes.pop(address, None) is None:\n            return\n", "        return\n"),
    (pins, "            self._sizes[address] = size_bytes\n", ""),
    # getting an engine
    (opening, "        if self._log.errors:\n            raise", "        if False:\n            raise"),
    (opening, "        if self._options.refit:\n", "        if True:\n"),
    (opening, "            refit(self._machine.trt, self._log, engine, self._graph)\n", "            pass\n"),
    (opening, "running.on_confirm = lambda: self._keep(engine)", "self._keep(engine)"),
    (opening, "            driver=machine.gpu.driver,\n", "            driver=0,\n"),
    (opening, "            capability=machine.gpu.capability,\n", "            capability=0,\n"),
    (opening, "            timings=str(self._store.timings(self._key)),\n", ""),
    (opening, "            profiles=self._profiles,\n            refittable=self._key.refittable,", "            refittable=self._key.refittable,"),
    (refit, "    if not refitter.refit_cuda_engine():", "    if False:"),
    (refit, "    if not parser.refit_from_file(str(graph)):", "    if False:"),
    (fingerprint, "WEIGHT_ELEMENTS = 8", "WEIGHT_ELEMENTS = 0"),
    (fingerprint, "WEIGHT_ELEMENTS = 8", "WEIGHT_ELEMENTS = 1 << 30"),
    (store, 'if name != "weights"}', 'if name != "driver"}'),
    (build, "    if order.refittable:\n        config.set_flag(trt.BuilderFlag.REFIT)\n", ""),
    (build, "config.set_timing_cache(cache, False)", "True"),
]  # fmt: skip
PLACES: dict[types.ModuleType, tuple[tuple[object, str], ...]] = {
    engine: ((opening, "TensorRtEngine"), (running, "lane_batch")),
    opening: ((opening, "open_on"),),
    refit: ((opening, "refit"), (opening, "RefitFailed")),
    fingerprint: ((opening.fingerprint, "compute"),),
    store: ((opening, "EngineKey"), (opening, "EngineStore")),
    build: ((build, "build"),),
    pins: ((engine, "Pins"),),
    api: ((fakes, "CudaError"), (engine, "CudaError")),
}
"""Where what a module defines is used, so that the faulty one is used in its place."""


def faulty(module: types.ModuleType, piece: str, becomes: str) -> types.ModuleType:
    source = inspect.getsource(module)
    assert source.count(piece) == 1, f"{piece!r} is {source.count(piece)} times in {module.__name__}"
    made = types.ModuleType(module.__name__)
    made.__file__ = module.__file__
    exec(compile(source.replace(piece, becomes), f"faulty {module.__name__}", "exec"), vars(made))
    return made


def failures(folder: Path) -> list[str]:
    calls = [(test, {}) for test in SUITE] + list(PARAMETRISED)
    found = []
    for index, (test, given) in enumerate(calls):
        place = folder / str(index)
        place.mkdir()
        arguments = dict(given)
        for name in set(inspect.signature(test).parameters) - set(given):
            arguments[name] = running.doubling(place / "m.onnx", "batch") if name == "graph" else place
        try:
            test(**arguments)
        except (Exception, pytest.fail.Exception) as e:  # whatever a fault leads to
            found.append(f"{test.__name__}: {type(e).__name__}: {e}")
    return found


def test_the_suite_passes_without_a_fault(tmp_path: Path) -> None:
    assert failures(tmp_path) == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("module", "piece", "becomes"),
    FAULTS,
    ids=lambda value: value.__name__.rsplit(".", 1)[-1] if inspect.ismodule(value) else None,
)
def test_a_seeded_fault_is_noticed(
    module: types.ModuleType, piece: str, becomes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = faulty(module, piece, becomes)
    for holder, name in PLACES[module]:
        monkeypatch.setattr(holder, name, getattr(bad, name))
    assert failures(tmp_path), "no test of the suite notices this fault"
