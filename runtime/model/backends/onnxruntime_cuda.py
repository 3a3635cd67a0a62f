"""ONNX Runtime's CUDA provider: tensors bound to buffers that stay on the GPU, one CUDA graph for each batch size.

A CUDA graph needs fixed shapes and addresses, which bound buffers give. Where the provider cannot capture the graph (a node that
runs on the CPU), the session is made again without.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.backends import onnxruntime as ort
from runtime.model.backends.backend import Backend, RunOptions
from runtime.model.backends.cuda.api import SPOILING, CudaError
from runtime.model.backends.cuda.library import DriverCuda
from runtime.model.backends.cuda.pins import Pins
from wire.reasons import Reason

logger = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
_FAILURE = re.compile(r"CUDA (?:failure|error) (\d+)\b")
"""How the runtime names the driver's answer to a call; the numbers are those of cuda.h."""


def open_best(graph: Path | bytes, options: RunOptions) -> Backend:
    """With CUDA where the installed runtime and the machine have it, else on the CPU."""
    if CUDA in ort.imported().get_available_providers():
        try:
            return open_cuda(graph, options)
        except ModelRefused as e:
            if e.reason is not Reason.ENGINE_UNAVAILABLE:
                raise
    return ort.open_cpu(graph, options)


def open_cuda(graph: Path | bytes, options: RunOptions) -> Backend:
    """:raises ModelRefused: ENGINE_UNAVAILABLE where the runtime has no CUDA, or CUDA does not come up"""
    runtime = ort.imported()
    available = list(runtime.get_available_providers())
    if CUDA not in available:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"engine onnxruntime-cuda: the installed ONNX Runtime offers {available}; install the extra 'gpu'",
        )
    if hasattr(runtime, "preload_dlls"):
        runtime.preload_dlls()  # CUDA and cuDNN of the environment's own wheels, which no loader path names
    return open_on(runtime, graph, options, CUDA, "cuda")


def open_on(
    runtime: Any, graph: Path | bytes, options: RunOptions, provider: str, device: str
) -> BoundSession:
    """A bound session on `device` (ONNX Runtime's name); `provider` must come up.

    :raises ModelRefused: ENGINE_UNAVAILABLE, or the graph cannot be loaded
    """
    settings = ort.session_options(runtime, options, options.threads)
    others = [] if provider == ort.CPU else [ort.CPU]
    try:
        session = ort.make_session(
            runtime, graph, settings, [(provider, {"enable_cuda_graph": "1"}), *others]
        )
        captured = fixed_shapes(session)
    except ModelRefused as e:
        if e.reason is Reason.OUT_OF_MEMORY:
            raise
        captured = False
    if not captured:
        session = ort.make_session(runtime, graph, settings, [provider, *others])
    if session.get_providers()[0] != provider:
        raise ModelRefused(
            Reason.ENGINE_UNAVAILABLE,
            f"{provider} did not come up; check the driver with `outrider doctor`",
        )
    return BoundSession(runtime, session, device, captured=captured)


def fixed_shapes(session: Any) -> bool:
    """Whether only the batch is open: then the shapes are fixed once the batch is known."""
    values = [*session.get_inputs(), *session.get_outputs()]
    return all(isinstance(side, int) for value in values for side in value.shape[1:])


def failed(error: Exception) -> Transient:
    """What a request gets when the runtime raises; GPU_FAULT where the process can use the GPU no more."""
    if any(int(code) in SPOILING for code in _FAILURE.findall(str(error))):
        return Transient(Reason.GPU_FAULT, f"the GPU can be used no more: {ort.words(error)}")
    return ort.failed(error)


class BoundSession(ort.OnnxRuntime):
    """Inputs and outputs live in buffers of the device, made once for each batch size; only bytes cross."""

    def __init__(self, runtime: Any, session: Any, device: str, *, captured: bool) -> None:
        super().__init__(runtime, session, {"cuda_graph": captured})
        self._runtime = runtime
        self._device = device
        self._captured = captured
        self._lanes: dict[tuple[int, ...], Lane] = {}
        self._pins: Pins | None = None

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        if self._session is None:
            raise RuntimeError("the model was closed")
        try:
            lane = self._lanes.get(batch.shape)
            if lane is None:
                lane = self._lanes[batch.shape] = self._lane(batch)
            return lane.run(self._session, batch)
        except Exception as e:  # the runtime's errors share no base: this is the boundary to foreign code
            raise failed(e) from e

    def _lane(self, batch: npt.NDArray[Any]) -> Lane:
        value = self._runtime.OrtValue.ortvalue_from_numpy(batch, self._device, 0)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._inputs[0].name, value)
        bound: list[Any] | None = []
        for port in self._outputs:
            shape = [len(batch) if i == 0 else side for i, side in enumerate(port.shape)]
            if None in shape or bound is None:
                bound = None
                binding.bind_output(port.name, self._device)
                continue
            made = self._runtime.OrtValue.ortvalue_from_shape_and_type(
                shape, np.dtype(port.dtype), self._device, 0
            )
            binding.bind_ortvalue_output(port.name, made)
            bound.append(made)
        call = self._runtime.RunOptions()
        if self._captured:
            call.add_run_config_entry("gpu_graph_id", str(len(batch)))
        return Lane(value, binding, bound, call)

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Copies from pinned memory go at the bus' speed; the runtime shares the device's primary context."""
        if self._pins is None and self._device == "cuda":
            try:
                self._pins = Pins(DriverCuda())
            except (OSError, CudaError) as e:
                logger.warning("slots are not pinned: %s", e)
        if self._pins is not None:
            self._enter()
            self._pins.pin(parts)

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        if self._pins is not None:
            self._enter()
            self._pins.unpin(parts)

    def _enter(self) -> None:
        with suppress(CudaError):
            if self._pins is not None:
                self._pins.enter()

    def close(self) -> None:
        self._lanes.clear()
        if self._pins is not None:
            self._enter()
            self._pins.close()
        super().close()


class Lane:
    """The buffers of one batch size. `outputs` None: their shapes are known only when they are made."""

    def __init__(self, value: Any, binding: Any, outputs: list[Any] | None, call: Any) -> None:
        self._value = value
        self._binding = binding
        self._bound = outputs
        self._call = call

    def run(self, session: Any, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Copy in, run, copy out."""
        self._value.update_inplace(batch)
        session.run_with_iobinding(self._binding, self._call)
        made: Sequence[Any] = self._binding.get_outputs() if self._bound is None else self._bound
        return [np.array(value.numpy()) for value in made]
