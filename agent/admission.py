"""Asks, before any weights are fetched, whether a revision fits: reads manifests, memory, disk and engines, and lets the rules decide."""

from __future__ import annotations

import asyncio
import ctypes.util
import importlib.util
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from agent import reconcile
from agent.config import Limits
from agent.device import Device
from agent.errors import AgentError
from agent.health.nvidia import DRIVER
from agent.judgement.admission import MIB, Means, Wanted, fits_beside, refusals
from agent.store import Fetcher, Store
from agent.update.ground import Go, Refusal
from wire.desired import Desired

log = logging.getLogger(__name__)

MEMORY_RESERVE_BYTES = 64 * MIB
MANIFEST_S = 15.0
"""Downloads are tried again for ever; the fetching has days for that, and says meanwhile what keeps it."""
STOPS_FIRST = "the new engines do not fit beside those they replace: these end first, and their cameras are blind meanwhile"
MODULES = {
    "onnxruntime": "onnxruntime",
    "onnxruntime-cpu": "onnxruntime",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "tensorrt-rtx": "tensorrt_rtx",
}


class LiveAdmission:
    """`capability`: of the best NVIDIA GPU."""

    def __init__(
        self,
        device: Device,
        store: Store,
        fetcher: Fetcher,
        state_dir: Path,
        limits: Limits,
        capability: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        self._device = device
        self._store = store
        self._fetcher = fetcher
        self._state_dir = state_dir
        self._limits = limits
        self._capability = capability

    async def admit(self, desired: Desired, running: Desired | None) -> Go | Refusal:
        """Manifests are some KB each; one that cannot be had is left to the fetching, which tells of all of them together."""
        wanted = await self._all_wanted(desired, running)
        missing = {model.manifest.digest: model.missing_bytes for model in wanted}
        total, means = sum(missing.values()), self._means(desired)
        problems = refusals(wanted, total, means)
        if problems:
            text = "; ".join(map(str, problems))
            return Refusal(problems[0].reason, text, tuple(problem.to_json() for problem in problems))
        figures = {"to_fetch_bytes": total} if total else {}
        return Go("" if fits_beside(wanted, means) else STOPS_FIRST, figures)

    async def fits_beside(self, desired: Desired, running: Desired | None) -> bool:
        """Asked again when everything is there: memory is what it is then."""
        return fits_beside(await self._all_wanted(desired, running), self._means(desired))

    async def _all_wanted(self, desired: Desired, running: Desired | None) -> list[Wanted]:
        return [each for name in desired.models if (each := await self._wanted(name, desired, running))]

    async def _wanted(self, name: str, desired: Desired, running: Desired | None) -> Wanted | None:
        model = desired.models[name]
        layout = reconcile.layout(desired)
        key = next(key for key, spec in layout.engines.items() if model.digest in spec.digests)
        if key in self._device.engines:
            return None
        try:
            manifest = await asyncio.wait_for(self._store.manifest(model.digest, self._fetcher), MANIFEST_S)
        except (AgentError, asyncio.TimeoutError) as e:
            log.info(
                "a manifest cannot be had yet", extra={"model": name, "cause": str(e) or type(e).__name__}
            )
            return None
        missing = sum(
            entry.size for entry in manifest.files if not self._store.object_path(entry.sha256).exists()
        )
        users = sum(
            any(use.digest == model.digest for _, use in spec.uses) for spec in layout.pipelines.values()
        )
        resident, weights = self._replaced(name, running)
        return Wanted(name, manifest, missing, model.engine.engine, users, resident, weights)

    def _replaced(self, name: str, running: Desired | None) -> tuple[int, int]:
        """Resident memory and package size of the model of the same name that runs."""
        former = running.models.get(name) if running else None
        if former is None:
            return 0, 0
        for unit in self._device.engines.values():
            if unit.spec.digests == (former.digest,) and unit.stats is not None:
                return unit.stats.rss_bytes, _size_of(self._store.model_path(former.digest).rglob("*"))
        return 0, 0

    def _means(self, desired: Desired) -> Means:
        resident = {
            key: unit.stats.rss_bytes for key, unit in self._device.engines.items() if unit.stats is not None
        }
        needed = reconcile.layout(desired).engines
        freed = sum(size for key, size in resident.items() if key not in needed)
        available = psutil.virtual_memory().available
        if bound := self._limits.engines_bytes:
            available = min(available, bound - sum(resident.values()) + MEMORY_RESERVE_BYTES)
        return Means(
            available,
            shutil.disk_usage(self._state_dir).free,
            MEMORY_RESERVE_BYTES,
            self._limits.free_space_bytes,
            engines(),
            self._store.quota_left_bytes(),
            self._capability(),
            freed if desired.settings.update.stop_then_load else 0,
        )


def engines() -> frozenset[str]:
    """The engines whose library is there; nothing is imported. A TensorRT that the system holds counts too."""
    found = {name for name, module in MODULES.items() if importlib.util.find_spec(module) is not None}
    if ctypes.util.find_library("nvinfer"):
        found.add("tensorrt")
    if "onnxruntime" in found and DRIVER.exists():
        found.add("onnxruntime-cuda")
    return frozenset(found)


def _size_of(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths if path.is_file())
