"""Whether a revision fits on this device, decided from what manifests declare, before a byte of any weights is fetched. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wire.manifest import Manifest
from wire.problem import Problem
from wire.reasons import Reason

MIB = 1 << 20
ENGINE_BYTES = 60 * MIB
"""An engine process before it has loaded anything: measured 55 MiB with ONNX Runtime on a CPU."""
WEIGHTS_TIMES = 3
"""The file as it is read, the weights as they are laid out, and activations of about their size."""
SLOTS = 4
GPU_ENGINES = frozenset({"tensorrt", "tensorrt-rtx", "onnxruntime-cuda"})


@dataclass(frozen=True)
class Means:
    """What the device has. `quota_left_bytes`: what the store may grow by, None without a quota. `engines`: those whose library is there. `compute_capability` of its best GPU, None without one. `freed_bytes`: what the engines hold that the revision does not need any more, where
    they may be ended before the new ones are loaded."""

    memory_available_bytes: int
    disk_free_bytes: int
    memory_reserve_bytes: int
    disk_reserve_bytes: int
    engines: frozenset[str]
    quota_left_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None
    freed_bytes: int = 0


@dataclass(frozen=True)
class Wanted:
    """A model that is new on the device. `missing_bytes`: of its files those that are not there. `engine`: the one that the revision
    asks for, or `auto`. `pipelines`: how many use it. `running_bytes` and `running_weights`: resident memory and size of the
    package of the engine it replaces, where one runs."""

    name: str
    manifest: Manifest
    missing_bytes: int
    engine: str = "auto"
    pipelines: int = 1
    running_bytes: int = 0
    running_weights: int = 0


def refusals(wanted: Sequence[Wanted], missing_bytes: int, means: Means) -> list[Problem]:
    """Everything that does not fit, each with figure and limit. `missing_bytes`: of everything to be fetched, models included."""
    problems: list[Problem] = []
    for model in wanted:
        problems += _runs(model, means)
    problems += _disk(missing_bytes, means)
    problems += _quota(missing_bytes, means)
    problems += _memory(wanted, means)
    return problems


def _runs(model: Wanted, means: Means) -> Iterator[Problem]:
    path, needs = f"models.{model.name}", model.manifest.needs
    able = frozenset(needs.engines) if needs else frozenset()
    asked = able if model.engine == "auto" else frozenset({model.engine})
    if asked and not asked & means.engines:
        yield Problem(
            path,
            Reason.ENGINE_UNAVAILABLE,
            f"needs engine {' or '.join(sorted(asked))}; this device has {', '.join(sorted(means.engines)) or 'none'}",
            remedy="install the engine, or choose another in models.NAME.engine",
        )
    elif able and not asked & able:
        yield Problem(
            path,
            Reason.ENGINE_UNAVAILABLE,
            f"is for engine {' or '.join(sorted(able))}, and the revision asks for {model.engine}",
        )
    if needs and needs.compute_capability and asked and asked & means.engines <= GPU_ENGINES:
        yield from _capability(path, needs.compute_capability, means)


def _capability(path: str, least: str, means: Means) -> Iterator[Problem]:
    has = means.compute_capability
    major, minor = map(int, least.split("."))
    if has is None:
        yield Problem(path, Reason.DRIVER_ABSENT, f"needs a GPU of compute capability {least}; there is none")
    elif has < (major, minor):
        yield Problem(
            path,
            Reason.ENGINE_UNAVAILABLE,
            f"needs compute capability {least}; this GPU has {has[0]}.{has[1]}",
        )


def _disk(missing_bytes: int, means: Means) -> Iterator[Problem]:
    room = means.disk_free_bytes - means.disk_reserve_bytes
    if missing_bytes > room:
        yield Problem(
            "models",
            Reason.DISK_FULL,
            f"{_mib(missing_bytes)} are to be fetched; {_mib(max(0, room))} are free beyond the reserve of {_mib(means.disk_reserve_bytes)}",
            remedy="free some space, or remove models that are not needed",
        )


def _quota(missing_bytes: int, means: Means) -> Iterator[Problem]:
    left = means.quota_left_bytes
    if left is not None and missing_bytes > left:
        yield Problem(
            "models",
            Reason.STORE_QUOTA,
            f"{_mib(missing_bytes)} are to be fetched; {_mib(left)} are left of the store's quota",
            remedy="raise limits.store_bytes, or remove models that are not needed",
        )


def fits_beside(wanted: Sequence[Wanted], means: Means) -> bool:
    """Whether the new engines have room beside all that run."""
    return sum(map(memory_of, wanted)) <= _room_bytes(means)


def _room_bytes(means: Means) -> int:
    return means.memory_available_bytes - means.memory_reserve_bytes


def _memory(wanted: Sequence[Wanted], means: Means) -> Iterator[Problem]:
    room = _room_bytes(means)
    needed = {model.name: memory_of(model) for model in wanted}
    if sum(needed.values()) > room + means.freed_bytes:
        told = ", ".join(f"{name} {_mib(size)}" for name, size in needed.items())
        beside = "beside what runs" if not means.freed_bytes else "even without those they replace"
        yield Problem(
            "models",
            Reason.OUT_OF_MEMORY,
            f"{beside} {told} are needed; {_mib(max(0, room + means.freed_bytes))} are available beyond the reserve of {_mib(means.memory_reserve_bytes)}",
            remedy="use a smaller model, or remove another one first",
        )


def memory_of(model: Wanted) -> int:
    """What its engine process will take: what it declares; else the measured size of the one it replaces, by the weights; else by
    the size of its files. Slots of its pipelines come on top."""
    needs, weights = model.manifest.needs, model.manifest.total_bytes
    slots = SLOTS * model.pipelines * 3 * needs.width * needs.height if needs else 0
    if needs and needs.memory_bytes:
        return needs.memory_bytes + slots
    if model.running_bytes and model.running_weights:
        beyond = max(0, model.running_bytes - ENGINE_BYTES)
        return ENGINE_BYTES + round(beyond * weights / model.running_weights) + slots
    return ENGINE_BYTES + WEIGHTS_TIMES * weights + slots


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:.0f} MiB"
