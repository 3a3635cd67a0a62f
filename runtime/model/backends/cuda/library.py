"""The calls of `api.py` on the real driver: libcuda by ctypes, which is there wherever a GPU can be used, and nothing else.

The device's primary context is used, the one that TensorRT shares.
"""

from __future__ import annotations

import ctypes
from typing import Any

from runtime.model.backends.cuda.api import CudaError
from runtime.model.backends.cuda.driver import LIBRARY

_PORTABLE, _MAPPED = 1, 2
"""CU_MEMHOSTALLOC_* and CU_MEMHOSTREGISTER_*: pinned for every context; visible to the GPU."""
_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING."""
_THREAD_LOCAL = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads of the process may go on calling CUDA."""
_INTEGRATED = 18

_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_ADDRESS = ctypes.c_uint64
"""CUdeviceptr."""
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (ctypes.c_uint,),
    "cuDeviceGet": (_POINTER, _INT),
    "cuDeviceGetAttribute": (_POINTER, _INT, _INT),
    "cuDevicePrimaryCtxRetain": (_POINTER, _INT),
    "cuCtxSetCurrent": (_POINTER,),
    "cuMemHostAlloc": (_POINTER, _SIZE, ctypes.c_uint),
    "cuMemHostGetDevicePointer_v2": (_POINTER, _POINTER, ctypes.c_uint),
    "cuMemFreeHost": (_POINTER,),
    "cuMemHostRegister_v2": (_POINTER, _SIZE, ctypes.c_uint),
    "cuMemHostUnregister": (_POINTER,),
    "cuMemAlloc_v2": (_POINTER, _SIZE),
    "cuMemFree_v2": (_ADDRESS,),
    "cuStreamCreate": (_POINTER, ctypes.c_uint),
    "cuStreamDestroy_v2": (_POINTER,),
    "cuStreamSynchronize": (_POINTER,),
    "cuMemcpyHtoDAsync_v2": (_ADDRESS, _POINTER, _SIZE, _POINTER),
    "cuMemcpyDtoHAsync_v2": (_POINTER, _ADDRESS, _SIZE, _POINTER),
    "cuStreamBeginCapture_v2": (_POINTER, _INT),
    "cuStreamEndCapture": (_POINTER, _POINTER),
    "cuGraphInstantiateWithFlags": (_POINTER, _POINTER, ctypes.c_uint64),
    "cuGraphDestroy": (_POINTER,),
    "cuGraphExecDestroy": (_POINTER,),
    "cuGraphLaunch": (_POINTER, _POINTER),
}


class DriverCuda:
    """The first GPU of this machine."""

    def __init__(self, library: Any = None) -> None:
        """Ask `driver.ask` before: this expects a GPU.

        :raises CudaError: the driver answers with an error
        :raises OSError: no driver
        """
        self._library = ctypes.CDLL(LIBRARY) if library is None else library
        self._calls = {name: self._bound(name, types) for name, types in _SIGNATURES.items()}
        self._call("cuInit", 0)
        device, integrated = ctypes.c_int(), ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDeviceGetAttribute", ctypes.byref(integrated), _INTEGRATED, device)
        self.integrated = bool(integrated.value)
        self._context = self._made("cuDevicePrimaryCtxRetain", device)

    def enter(self) -> None:
        self._call("cuCtxSetCurrent", self._context)

    def host_buffer(self, size_bytes: int) -> int:
        return self._made("cuMemHostAlloc", max(1, size_bytes), _PORTABLE | _MAPPED)

    def device_address(self, host: int) -> int:
        return self._made("cuMemHostGetDevicePointer_v2", host, 0)

    def register_host(self, address: int, size_bytes: int) -> None:
        self._call("cuMemHostRegister_v2", address, size_bytes, _PORTABLE | _MAPPED)

    def unregister_host(self, address: int) -> None:
        self._call("cuMemHostUnregister", address)

    def device_buffer(self, size_bytes: int) -> int:
        return self._made("cuMemAlloc_v2", max(1, size_bytes))

    def free_host(self, address: int) -> None:
        self._call("cuMemFreeHost", address)

    def free_device(self, address: int) -> None:
        self._call("cuMemFree_v2", address)

    def stream(self) -> int:
        return self._made("cuStreamCreate", _NON_BLOCKING)

    def destroy_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", stream)

    def copy_in(self, device: int, host: int, size_bytes: int, stream: int) -> None:
        self._call("cuMemcpyHtoDAsync_v2", device, host, size_bytes, stream)

    def copy_out(self, host: int, device: int, size_bytes: int, stream: int) -> None:
        self._call("cuMemcpyDtoHAsync_v2", host, device, size_bytes, stream)

    def begin_capture(self, stream: int) -> None:
        self._call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        graph = ctypes.c_void_p()
        self._call("cuStreamEndCapture", stream, ctypes.byref(graph))
        try:
            return self._made("cuGraphInstantiateWithFlags", graph, 0)
        finally:
            self._call("cuGraphDestroy", graph)

    def launch(self, graph: int, stream: int) -> None:
        self._call("cuGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", graph)

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", stream)

    def _bound(self, name: str, types: tuple[Any, ...]) -> Any:
        function = getattr(self._library, name)
        function.argtypes, function.restype = types, ctypes.c_int
        return function

    def _made(self, name: str, *arguments: Any) -> int:
        """A call that writes a handle or an address through its first argument."""
        made = ctypes.c_uint64()
        self._call(name, ctypes.byref(made), *arguments)
        return made.value

    def _call(self, name: str, *arguments: Any) -> None:
        code = self._calls[name](*arguments)
        if code:
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            raise CudaError(name, code, (text.value or b"").decode())
