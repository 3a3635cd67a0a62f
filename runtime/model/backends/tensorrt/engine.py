"""Runs a TensorRT engine: pinned buffers, one stream, and for each batch size a CUDA graph of copy in, run, copy out.

Nothing is allocated on the way of a frame. Where GPU and processor share their memory the GPU reads and writes the pinned
buffers themselves and the copies fall away. Knows CUDA only as `cuda.api`.
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelRefused, Transient
from runtime.model.backends.cuda.api import OUT_OF_MEMORY, Cuda, CudaError
from runtime.model.backends.cuda.pins import Pins, address_of
from runtime.model.families.family import Port
from wire.reasons import Reason

logger = logging.getLogger(__name__)

MAX_DIRECT = 64
"""Graphs of one batch size that read slots directly; a slot beyond is copied."""


def profiles_for(batch: int | None, max_batch: int) -> tuple[tuple[int, int, int], ...]:
    """(smallest, usual, largest) batch of each optimisation profile: single frames have their own, since they are the usual case."""
    if batch is not None:
        return ()
    if max_batch == 1:
        return ((1, 1, 1),)
    return ((1, 1, 1), (2, min(4, max_batch), max_batch))


def lane_batch(count: int, profiles: Sequence[tuple[int, int, int]]) -> int:
    """The batch that `count` images run in: 1, or the next power of two, so that few graphs are kept."""
    largest = max(profile[2] for profile in profiles)
    return min(largest, 1 << max(0, count - 1).bit_length())


@dataclass
class Buffer:
    """One tensor of one lane. `device` is where the GPU finds it; `owned`: it is memory of its own there."""

    name: str
    is_input: bool
    size_bytes: int
    host: int
    device: int
    owned: bool
    array: npt.NDArray[Any]


@dataclass
class Lane:
    """All that one batch size needs. `graph` None: it could not be captured, so each run puts its work on the stream anew.
    `direct`: by address, graphs that read the batch where it lies, in pinned memory of others."""

    batch: int
    context: Any
    buffers: list[Buffer] = field(default_factory=list)
    graph: int | None = None
    direct: dict[int, int] = field(default_factory=dict)


class TensorRtEngine:
    """A deserialised engine, behind `backend.Backend`."""

    runs_at_once = 1

    def __init__(
        self,
        trt: Any,
        cuda: Cuda,
        engine: Any,
        outputs: Sequence[str],
        profiles: Sequence[tuple[int, int, int]],
        info: dict[str, Any],
    ) -> None:
        """`outputs`: their names in the graph's order.

        :raises ModelRefused: the engine's tensors cannot be served
        """
        self._trt = trt
        self._cuda = cuda
        self._engine: Any = engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        mode = {name: engine.get_tensor_mode(name) for name in names}
        self._inputs = tuple(self._port(name) for name in names if mode[name] == trt.TensorIOMode.INPUT)
        self._outputs = tuple(self._port(name) for name in outputs)
        batch = self._inputs[0].shape[0] if self._inputs else None
        self._profiles = tuple(profiles) or ((batch or 1, batch or 1, batch or 1),)
        self._by_profile = bool(profiles)
        self._lanes: dict[int, Lane] = {}
        self._pins = Pins(cuda)
        self._info = {
            "engine": "tensorrt",
            "version": trt.__version__,
            "provider": trt.__name__,
            "zero_copy": cuda.integrated,
            **info,
        }
        self.on_confirm: Callable[[], object] = lambda: None
        cuda.enter()
        self._stream = cuda.stream()

    @property
    def inputs(self) -> Sequence[Port]:
        return self._inputs

    @property
    def outputs(self) -> Sequence[Port]:
        return self._outputs

    @property
    def info(self) -> dict[str, Any]:
        captured = [lane.graph is not None for lane in self._lanes.values()]
        return {**self._info, **({"cuda_graph": all(captured)} if captured else {})}

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        if self._engine is None:
            raise RuntimeError("the model was closed")
        count = len(batch)
        try:
            self._cuda.enter()
            lane = self._lane(lane_batch(count, self._profiles))
            direct = self._direct(lane, batch)
            if direct is not None:
                self._cuda.launch(direct, self._stream)
            else:
                np.copyto(lane.buffers[0].array[:count], batch, casting="no")
                if lane.graph is None:
                    self._enqueue(lane)
                else:
                    self._cuda.launch(lane.graph, self._stream)
            self._cuda.synchronize(self._stream)
        except CudaError as e:
            raise _failed(e) from e
        except Transient as e:
            raise self._why(e) from e
        except (TypeError, ValueError) as e:
            raise Transient(
                Reason.ENGINE_ERROR, f"TensorRT cannot take {batch.dtype} {batch.shape}: {e}"
            ) from e
        made = {buffer.name: buffer.array for buffer in lane.buffers}
        return [made[port.name][:count].copy() for port in self._outputs]

    def _why(self, refused: Transient) -> Transient:
        """TensorRT says only that it does not run; the driver says whether it is for ever."""
        try:
            self._cuda.synchronize(self._stream)
        except CudaError as e:
            return _failed(e)
        return refused

    def close(self) -> None:
        if self._engine is None:
            return
        with suppress(CudaError):  # a GPU that has failed gives nothing back; the process' end does
            self._cuda.enter()
            self._cuda.synchronize(self._stream)
        for lane in self._lanes.values():
            self._free(lane)
        self._lanes.clear()
        self._pins.close()
        with suppress(CudaError):
            self._cuda.destroy_stream(self._stream)
        self._engine = None

    def confirm(self) -> None:
        self.on_confirm()

    # --- batches in memory of others ----------------------------------------------------------------------------------

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        with suppress(CudaError):
            self._cuda.enter()
            self._pins.pin(parts)

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """The graphs that read these parts go first: they must not outlive the registration."""
        gone = {address_of(part) for part in parts}
        with suppress(CudaError):
            self._cuda.enter()
            for lane in self._lanes.values():
                for address in gone & lane.direct.keys():
                    self._cuda.destroy_graph(lane.direct.pop(address))
        self._pins.unpin(parts)

    def _direct(self, lane: Lane, batch: npt.NDArray[Any]) -> int | None:
        """A graph that reads the batch where it lies; None where it is to be copied."""
        own = lane.buffers[0].array
        if lane.graph is None or batch.shape != own.shape or batch.dtype != own.dtype:
            return None
        address = address_of(batch)
        if not (batch.flags.c_contiguous and self._pins.holds(address, batch.nbytes)):
            return None
        graph = lane.direct.get(address)
        if graph is None and len(lane.direct) < MAX_DIRECT:
            graph = self._capture_from(lane, address)
            if graph is not None:
                lane.direct[address] = graph
        return graph

    def _capture_from(self, lane: Lane, address: int) -> int | None:
        """As the lane's graph, the input being elsewhere: copied from there, or where memory is shared, read there."""
        own = lane.buffers[0]
        device = own.device if own.owned else self._cuda.device_address(address)
        lane.buffers[0] = replace(own, host=address, device=device)
        try:
            if not own.owned and not lane.context.set_tensor_address(own.name, device):
                return None
            return self._capture(lane)
        finally:
            lane.buffers[0] = own

    # --- lanes --------------------------------------------------------------------------------------------------------

    def _lane(self, batch: int) -> Lane:
        lane = self._lanes.get(batch)
        if lane is None:
            lane = Lane(batch, self._engine.create_execution_context())
            if lane.context is None:
                raise Transient(Reason.OUT_OF_MEMORY, f"TensorRT has no memory for a batch of {batch}")
            try:
                self._prepare(lane)
            except BaseException:
                self._free(lane)
                raise
            self._lanes[batch] = lane
        return lane

    def _prepare(self, lane: Lane) -> None:
        """Shapes, buffers, addresses, one plain run, then the graph: a first run allocates, which a capture forbids."""
        self._set_shapes(lane)
        for port in (*self._inputs, *self._outputs):
            buffer = self._buffer(lane, port)
            lane.buffers.append(buffer)
            if not lane.context.set_tensor_address(port.name, buffer.device):
                raise Transient(Reason.ENGINE_ERROR, f"TensorRT does not take a buffer for {port.name!r}")
        self._enqueue(lane)
        self._cuda.synchronize(self._stream)
        lane.graph = self._capture(lane)

    def _set_shapes(self, lane: Lane) -> None:
        if self._by_profile:
            index = next(i for i, p in enumerate(self._profiles) if p[0] <= lane.batch <= p[2])
            if not lane.context.set_optimization_profile_async(index, self._stream):
                raise Transient(Reason.ENGINE_ERROR, f"TensorRT does not take profile {index}")
        for port in self._inputs:
            shape = tuple(lane.batch if i == 0 else side for i, side in enumerate(port.shape))
            if not lane.context.set_input_shape(port.name, shape):
                raise Transient(Reason.ENGINE_ERROR, f"TensorRT does not take {port.name!r} as {shape}")
        if missing := lane.context.infer_shapes():
            raise Transient(Reason.ENGINE_ERROR, f"TensorRT knows no shape for {list(missing)}")

    def _buffer(self, lane: Lane, port: Port) -> Buffer:
        shape = tuple(int(side) for side in lane.context.get_tensor_shape(port.name))
        if min(shape, default=0) < 0:
            raise ModelRefused(
                Reason.MODEL_OUTPUTS,
                f"the shape of {port} depends on what the picture shows; export without NMS in the graph",
            )
        dtype = np.dtype(port.dtype)
        size_bytes = math.prod(shape) * dtype.itemsize
        host = self._cuda.host_buffer(size_bytes)
        try:
            shared = self._cuda.integrated
            device = self._cuda.device_address(host) if shared else self._cuda.device_buffer(size_bytes)
        except BaseException:
            self._cuda.free_host(host)
            raise
        memory = (ctypes.c_byte * size_bytes).from_address(host)
        array = np.frombuffer(memoryview(memory), dtype).reshape(shape)
        return Buffer(port.name, port in self._inputs, size_bytes, host, device, not shared, array)

    def _enqueue(self, lane: Lane) -> None:
        """Put one run on the stream."""
        moved = [buffer for buffer in lane.buffers if buffer.owned]
        for buffer in moved:
            if buffer.is_input:
                self._cuda.copy_in(buffer.device, buffer.host, buffer.size_bytes, self._stream)
        if not lane.context.execute_async_v3(self._stream):
            raise Transient(Reason.ENGINE_ERROR, f"TensorRT refused to run a batch of {lane.batch}")
        for buffer in moved:
            if not buffer.is_input:
                self._cuda.copy_out(buffer.host, buffer.device, buffer.size_bytes, self._stream)

    def _capture(self, lane: Lane) -> int | None:
        """The graph of one run, or None where this engine cannot be captured."""
        self._cuda.begin_capture(self._stream)
        refused: Exception | None = None
        try:
            self._enqueue(lane)
        except (CudaError, Transient) as e:
            refused = e
        graph: int | None = None
        try:
            graph = self._cuda.end_capture(self._stream)
        except CudaError as e:
            refused = refused or e
        if refused is None:
            return graph
        if graph is not None:
            self._cuda.destroy_graph(graph)
        logger.warning("no CUDA graph for a batch of %d: %s", lane.batch, refused)
        return None

    def _free(self, lane: Lane) -> None:
        """The graph first, then the context, then the memory they use."""
        for graph in (lane.graph, *lane.direct.values()):
            with suppress(CudaError):
                if graph is not None:
                    self._cuda.destroy_graph(graph)
        lane.direct.clear()
        lane.graph = lane.context = None
        for buffer in lane.buffers:
            with suppress(CudaError):
                if buffer.owned:
                    self._cuda.free_device(buffer.device)
            with suppress(CudaError):
                self._cuda.free_host(buffer.host)
        lane.buffers.clear()

    def _port(self, name: str) -> Port:
        shape = tuple(side if side >= 0 else None for side in map(int, self._engine.get_tensor_shape(name)))
        return Port(name, shape, np.dtype(self._trt.nptype(self._engine.get_tensor_dtype(name))).name)


def _failed(error: CudaError) -> Transient:
    if error.spoils:
        return Transient(Reason.GPU_FAULT, f"the GPU can be used no more: {error}")
    reason = Reason.OUT_OF_MEMORY if error.code == OUT_OF_MEMORY else Reason.ENGINE_ERROR
    return Transient(reason, f"CUDA failed on a request: {error}")
