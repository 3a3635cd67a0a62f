"""ONNX Runtime on the CPU. Owns the session and its options; `onnxruntime_cuda.py` builds on it."""

from __future__ import annotations

import contextlib
import ctypes
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.backends import cpus
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.families.family import Port
from wire.reasons import Reason

CPU = "CPUExecutionProvider"
CPU_RUNS_AT_ONCE = 2
"""YOLOX-nano on two cores: 78 runs a second one by one on both, 125 with two side by side, 126 with three."""
_ERRORS_ONLY = 3
"""ONNX Runtime's severity: its warnings about a graph are for those who exported it."""
_TYPES = {"float": "float32", "double": "float64"}
"""The runtime's name of an element → numpy's, where they differ."""
_LOADING = re.compile(r"Load model from \S+ failed: ?")
_OPERATOR = re.compile(
    r"No Op registered for (\S+)|([\w.]*:\w+)\(-?\d+\) is not a registered|find an implementation for (\w+)\("
)
"""The three ways in which the runtime says that it does not know an operator, or not for these types."""
_MESSAGE_CHARS = 600


def open_cpu(graph: Path | bytes, options: RunOptions) -> Backend:
    """:raises ModelRefused: the runtime is not there, cannot compute in the precision asked for, or cannot load the graph"""
    if options.precision != "fp32":
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"ONNX Runtime computes in the types of the graph, not in {options.precision}; "
            "ask for fp16, build an int8 package, or use the engine openvino",
        )
    runtime = imported()
    chosen = options.threads or cpus.usable()
    session = make_session(runtime, graph, session_options(runtime, options, chosen), [CPU])
    runs = options.runs or min(chosen, CPU_RUNS_AT_ONCE)
    return OnnxRuntime(runtime, session, {"threads": chosen, "runs_at_once": runs}, runs_at_once=runs)


def imported() -> Any:
    """The module.

    :raises ModelRefused: ENGINE_UNAVAILABLE
    """
    try:
        import onnxruntime
    except ImportError as e:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"ONNX Runtime cannot be imported: {e}; install Outrider with the extra 'cpu' or 'gpu'",
        ) from e
    return onnxruntime


def make_session(runtime: Any, graph: Path | bytes, settings: Any, providers: Sequence[Any]) -> Any:
    """:raises ModelRefused: the runtime cannot load the graph; the message holds its words"""
    source = str(graph) if isinstance(graph, Path) else graph
    try:
        return runtime.InferenceSession(source, settings, providers=list(providers))
    except Exception as e:  # the runtime's errors share no base: this is the boundary to foreign code
        raise _not_loaded(runtime, e) from e


def _not_loaded(runtime: Any, error: Exception) -> ModelRefused:
    """What a failed load is called, in its own words less the paths of this machine."""
    said = _LOADING.sub("", words(error))
    if found := _OPERATOR.search(said):
        name = next(group for group in found.groups() if group)
        return ModelRefused(
            Reason.MODEL_OPERATOR,
            f"the graph uses the operator {name}, which ONNX Runtime {runtime.__version__} does not have: {said}; "
            "export with standard operators only",
        )
    return ModelRefused(
        Reason.OUT_OF_MEMORY if is_memory(error) else Reason.MODEL_LOAD_FAILED,
        f"ONNX Runtime {runtime.__version__} cannot load the graph: {said}; export it for this version",
    )


def session_options(runtime: Any, options: RunOptions, threads: int) -> Any:
    made = runtime.SessionOptions()
    made.log_severity_level = _ERRORS_ONLY
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if not options.optimise:
        made.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return made


class OnnxRuntime:
    """One inference session whose tensors are in the processor's memory."""

    def __init__(self, runtime: Any, session: Any, info: dict[str, Any], *, runs_at_once: int = 1) -> None:
        self._inputs = tuple(_port(value) for value in session.get_inputs())
        self._outputs = tuple(_port(value) for value in session.get_outputs())
        self._run = session.run
        self._session = session
        self._names = [port.name for port in self._outputs]
        self._feed = self._inputs[0].name if self._inputs else ""
        self.runs_at_once = runs_at_once
        self._info = {
            "engine": "onnxruntime",
            "version": runtime.__version__,
            "provider": session.get_providers()[0],
            **info,
        }

    @property
    def inputs(self) -> Sequence[Port]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    @property
    def info(self) -> dict[str, Any]:
        return dict(self._info)

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        try:
            answers = self._run(self._names, {self._feed: batch})
        except Exception as e:  # the runtime's errors share no base: this is the boundary to foreign code
            raise failed(e) from e
        return [np.asarray(answer) for answer in answers]

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        pass

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        pass

    def confirm(self) -> None:
        pass

    def close(self) -> None:
        self._run = _closed
        self._session = None
        return_memory()


def _closed(names: object, feed: object) -> Any:
    raise RuntimeError("the model was closed")


def return_memory() -> None:
    """Have the C library give freed pages back: without it a process that swaps models keeps about twice what it needs."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def failed(error: Exception) -> Transient:
    """What a request gets when the runtime raises."""
    reason = Reason.OUT_OF_MEMORY if is_memory(error) else Reason.ENGINE_ERROR
    return Transient(reason, f"ONNX Runtime failed on a request: {words(error)}")


def _port(value: Any) -> Port:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    element = value.type.removeprefix("tensor(").removesuffix(")")
    return Port(value.name, shape, _TYPES.get(element, element))


def is_memory(error: Exception) -> bool:
    """Whether a foreign error means that memory ran out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "bad_alloc" in text or "failed to allocate memory" in text


def words(error: Exception) -> str:
    """A foreign error in one line of bounded length."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 1] + "…"
