"""CUDA without a GPU, behind the seam of `runtime.model.backends.cuda.api`, and stricter than CUDA.

Work put on a stream happens only on `synchronize`. What CUDA leaves undefined is an error here: `Misuse` for memory that is freed
while a stream or a graph uses it, for host memory written while a copy still reads it, for addresses nobody allocated. Host memory
that a copy will write reads as 0xEE until the copy has happened.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.model.backends.cuda.api import OUT_OF_MEMORY, CudaError

INVALID_VALUE = 1
INVALID_CONTEXT = 201
ILLEGAL_ADDRESS = 700
ALREADY_REGISTERED = 712
NOT_REGISTERED = 713
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901
POISON = 0xEE
FIRST_DEVICE_ADDRESS = 0xD0_0000_0000
_ALIGNED = 256


class Misuse(AssertionError):
    """Something that on a real GPU is a race, a crash or a wrong picture, now and then."""


@dataclass
class Work:
    """One thing on a stream. `poisons`: host memory that is not to be read before it has happened."""

    act: Callable[[], None]
    uses: frozenset[int]
    reads: tuple[int, int] | None = None
    poisons: tuple[int, int] | None = None


@dataclass
class Stream:
    pending: list[tuple[Work, bytes | None]] = field(default_factory=list)
    capturing: list[Work] | None = None
    invalidated: bool = False


class FakeCuda:
    """See the module. `device_bytes`: how much memory the GPU has."""

    def __init__(self, *, integrated: bool = False, device_bytes: int = 1 << 30) -> None:
        self.integrated = integrated
        self.launches = 0
        self.copies = 0
        self._device_bytes = device_bytes
        self._hosts: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._devices: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._views: dict[int, int] = {}
        self._registered: dict[int, ctypes.Array[ctypes.c_char]] = {}
        self._streams: dict[int, Stream] = {}
        self._graphs: dict[int, list[Work]] = {}
        self._numbers = itertools.count(1)
        self._next_device = FIRST_DEVICE_ADDRESS
        self._entered: set[int] = set()
        self._spoiled: CudaError | None = None

    def live(self) -> dict[str, int]:
        """What has not been freed."""
        kinds = (
            ("hosts", self._hosts),
            ("devices", self._devices),
            ("registered", self._registered),
            ("streams", self._streams),
            ("graphs", self._graphs),
        )
        return {name: len(held) for name, held in kinds if held}

    def spoil(self, code: int = ILLEGAL_ADDRESS) -> None:
        """A kernel has gone astray: from now on every call but `enter` fails with this code, in this process, for ever."""
        self._spoiled = CudaError("cuStreamSynchronize", code)

    @property
    def spoiled(self) -> bool:
        return self._spoiled is not None

    # --- the seam -----------------------------------------------------------------------------------------------------

    def enter(self) -> None:
        self._entered.add(threading.get_ident())

    def host_buffer(self, size_bytes: int) -> int:
        self._allocating("cuMemHostAlloc")
        memory = ctypes.create_string_buffer(max(1, size_bytes))
        ctypes.memset(memory, POISON, len(memory))
        self._hosts[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    def register_host(self, address: int, size_bytes: int) -> None:
        self._allocating("cuMemHostRegister")
        if address in self._registered or address in self._hosts:
            raise CudaError("cuMemHostRegister", ALREADY_REGISTERED)
        self._registered[address] = (ctypes.c_char * size_bytes).from_address(address)

    def unregister_host(self, address: int) -> None:
        self._here("cuMemHostUnregister")
        if address not in self._registered:
            raise CudaError("cuMemHostUnregister", NOT_REGISTERED)
        self._free("cuMemHostUnregister", self._registered, address)
        self._views = {view: host for view, host in self._views.items() if host != address}

    def device_address(self, host: int) -> int:
        self._here("cuMemHostGetDevicePointer")
        if host not in self._hosts and host not in self._registered:
            raise CudaError("cuMemHostGetDevicePointer", INVALID_VALUE)
        for view, seen in self._views.items():
            if seen == host:
                return view
        view = self._address(len(self._pinned(host)))
        self._views[view] = host
        return view

    def device_buffer(self, size_bytes: int) -> int:
        self._allocating("cuMemAlloc")
        used = sum(len(memory) for memory in self._devices.values())
        if used + size_bytes > self._device_bytes:
            raise CudaError("cuMemAlloc", OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY")
        address = self._address(size_bytes)
        memory = ctypes.create_string_buffer(max(1, size_bytes))
        ctypes.memset(memory, POISON, len(memory))
        self._devices[address] = memory
        return address

    def free_host(self, address: int) -> None:
        self._free("cuMemFreeHost", self._hosts, address)
        self._views = {view: host for view, host in self._views.items() if host != address}

    def free_device(self, address: int) -> None:
        self._free("cuMemFree", self._devices, address)

    def stream(self) -> int:
        self._here("cuStreamCreate")
        number = next(self._numbers)
        self._streams[number] = Stream()
        return number

    def destroy_stream(self, stream: int) -> None:
        held = self._stream("cuStreamDestroy", stream)
        if held.pending or held.capturing is not None:
            raise Misuse("a stream is destroyed with work on it")
        del self._streams[stream]

    def copy_in(self, device: int, host: int, size_bytes: int, stream: int) -> None:
        self._copy("cuMemcpyHtoDAsync", device, host, size_bytes, stream, into_device=True)

    def copy_out(self, host: int, device: int, size_bytes: int, stream: int) -> None:
        self._copy("cuMemcpyDtoHAsync", device, host, size_bytes, stream, into_device=False)

    def begin_capture(self, stream: int) -> None:
        held = self._stream("cuStreamBeginCapture", stream)
        if held.capturing is not None:
            raise CudaError("cuStreamBeginCapture", INVALID_VALUE)
        if held.pending:
            raise Misuse("a capture begins while the stream still works on what a plain run has put on it")
        held.capturing, held.invalidated = [], False

    def end_capture(self, stream: int) -> int:
        held = self._stream("cuStreamEndCapture", stream)
        if held.capturing is None:
            raise CudaError("cuStreamEndCapture", INVALID_VALUE)
        captured, held.capturing = held.capturing, None
        if held.invalidated:
            raise CudaError("cuStreamEndCapture", CAPTURE_INVALIDATED)
        number = next(self._numbers)
        self._graphs[number] = captured
        return number

    def launch(self, graph: int, stream: int) -> None:
        held = self._stream("cuGraphLaunch", stream)
        if graph not in self._graphs or held.capturing is not None:
            raise CudaError("cuGraphLaunch", INVALID_VALUE)
        self.launches += 1
        for work in self._graphs[graph]:
            self._put(held, work)

    def destroy_graph(self, graph: int) -> None:
        self._here("cuGraphExecDestroy")
        if self._graphs.pop(graph, None) is None:
            raise CudaError("cuGraphExecDestroy", INVALID_VALUE)

    def synchronize(self, stream: int) -> None:
        held = self._stream("cuStreamSynchronize", stream)
        if held.capturing is not None:
            held.invalidated = True
            raise CudaError("cuStreamSynchronize", CAPTURE_UNSUPPORTED)
        while held.pending:
            work, seen = held.pending.pop(0)
            if work.reads is not None and seen != ctypes.string_at(*work.reads):
                raise Misuse("host memory was written while a copy to the device still read it")
            work.act()

    # --- for the fake TensorRT ----------------------------------------------------------------------------------------

    def put(self, stream: int, act: Callable[[], None], uses: set[int], *, first: bool) -> bool:
        """Put other work on a stream; `first` allocates and cannot be captured. Whether it was taken."""
        held = self._stream("enqueue", stream)
        if held.capturing is not None and first:
            held.invalidated = True
            return False
        self._put(held, Work(act, frozenset(uses)))
        return True

    def memory(self, address: int) -> ctypes.Array[ctypes.c_char]:
        """The bytes behind a device address."""
        if address in self._views:
            return self._pinned(self._views[address])
        if address not in self._devices:
            raise Misuse(f"the GPU touches {address:#x}, which nobody allocated or somebody freed")
        return self._devices[address]

    # --- rules --------------------------------------------------------------------------------------------------------

    def _here(self, call: str) -> None:
        if self._spoiled is not None:
            raise CudaError(call, self._spoiled.code, "spoiled")
        if threading.get_ident() not in self._entered:
            raise CudaError(call, INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT")

    def _allocating(self, call: str) -> None:
        self._here(call)
        for held in self._streams.values():
            if held.capturing is not None:
                held.invalidated = True
                raise CudaError(call, CAPTURE_UNSUPPORTED)

    def _is_pinned(self, host: int) -> bool:
        return host in self._hosts or host in self._registered

    def _pinned(self, host: int) -> ctypes.Array[ctypes.c_char]:
        return self._hosts[host] if host in self._hosts else self._registered[host]

    def _address(self, size_bytes: int) -> int:
        address = self._next_device
        self._next_device += -(-max(1, size_bytes) // _ALIGNED) * _ALIGNED
        return address

    def _stream(self, call: str, stream: int) -> Stream:
        self._here(call)
        if stream not in self._streams:
            raise CudaError(call, INVALID_VALUE)
        return self._streams[stream]

    def _copy(
        self, call: str, device: int, host: int, size_bytes: int, stream: int, *, into_device: bool
    ) -> None:
        held = self._stream(call, stream)
        if device not in self._devices or size_bytes > len(self._devices[device]):
            raise CudaError(call, INVALID_VALUE)
        if not self._is_pinned(host) or size_bytes > len(self._pinned(host)):
            raise Misuse(f"{call}: {size_bytes} bytes of host memory that is not pinned, or is shorter")

        def act() -> None:
            self.copies += 1
            memory = self.memory(device)
            if not self._is_pinned(host):
                raise Misuse("a copy finds its host memory freed")
            if into_device:
                ctypes.memmove(memory, host, size_bytes)
            else:
                ctypes.memmove(host, memory, size_bytes)

        place = (host, size_bytes)
        uses = frozenset({device, host})
        self._put(held, Work(act, uses, place if into_device else None, None if into_device else place))

    def _put(self, held: Stream, work: Work) -> None:
        if held.capturing is not None:
            held.capturing.append(work)
            return
        if work.poisons is not None:
            ctypes.memset(work.poisons[0], POISON, work.poisons[1])
        seen = ctypes.string_at(*work.reads) if work.reads is not None else None
        held.pending.append((work, seen))

    def _free(self, call: str, held: dict[int, ctypes.Array[ctypes.c_char]], address: int) -> None:
        self._here(call)
        if address not in held:
            raise CudaError(call, INVALID_VALUE)
        names = {address, *(view for view, host in self._views.items() if host == address)}
        waiting = [work for stream in self._streams.values() for work, _ in stream.pending]
        graphs = [work for works in self._graphs.values() for work in works]
        if any(names & work.uses for work in (*waiting, *graphs)):
            raise Misuse(f"{call}: memory is freed that a stream or a graph uses")
        del held[address]
