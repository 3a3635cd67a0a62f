"""OpenVINO on the processor of an x86 machine. FP32 unless BF16 is asked for: left to itself it computes in BF16 where it can."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.backends import cpus
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.backends.onnxruntime import is_memory, return_memory, words
from runtime.model.families.family import Port
from wire.reasons import Reason

_PRECISIONS = {"fp32": "f32", "bf16": "bf16"}
"""Ours → the value of INFERENCE_PRECISION_HINT."""
_LARGE_BYTES = 2 * 1024 * 1024
"""From here on a copy costs more than having the request write to memory of the caller's (measured: equal at 1.2 MB, a millisecond
at 7 MB)."""
_TELEMETRY = "OPENVINO_TELEMETRY_OPT_OUT"


def open_cpu(graph: Path | bytes, options: RunOptions) -> Backend:
    """:raises ModelRefused: OpenVINO is not there, the processor has no BF16 and it was asked for, or the graph does not load"""
    openvino = _imported()
    core = openvino.Core()
    _check_precision(options.precision, core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    chosen, runs = options.threads or cpus.usable(), options.runs or 1
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "INFERENCE_PRECISION_HINT": _PRECISIONS[options.precision],
        "INFERENCE_NUM_THREADS": str(chosen * runs),
        "NUM_STREAMS": str(runs),  # each has its share of the threads
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # else activations beside compressed weights are rounded to int8
        "ENABLE_CPU_PINNING": "NO",  # a camera process decodes on the same cores
    }
    try:
        model = core.read_model(str(graph)) if isinstance(graph, Path) else core.read_model(graph, b"")
        compiled = core.compile_model(model, "CPU", settings)
    except (
        Exception
    ) as e:  # OpenVINO's errors share no base with anybody's: this is the boundary to foreign code
        raise ModelRefused(
            Reason.OUT_OF_MEMORY if is_memory(e) else Reason.MODEL_LOAD_FAILED,
            f"OpenVINO {openvino.__version__} cannot load the graph: {words(e)}; use the engine onnxruntime",
        ) from e
    version = openvino.__version__.split("-")[0]
    info = {
        "version": version,
        "provider": "CPU",
        "threads": chosen,
        "runs_at_once": runs,
        "precision": options.precision,
    }
    return OpenVino(openvino, compiled, info, runs)


def _imported() -> Any:
    os.environ.setdefault(_TELEMETRY, "1")
    try:
        import openvino
    except ImportError as e:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"OpenVINO cannot be imported: {e}; install Outrider with the extra 'openvino'",
        ) from e
    return openvino


def _check_precision(precision: str, capabilities: Sequence[str]) -> None:
    if precision not in _PRECISIONS:
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE, f"OpenVINO computes in {', '.join(_PRECISIONS)}, not in {precision}"
        )
    if precision == "bf16" and "BF16" not in capabilities:
        raise ModelRefused(
            Reason.PRECISION_UNAVAILABLE,
            f"this processor has no BF16 (it has {', '.join(capabilities)}), which would be slower than FP32; ask for fp32",
        )


class OpenVino:
    """One compiled model, with a request for each run at the same time."""

    def __init__(self, openvino: Any, compiled: Any, info: dict[str, Any], runs_at_once: int = 1) -> None:
        self._inputs = tuple(_port(value) for value in compiled.inputs)
        self._outputs = tuple(_port(value) for value in compiled.outputs)
        self._tensor = openvino.Tensor
        self._compiled: Any = compiled
        self.runs_at_once = runs_at_once
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(runs_at_once):
            self._idle.put(compiled.create_infer_request())
        self._large = _large(self._outputs)
        self._info = {"engine": "openvino", **info}

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
        if self._compiled is None:
            raise RuntimeError("the model was closed")
        request = self._idle.get()
        try:
            # The tensor looks at the caller's memory; the request is over when this returns.
            tensor = self._tensor(np.ascontiguousarray(batch), shared_memory=True)
            if not self._large:
                return list(request.infer(tensor).values())  # copies
            own = {i: self._own(request, i, shape, len(batch)) for i, shape in self._large.items()}
            seen = request.infer(tensor, False, True).values()  # views: `share_outputs`
            return [own[i] if i in own else np.array(view) for i, view in enumerate(seen)]
        except Exception as e:  # see `open_cpu`
            reason = Reason.OUT_OF_MEMORY if is_memory(e) else Reason.ENGINE_ERROR
            raise Transient(reason, f"OpenVINO failed on a request: {words(e)}") from e
        finally:
            self._idle.put(request)

    def _own(self, request: Any, index: int, shape: tuple[int, ...], batch: int) -> npt.NDArray[Any]:
        """Memory of the caller's for a large output, which the request writes to itself: a copy less."""
        made = np.empty((batch, *shape), self._outputs[index].dtype)
        request.set_output_tensor(index, self._tensor(made, shared_memory=True))
        return made

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        pass

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        pass

    def confirm(self) -> None:
        pass

    def close(self) -> None:
        self._compiled = None
        self._idle = SimpleQueue()
        return_memory()


def _large(outputs: Sequence[Port]) -> dict[int, tuple[int, ...]]:
    """Index and shape, without the batch, of the outputs that are worth memory of their own for each run."""
    found = {}
    for index, port in enumerate(outputs):
        sides = [side for side in port.shape[1:] if side is not None]
        known = len(sides) == len(port.shape) - 1
        if known and math.prod(sides) * np.dtype(port.dtype).itemsize >= _LARGE_BYTES:
            found[index] = tuple(sides)
    return found


def _port(value: Any) -> Port:
    shape = tuple(side.get_length() if side.is_static else None for side in value.get_partial_shape())
    return Port(value.get_any_name(), shape, np.dtype(value.get_element_type().to_dtype()).name)
