"""Figures of NVIDIA GPUs, by NVML. The library is imported only where a driver is, because it costs 10 MB."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from wire.health import Accelerator

log = logging.getLogger(__name__)

DRIVER = Path("/proc/driver/nvidia/version")


class Gpus:
    """Reads all GPUs; an empty tuple where there is no driver. A figure that a GPU does not tell is None."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = None
        if not DRIVER.exists():
            return
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as e:
            log.warning("the NVIDIA driver does not answer", extra={"cause": str(e)})
            return
        self._nvml = pynvml

    def read(self) -> tuple[Accelerator, ...]:
        nvml = self._nvml
        if nvml is None:
            return ()
        try:
            driver = _text(nvml.nvmlSystemGetDriverVersion())
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            return tuple(_read_one(nvml, handle, driver) for handle in handles)
        except nvml.NVMLError as e:
            log.warning("a GPU does not answer", extra={"cause": str(e)})
            return ()

    def compute_capability(self) -> tuple[int, int] | None:
        """Of the best one; None where there is none, or it does not tell."""
        nvml = self._nvml
        if nvml is None:
            return None
        try:
            handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
            found = [nvml.nvmlDeviceGetCudaComputeCapability(handle) for handle in handles]
        except nvml.NVMLError as e:
            log.warning("a GPU does not tell its compute capability", extra={"cause": str(e)})
            return None
        return max(((int(major), int(minor)) for major, minor in found), default=None)

    def close(self) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()
            self._nvml = None


def best_capability() -> tuple[int, int] | None:
    """Of this device's best GPU, read once."""
    gpus = Gpus()
    try:
        return gpus.compute_capability()
    finally:
        gpus.close()


def _read_one(nvml: Any, handle: Any, driver: str) -> Accelerator:
    def told(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except nvml.NVMLError:  # e.g. a Jetson or a MIG slice does not tell its power
            return None

    memory = told(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    load = told(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    watts = told(lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1000.0)
    return Accelerator(
        name=_text(nvml.nvmlDeviceGetName(handle)),
        driver=driver,
        memory_total_bytes=memory.total if memory else None,
        memory_used_bytes=memory.used if memory else None,
        utilisation_percent=float(load.gpu) if load else None,
        temperature_celsius=told(
            lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
        ),
        power_watts=watts,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
