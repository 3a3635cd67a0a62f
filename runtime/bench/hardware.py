"""What machine this is, in words people compare by; and its NVIDIA driver, where there is one."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Any

import psutil

DRIVER = "proc/driver/nvidia/version"


def describe(root: Path, nvml: Any) -> dict[str, Any]:
    """`name` is the board's, or processor and GPU; `cpus` those this process may use."""
    cpu = _cpu(root)
    gpus = [_name(nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i))) for i in range(_count(nvml))]
    board = _board(root)
    return {
        "name": board or " + ".join([cpu, *gpus]),
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(psutil.virtual_memory().total),
        "gpus": gpus,
        "arch": platform.machine(),
    }


def open_nvml(root: Path) -> Any:
    """NVIDIA's management library, or None where there is no driver. Close with `nvmlShutdown`."""
    if not (root / DRIVER).exists():
        return None
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # the boundary to the driver: without it there is no GPU to tell of
        return None
    return pynvml


def gpu_memory_bytes(nvml: Any, pid: int) -> tuple[int | None, str]:
    """What a process holds on all GPUs; None with the reason where it cannot be told."""
    if nvml is None:
        return None, "no NVIDIA driver"
    held = 0
    seen = False
    try:
        for i in range(_count(nvml)):
            for process in nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(i)):
                if process.pid == pid and process.usedGpuMemory is not None:
                    held += process.usedGpuMemory
                    seen = True
    except Exception as e:  # the boundary to the driver
        return None, f"NVML does not tell: {e}"
    return (
        (held, "")
        if seen
        else (None, "the engine uses no GPU, or the driver hides processes (containers, Jetson)")
    )


def _count(nvml: Any) -> int:
    count = 0
    if nvml is not None:
        with contextlib.suppress(Exception):  # the boundary to the driver
            count = int(nvml.nvmlDeviceGetCount())
    return count


def _board(root: Path) -> str:
    with contextlib.suppress(OSError):
        return (root / "proc/device-tree/model").read_text(errors="replace").strip("\0 \n")
    return ""


def _cpu(root: Path) -> str:
    with contextlib.suppress(OSError):
        for line in (root / "proc/cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


def _name(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
