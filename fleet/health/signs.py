"""What a health document or a reported state shows of faults. Pure; nothing of the past goes in.

A sign is on, or it holds: between two thresholds, or where nothing can be known, a fault stays as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wire.health import CameraHealth, Health, Host, ModelHealth
from wire.reasons import Reason
from wire.reported import ObjectState, Reported

MOST_SIGNS = 500
MESSAGE_CHARACTERS = 300
PART_CHARACTERS = 100
DISK_SHARE = (0.05, 0.08)
MEMORY_SHARE = (0.05, 0.08)
HOT_CELSIUS = (90.0, 84.0)
BACKLOG_ROWS = (5_000, 1_000)
FLASH_BYTES = (50e9, 40e9)
"""Each: where a fault begins, and what must be passed again before it may end."""
STARTING_S = 180.0
"""What has been starting for so long does not start: building an engine is done beside, before the switch."""

UNREACHABLE = frozenset(
    {
        Reason.CAMERA_UNREACHABLE.value,
        Reason.CAMERA_LOST.value,
        Reason.CAMERA_SILENT.value,
        Reason.CAMERA_NONSENSE.value,
        Reason.CAMERA_STALLED.value,
    }
)
CAUSES = {
    **dict.fromkeys(UNREACHABLE, "camera-unreachable"),
    Reason.CAMERA_PASSWORD.value: "camera-password",
    Reason.CAMERA_SOURCE_INVALID.value: "camera-source-invalid",
    Reason.CAMERA_HUNG.value: "camera-hung",
    Reason.DROPPED_BY_POLICY.value: "camera-overrun",
    Reason.PIPELINE_DOWN.value: "pipeline-failed",
    Reason.PIPELINE_HUNG.value: "pipeline-failed",
    Reason.PIPELINE_FLAPPING.value: "pipeline-failed",
}
NO_FAULT = frozenset({Reason.CAMERA_OFF.value, Reason.CAMERA_ENDED.value, Reason.STARTING.value})
"""Causes of blindness that are planned, or over soon."""
PICTURES = frozenset(
    reason.value
    for reason in (
        Reason.PICTURE_FROZEN,
        Reason.PICTURE_BLACK,
        Reason.PICTURE_BRIGHT,
        Reason.PICTURE_COVERED,
        Reason.PICTURE_BLURRED,
        Reason.PICTURE_MOVED,
        Reason.PICTURE_SIZE,
    )
)
BAD = ("failed", "refused")


@dataclass(frozen=True)
class Sign:
    """`part` is the camera, model or workflow; empty for the device itself."""

    code: str
    part: str = ""
    on: bool = True
    message: str = ""

    def row(self) -> list[str]:
        return [self.code, self.part, "on" if self.on else "hold", self.message]


def of_row(row: Sequence[str]) -> Sign:
    return Sign(row[0], row[1], row[2] == "on", row[3])


def key_of(signs: Sequence[Sign]) -> str:
    """Changes with what the signs say, messages left out: numbers in them change all the time."""
    told = "\n".join(f"{sign.code} {sign.part} {sign.on}" for sign in signs)
    return hashlib.sha256(told.encode()).hexdigest()


def of_health(health: Health, synced: bool = True) -> tuple[Sign, ...]:
    """What a health document shows; `synced` says whether the device's clock was synchronised."""
    found = [*_host(health.host)]
    for name, camera in health.cameras.items():
        found += _camera(name, camera)
    for name, model in health.models.items():
        found += _model(name, model)
    reliefs = sorted({camera.relief.reason for camera in health.cameras.values() if camera.relief})
    if reliefs:
        found.append(Sign("device-throttled", message=", ".join(reliefs)))
    if health.outbox is not None:
        found += _above(
            "outbox-backlog", health.outbox.rows, BACKLOG_ROWS, f"{health.outbox.rows} messages wait"
        )
    if not synced:
        found.append(Sign("clock-unset"))
    return _bounded(found)


def of_reported(reported: Reported) -> tuple[Sign, ...]:
    """What a reported state shows."""
    found = []
    if reported.phase.value in ("REJECTED", "ROLLED_BACK"):
        words = ": ".join(filter(None, (reported.reason, reported.message)))
        found.append(Sign("update-failed", message=f"revision {reported.offered}: {words}"))
    for code, objects in (("model-failed", reported.models), ("workflow-failed", reported.workflows)):
        found += [
            Sign(code, name, message=_words(state)) for name, state in objects.items() if state.state in BAD
        ]
    return _bounded(found)


def _words(state: ObjectState) -> str:
    return ": ".join(filter(None, (state.reason, state.message)))


def _host(host: Host) -> Iterator[Sign]:
    if host.disk_total_bytes > 0:
        share = host.disk_free_bytes / host.disk_total_bytes
        yield from _below("disk-low", share, DISK_SHARE, f"{share:.1%} of the disk is free")
    if host.memory_total_bytes > 0:
        share = host.memory_available_bytes / host.memory_total_bytes
        yield from _below("memory-low", share, MEMORY_SHARE, f"{share:.1%} of the memory is available")
    if host.temperature_celsius is not None:
        yield from _above(
            "device-hot", host.temperature_celsius, HOT_CELSIUS, f"{host.temperature_celsius:.0f} °C"
        )
    if host.written_bytes_per_day is not None:
        gigabytes = host.written_bytes_per_day / 1e9
        yield from _above("flash-worn", host.written_bytes_per_day, FLASH_BYTES, f"{gigabytes:.0f} GB a day")


def _camera(name: str, camera: CameraHealth) -> Iterator[Sign]:
    cause = camera.blind_now.cause if camera.blind_now else ""
    if cause == Reason.CAMERA_OFF.value:  # whether it could be reached nobody knows
        yield from (Sign(code, name, on=False) for code in ("camera-unreachable", "picture-black"))
    elif cause == Reason.STARTING.value and camera.blind_now and camera.blind_now.for_s > STARTING_S:
        yield Sign("camera-blind", name, message=cause)
    elif cause and cause not in NO_FAULT and cause not in PICTURES:
        yield Sign(CAUSES.get(cause, "camera-blind"), name, message=cause)
    for fault in camera.faults:
        if fault.reason in PICTURES:
            yield Sign(fault.reason, name, message=fault.message)
    failing = sorted(sink for sink, health in camera.sinks.items() if health.failing)
    if failing:
        words = "; ".join(f"{sink}: {camera.sinks[sink].error}" for sink in failing)
        yield Sign("sink-failing", name, message=words)


def _model(name: str, model: ModelHealth) -> Iterator[Sign]:
    if model.state in BAD:
        yield Sign("model-failed", name, message=f"the engine of {model.digest[:19]} is {model.state}")


def _below(code: str, value: float, limits: tuple[float, float], words: str) -> Iterator[Sign]:
    if value < limits[1]:
        yield Sign(code, on=value < limits[0], message=words)


def _above(code: str, value: float, limits: tuple[float, float], words: str) -> Iterator[Sign]:
    if value > limits[1]:
        yield Sign(code, on=value >= limits[0], message=words)


def _bounded(signs: Sequence[Sign]) -> tuple[Sign, ...]:
    """Sorted, each code and part once, so many at most: a device may say what it likes."""
    by_key = {}
    for sign in signs:
        part = storable(sign.part, PART_CHARACTERS)
        message = storable(sign.message, MESSAGE_CHARACTERS)
        by_key[sign.code, part] = Sign(sign.code, part, sign.on, message)
    return tuple(by_key[key] for key in sorted(by_key)[:MOST_SIGNS])


def storable(text: str, characters: int) -> str:
    """The text as every database takes it: no NUL, no half of a surrogate pair, not too long."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")[:characters]
