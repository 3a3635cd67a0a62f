"""How many joules the machine has taken, where it tells: RAPL of x86 processors, NVML of NVIDIA GPUs, INA3221 of Jetsons.

Readings are of a whole package, GPU or board, its idle consumption included. Sources: Linux `Documentation/power/powercap`,
`Documentation/hwmon/ina3221`; NVML reference, `nvmlDeviceGetTotalEnergyConsumption`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

SAMPLE_S = 0.05
"""Of a sensor that tells power: INA3221 averages over some milliseconds itself."""
BOARD_RAILS = ("VDD_IN", "POM_5V_IN")
"""The rail that feeds the whole module, where there is one; else the rails are added up."""


class EnergyMeter(Protocol):
    """`covers` says what is metered."""

    covers: str

    def joules(self) -> float:
        """Since some moment in the past; grows for ever."""

    def close(self) -> None: ...


class Rapl:
    """The packages of x86 processors. The counters wrap, at some 60 s of full load at the earliest."""

    covers = "processor packages (RAPL)"

    def __init__(self, zones: list[Path]) -> None:
        """:raises OSError: the counters cannot be read"""
        self._zones = zones
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
        self._last = self._read()
        self._total_uj = 0

    def joules(self) -> float:
        at = self._read()
        for i, value in enumerate(at):
            grown = value - self._last[i]
            self._total_uj += grown if grown >= 0 else grown + self._ranges[i]
        self._last = at
        return self._total_uj / 1e6

    def close(self) -> None:
        return

    def _read(self) -> list[int]:
        return [int((zone / "energy_uj").read_text()) for zone in self._zones]


class NvmlEnergy:
    """All GPUs of the driver."""

    covers = "GPU (NVML)"

    def __init__(self, nvml: Any) -> None:
        """:raises Exception: the library's own, where a GPU does not tell"""
        self._nvml = nvml
        self._handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        self.joules()

    def joules(self) -> float:
        return float(sum(self._nvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in self._handles) / 1000.0)

    def close(self) -> None:
        return


class Ina:
    """The power sensors of a Jetson, summed up by a thread, because they tell power and not energy."""

    def __init__(
        self, rails: dict[str, tuple[Path, Path]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`rails`: name → files of millivolts and milliamperes.

        :raises OSError: they cannot be read
        """
        self._rails = rails
        self._clock = clock
        self.covers = f"{' + '.join(rails)} (INA3221)"
        self._joules = 0.0
        self._lock = threading.Lock()
        self._last_mono, self._last_watts = clock(), self.watts()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="ina3221", daemon=True)
        self._thread.start()

    def watts(self) -> float:
        return (
            sum(int(volt.read_text()) * int(ampere.read_text()) for volt, ampere in self._rails.values())
            / 1e6
        )

    def joules(self) -> float:
        with self._lock:
            at_mono, watts = self._clock(), self.watts()
            self._joules += (at_mono - self._last_mono) * (watts + self._last_watts) / 2
            self._last_mono, self._last_watts = at_mono, watts
            return self._joules

    def close(self) -> None:
        self._end.set()
        self._thread.join(1.0)

    def _sample(self) -> None:
        while not self._end.wait(SAMPLE_S):
            try:
                self.joules()
            except OSError:  # a sensor that was there is gone: the next reading tells the caller
                return


def meters(root: Path, nvml: Any) -> tuple[list[EnergyMeter], str]:
    """What this machine offers, and why there is nothing where there is nothing. `root` is `/`; `nvml` None without a driver."""
    found: list[EnergyMeter] = []
    reasons: list[str] = []
    rails = _rails(root)
    zones = [z for z in sorted((root / "sys/class/powercap").glob("intel-rapl:*")) if z.name.count(":") == 1]
    zones = [zone for zone in zones if _text(zone / "name").startswith("package")]
    if rails:
        _try(found, reasons, lambda: Ina(rails), "the board's sensors (INA3221)")
    if zones:
        _try(
            found,
            reasons,
            lambda: Rapl(zones),
            "RAPL (energy_uj is for root only: run as root, or give read permission)",
        )
    if nvml is not None and not rails:
        _try(found, reasons, lambda: NvmlEnergy(nvml), "the GPU's energy counter (NVML)")
    if found:
        return found, ""
    return [], "; ".join(
        reasons
    ) or "this machine tells no energy: no RAPL, no NVML counter, no INA3221 sensor"


def _try(found: list[EnergyMeter], reasons: list[str], make: Callable[[], EnergyMeter], what: str) -> None:
    try:
        found.append(make())
    except Exception as e:  # the boundary to drivers: a meter that does not tell costs its own figure only
        reasons.append(f"{what} cannot be read: {e}")


def _rails(root: Path) -> dict[str, tuple[Path, Path]]:
    rails: dict[str, tuple[Path, Path]] = {}
    for folder in sorted((root / "sys/bus/i2c/drivers/ina3221").glob("*/hwmon/hwmon*")):
        for label in sorted(folder.glob("in*_label")):
            number = label.name[2:-6]
            files = folder / f"in{number}_input", folder / f"curr{number}_input"
            name = _text(label)
            if name and not name.startswith("sum") and all(file.exists() for file in files):
                rails[name] = files
    whole = [name for name in BOARD_RAILS if name in rails]
    return {whole[0]: rails[whole[0]]} if whole else rails


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
