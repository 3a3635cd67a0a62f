"""Asks libcuda itself whether there is a GPU, and which. Libraries above it crash where there is none, so this comes first."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.errors import ModelRefused
from wire.reasons import Reason

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18
"""CUdevice_attribute of cuda.h: compute capability, and whether GPU and processor share their memory."""
_NAME_BYTES = 128
_REMEDY = "install the NVIDIA driver, or use a CPU engine"


@dataclass(frozen=True)
class Gpu:
    """The first GPU. driver: the newest CUDA it speaks, as 1000 x major + 10 x minor. capability: 87 for 8.7 (Orin)."""

    name: str
    capability: int
    driver: int
    integrated: bool
    memory_bytes: int

    @property
    def cuda(self) -> str:
        """The driver's CUDA version, as people write it."""
        return f"{self.driver // 1000}.{self.driver % 1000 // 10}"


def ask(load: Callable[[str], Any] = ctypes.CDLL) -> Gpu:
    """The GPU this process would use.

    :raises ModelRefused: DRIVER_ABSENT: no driver, one that does not answer, or no GPU
    """
    try:
        library = load(LIBRARY)
    except OSError as e:
        raise ModelRefused(Reason.DRIVER_ABSENT, f"{LIBRARY} cannot be loaded: {e}; {_REMEDY}") from e
    device, count, number = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    _check(library.cuInit(0), "cuInit")
    _check(library.cuDeviceGetCount(ctypes.byref(count)), "cuDeviceGetCount")
    if not count.value:
        raise ModelRefused(Reason.DRIVER_ABSENT, f"the NVIDIA driver sees no GPU; {_REMEDY}")
    _check(library.cuDeviceGet(ctypes.byref(device), 0), "cuDeviceGet")
    _check(library.cuDriverGetVersion(ctypes.byref(number)), "cuDriverGetVersion")

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        _check(library.cuDeviceGetAttribute(ctypes.byref(value), which, device), "cuDeviceGetAttribute")
        return value.value

    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _check(library.cuDeviceGetName(name, _NAME_BYTES, device), "cuDeviceGetName")
    _check(library.cuDeviceTotalMem_v2(ctypes.byref(memory), device), "cuDeviceTotalMem")
    return Gpu(
        name=name.value.decode(errors="replace"),
        capability=10 * attribute(_MAJOR) + attribute(_MINOR),
        driver=number.value,
        integrated=bool(attribute(_INTEGRATED)),
        memory_bytes=memory.value,
    )


def require_cuda(gpu: Gpu, version: str, what: str) -> None:
    """:raises ModelRefused: DRIVER_TOO_OLD, where the driver's CUDA is of an older major version than `what` is built for"""
    major = version.split(".")[0]
    if major.isdigit() and gpu.driver // 1000 < int(major):
        raise ModelRefused(
            Reason.DRIVER_TOO_OLD,
            f"{what} is built for CUDA {version}, the driver of the {gpu.name} speaks CUDA {gpu.cuda}; update the driver",
        )


def _check(status: int, call: str) -> None:
    if status:
        raise ModelRefused(
            Reason.DRIVER_ABSENT,
            f"the NVIDIA driver answers {call} with error {status}; look at nvidia-smi and the kernel's log",
        )
