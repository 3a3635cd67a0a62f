"""From a graph to a running engine: one kept from before, one refitted with new weights, or one built now."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from runtime.errors import ModelRefused
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.backends.cuda import driver
from runtime.model.backends.cuda.api import Cuda, CudaError
from runtime.model.backends.tensorrt import build, building, fingerprint, library
from runtime.model.backends.tensorrt.engine import TensorRtEngine, profiles_for
from runtime.model.backends.tensorrt.fingerprint import Fingerprint
from runtime.model.backends.tensorrt.refit import RefitFailed, refit
from runtime.model.backends.tensorrt.store import EngineKey, EngineStore
from wire.reasons import Reason

logger = logging.getLogger(__name__)

Builder: TypeAlias = Callable[[build.Order, Callable[[str], object]], object]


@dataclass(frozen=True)
class Machine:
    """What engines are built for and run on."""

    trt: Any
    gpu: driver.Gpu
    cuda: Cuda
    builder: Builder = building.run


def open_tensorrt(graph: Path | bytes, options: RunOptions) -> Backend:
    """:raises ModelRefused: DRIVER_ABSENT, ENGINE_UNAVAILABLE, ENGINE_BUILD_FAILED, PRECISION_UNAVAILABLE"""
    return open_on(machine(library.FULL), graph, options)


def open_rtx(graph: Path | bytes, options: RunOptions) -> Backend:
    """TensorRT for RTX; raises as `open_tensorrt`."""
    return open_on(machine(library.RTX), graph, options)


def machine(name: str) -> Machine:
    """This machine, the driver asked first: TensorRT crashes where there is none.

    :raises ModelRefused: DRIVER_ABSENT or ENGINE_UNAVAILABLE
    """
    gpu = driver.ask()
    trt = library.load(name)
    from runtime.model.backends.cuda.library import DriverCuda

    try:
        return Machine(trt, gpu, DriverCuda())
    except (OSError, CudaError) as e:
        raise ModelRefused(Reason.DRIVER_ABSENT, f"the GPU cannot be used: {e}; look at nvidia-smi") from e


def open_on(machine: Machine, graph: Path | bytes, options: RunOptions) -> Backend:
    """A running engine; raises as `open_tensorrt`."""
    if options.precision != "fp32":
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"TensorRT computes in the types of the graph, not in {options.precision}; ask for fp16, or build an int8 package",
        )
    with ExitStack() as stack:
        folder = options.cache
        if folder is None or isinstance(graph, bytes):
            aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="outrider-engine-")))
            folder = folder or aside
            if isinstance(graph, bytes):
                (aside / "graph.onnx").write_bytes(graph)
                graph = aside / "graph.onnx"
        return _Opening(machine, graph, options, folder / "engines").open()


class _Opening:
    """One graph on its way to an engine."""

    def __init__(self, machine: Machine, graph: Path, options: RunOptions, folder: Path) -> None:
        self._machine = machine
        self._graph = graph
        self._options = options
        self._store = EngineStore(folder)
        self._print: Fingerprint = fingerprint.read(graph, folder / "graphs")
        self._profiles = profiles_for(self._print.shape[0], options.max_batch)
        self._log = library.make_log(machine.trt)
        self._key = EngineKey(
            structure=self._print.structure,
            weights=self._print.weights,
            library=machine.trt.__name__,
            version=machine.trt.__version__,
            gpu=machine.gpu.name,
            capability=machine.gpu.capability,
            driver=machine.gpu.driver,
            profiles=self._profiles,
            refittable=not library.is_rtx(machine.trt),
            level=build.LEVEL,
        )

    def open(self) -> Backend:
        self._machine.cuda.enter()
        runtime = self._runtime()
        engine = self._kept(runtime)
        if engine is not None:
            return self._running(engine, "cache")
        if self._options.refit:
            engine = self._refitted(runtime)
            if engine is not None:
                return self._running(engine, "refit")
        with self._store.building(self._key):
            engine = self._kept(runtime)  # another process may have built it while this one waited
            if engine is None:
                engine = self._built(runtime)
        return self._running(engine, "build")

    def _runtime(self) -> Any:
        """A runtime that has not complained: one that has crashes the process when it is used."""
        trt = self._machine.trt
        try:
            runtime = trt.Runtime(self._log)
        except TypeError as e:
            raise self._unusable(str(e)) from e
        if self._log.errors:
            raise self._unusable(library.said(self._log))
        return runtime

    def _unusable(self, words: str) -> ModelRefused:
        trt, gpu = self._machine.trt, self._machine.gpu
        old = "35" in words or "insufficient" in words.lower()  # cudaErrorInsufficientDriver
        return ModelRefused(
            Reason.DRIVER_TOO_OLD if old else Reason.ENGINE_UNAVAILABLE,
            f"{trt.__name__} {trt.__version__} does not come up on the {gpu.name} with a driver for CUDA {gpu.cuda}: {words}; "
            + ("update the driver" if old else "use the engine onnxruntime"),
        )

    def _kept(self, runtime: Any) -> Any:
        plan = self._store.load(self._key)
        if plan is None:
            return None
        engine = runtime.deserialize_cuda_engine(plan)
        if engine is None:
            logger.warning("kept engine is of no use and is built again: %s", library.said(self._log))
            self._store.drop(self._key)
        return engine

    def _refitted(self, runtime: Any) -> Any:
        plan = self._store.relative(self._key)
        engine = runtime.deserialize_cuda_engine(plan) if plan else None
        if engine is None:
            return None
        self._options.progress("refitting the engine")
        try:
            refit(self._machine.trt, self._log, engine, self._graph)
        except RefitFailed as e:
            logger.warning("engine cannot be refitted and is built anew: %s", e)
            return None
        return engine

    def _built(self, runtime: Any) -> Any:
        order = build.Order(
            library=self._machine.trt.__name__,
            graph=str(self._graph),
            out=str(self._store.path(self._key)),
            input=self._print.input,
            shape=self._print.shape,
            profiles=self._profiles,
            refittable=self._key.refittable,
            timings=str(self._store.timings(self._key)),
            level=self._key.level,
        )
        self._options.progress("building the engine")
        self._machine.builder(order, self._options.progress)
        self._store.prune()
        plan = self._store.load(self._key)
        engine = runtime.deserialize_cuda_engine(plan) if plan else None
        if engine is None:
            raise ModelRefused(
                Reason.ENGINE_BUILD_FAILED,
                f"the engine just built cannot be loaded: {library.said(self._log)}",
            )
        return engine

    def _running(self, engine: Any, origin: str) -> Backend:
        machine = self._machine
        info = {"gpu": machine.gpu.name, "origin": origin, "profiles": [list(p) for p in self._profiles]}
        running = TensorRtEngine(machine.trt, machine.cuda, engine, self._print.outputs, self._profiles, info)
        if origin == "refit":
            running.on_confirm = lambda: self._keep(engine)
        return running

    def _keep(self, engine: Any) -> None:
        """The golden image has been found again: the refitted engine is as good as a built one."""
        try:
            self._store.save(self._key, bytes(memoryview(engine.serialize())))
        except OSError as e:
            logger.warning("refitted engine is not kept: %s", e)
