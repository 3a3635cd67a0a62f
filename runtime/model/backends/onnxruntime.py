"""ONNX Runtime, on the CPU or with its CUDA provider. Owns the session and its options."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.families.family import Port
from wire.reasons import Reason

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CPU_RUNS_AT_ONCE = 2
"""YOLOX-nano on two cores: 78 runs a second one by one on both, 125 with two side by side, 126 with three."""
_ERRORS_ONLY = 3
"""ONNX Runtime's severity: its warnings about a graph are for those who exported it."""
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_MESSAGE_CHARS = 600


def open_best(graph: Path | bytes, options: RunOptions) -> Backend:
    """With CUDA where the installed runtime and the machine have it, else on the CPU."""
    return OnnxRuntime(graph, options, [CUDA, CPU] if CUDA in _providers() else [CPU])


def open_cpu(graph: Path | bytes, options: RunOptions) -> Backend:
    return OnnxRuntime(graph, options, [CPU])


def open_cuda(graph: Path | bytes, options: RunOptions) -> Backend:
    """:raises ModelRefused: ENGINE_UNAVAILABLE where the runtime has no CUDA, or CUDA does not come up"""
    if CUDA not in _providers():
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"engine onnxruntime-cuda: the installed ONNX Runtime offers {_providers()}; install the extra 'gpu'",
        )
    backend = OnnxRuntime(graph, options, [CUDA, CPU])
    if backend.info["provider"] != CUDA:
        backend.close()
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            "engine onnxruntime-cuda: CUDA did not come up; check the driver with `outrider doctor`",
        )
    return backend


def _providers() -> list[str]:
    return list(_runtime().get_available_providers())


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"ONNX Runtime cannot be imported: {e}; install Outrider with the extra 'cpu' or 'gpu'",
        ) from e
    return onnxruntime


class OnnxRuntime:
    """One inference session."""

    def __init__(self, graph: Path | bytes, options: RunOptions, providers: list[str]) -> None:
        """:raises ModelRefused: the runtime cannot load the graph; the message holds its words"""
        runtime = _runtime()
        source = str(graph) if isinstance(graph, Path) else graph
        try:
            session = runtime.InferenceSession(
                source, _session_options(runtime, options), providers=providers
            )
        except Exception as e:  # the runtime's errors share no base: this is the boundary to foreign code
            raise ModelRefused(
                Reason.OUT_OF_MEMORY if _is_memory(e) else Reason.MODEL_LOAD_FAILED,
                f"ONNX Runtime {runtime.__version__} cannot load the graph: {_words(e)}; export it for this version",
            ) from e
        self._inputs = tuple(_port(value) for value in session.get_inputs())
        self._outputs = tuple(_port(value) for value in session.get_outputs())
        self._run = session.run
        self._session = session
        self._names = [port.name for port in self._outputs]
        self._feed = self._inputs[0].name if self._inputs else ""
        cores = options.threads or len(os.sched_getaffinity(0))
        self._runs_at_once = min(cores, CPU_RUNS_AT_ONCE) if session.get_providers() == [CPU] else 1
        self._info = {
            "engine": "onnxruntime",
            "version": runtime.__version__,
            "provider": session.get_providers()[0],
            "threads": options.threads,
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

    @property
    def runs_at_once(self) -> int:
        return self._runs_at_once

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        try:
            answers = self._run(self._names, {self._feed: batch})
        except Exception as e:  # the runtime's errors share no base: this is the boundary to foreign code
            reason = Reason.OUT_OF_MEMORY if _is_memory(e) else Reason.ENGINE_ERROR
            raise Transient(reason, f"ONNX Runtime failed on a request: {_words(e)}") from e
        return [np.asarray(answer) for answer in answers]

    def close(self) -> None:
        self._run = _closed
        self._session = None


def _closed(names: object, feed: object) -> Any:
    raise RuntimeError("the model was closed")


def _session_options(runtime: Any, options: RunOptions) -> Any:
    made = runtime.SessionOptions()
    made.log_severity_level = _ERRORS_ONLY
    made.intra_op_num_threads = options.threads
    made.inter_op_num_threads = 1
    made.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if not options.optimise:
        made.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return made


def _port(value: Any) -> Port:
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in value.shape)
    return Port(value.name, shape, _TYPES.get(value.type, value.type))


def _is_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or "bad_alloc" in words or "failed to allocate memory" in words


def _words(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _MESSAGE_CHARS else text[: _MESSAGE_CHARS - 1] + "…"
