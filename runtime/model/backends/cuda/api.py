"""The few calls of CUDA that a running engine needs: one seam, so that what we do with them can be proven without a GPU.

Addresses and handles are plain numbers. Work put on a stream happens in order, and is certain to have happened only after
`synchronize`. What a stream or a graph still uses must not be freed.
"""

from __future__ import annotations

from typing import Protocol

OUT_OF_MEMORY = 2
"""CUDA_ERROR_OUT_OF_MEMORY."""
SPOILING = frozenset({4, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 999})
"""Values of CUresult (cuda.h) after which every further call of the process fails: the driver was shut down, memory or NVLink
broke beyond repair, a kernel went astray or was ended, the context is gone. The manual's remedy is a new process."""


class CudaError(Exception):
    """A call failed. `code` is CUresult of cuda.h."""

    def __init__(self, call: str, code: int, name: str = "") -> None:
        super().__init__(f"{call}: {name or 'error'} ({code})")
        self.code = code

    @property
    def spoils(self) -> bool:
        """Whether the process can use the GPU no more."""
        return self.code in SPOILING


class Cuda(Protocol):
    """One GPU. Every call may raise CudaError. Calls belong to the thread that has called `enter`."""

    @property
    def integrated(self) -> bool:
        """GPU and processor share their memory, so that a pinned buffer needs no copy."""

    def enter(self) -> None:
        """Make the GPU's context the calling thread's. Cheap; done before each use from a thread that may be another."""

    def host_buffer(self, size_bytes: int) -> int:
        """Pinned memory of the host, which the GPU can reach; its address."""

    def device_address(self, host: int) -> int:
        """Where the GPU finds a host buffer, or memory that was registered."""

    def register_host(self, address: int, size_bytes: int) -> None:
        """Pin memory of the host that somebody else has made, until `unregister_host`, which comes before it is unmapped."""

    def unregister_host(self, address: int) -> None: ...

    def device_buffer(self, size_bytes: int) -> int:
        """Memory of the GPU; its address."""

    def free_host(self, address: int) -> None: ...

    def free_device(self, address: int) -> None: ...

    def stream(self) -> int:
        """A stream that waits for no other."""

    def destroy_stream(self, stream: int) -> None: ...

    def copy_in(self, device: int, host: int, size_bytes: int, stream: int) -> None:
        """Host to device, in the stream's order."""

    def copy_out(self, host: int, device: int, size_bytes: int, stream: int) -> None:
        """Device to host, in the stream's order."""

    def begin_capture(self, stream: int) -> None:
        """From here on what is put on the stream is noted and not done."""

    def end_capture(self, stream: int) -> int:
        """A graph, ready to be launched, of what was noted. The stream is usable again, also where this fails."""

    def launch(self, graph: int, stream: int) -> None:
        """Put the graph's work on the stream."""

    def destroy_graph(self, graph: int) -> None: ...

    def synchronize(self, stream: int) -> None:
        """Wait until all that was put on the stream has happened."""
