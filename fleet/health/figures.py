"""The figures of a health document that are kept as history, and how they are packed. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import jsontext
from wire.health import Health
from wire.names import is_name

MIB = 1024 * 1024


@dataclass(frozen=True)
class Figure:
    """`counter`: it only grows while a process lives, and history has its growth; else history has mean, least and most."""

    unit: str
    counter: bool = False


HOST = {
    "cpu_percent": Figure("%"),
    "memory_available_mib": Figure("MiB"),
    "disk_free_mib": Figure("MiB"),
    "temperature_celsius": Figure("°C"),
    "agent_rss_mib": Figure("MiB"),
    "outbox_rows": Figure("messages"),
    "gpu_percent": Figure("%"),
    "gpu_celsius": Figure("°C"),
    "gpu_memory_mib": Figure("MiB"),
    "power_watts": Figure("W"),
}
CAMERA = {
    "fps": Figure("frames/s"),
    "latency_p95_ms": Figure("ms"),
    "loss_share": Figure("share"),
    "brightness": Figure("share"),
    "frames": Figure("frames", counter=True),
    "results": Figure("frames", counter=True),
    "no_answer": Figure("frames", counter=True),
    "blind_s": Figure("s", counter=True),
    "events": Figure("events", counter=True),
    "restarts": Figure("restarts", counter=True),
}
MODEL = {
    "infer_p50_ms": Figure("ms"),
    "infer_p95_ms": Figure("ms"),
    "batch_mean": Figure("frames"),
    "rss_mib": Figure("MiB"),
    "requests": Figure("frames", counter=True),
    "errors": Figure("frames", counter=True),
    "restarts": Figure("restarts", counter=True),
}
SCOPES: dict[str, Mapping[str, Figure]] = {"device": HOST, "camera": CAMERA, "model": MODEL}
"""What is known of a device, of each of its cameras, of each of its models."""


def figures(health: Health) -> dict[str, Any]:
    """What is kept of one document: numbers, states and the causes of blindness; a tenth of its size."""
    cameras = {
        name: _told(
            state=camera.state,
            fps=camera.fps,
            frames=camera.frames,
            results=camera.results,
            no_answer=sum(camera.no_answer.values()),
            blind_s=round(sum(camera.blind_s.values()), 3),
            blind={cause: round(blind_s, 1) for cause, blind_s in camera.blind_s.items()},
            faults=[fault.reason for fault in camera.faults],
            latency_p95_ms=camera.latency_p95_ms,
            loss_share=camera.loss_share,
            brightness=camera.brightness,
            events=camera.events,
            restarts=camera.restarts,
        )
        for name, camera in health.cameras.items()
        if is_name(name)
    }
    models = {
        name: _told(
            state=model.state,
            infer_p50_ms=model.infer_p50_ms,
            infer_p95_ms=model.infer_p95_ms,
            batch_mean=model.batch_mean,
            rss_mib=round(model.rss_bytes / MIB, 1),
            requests=model.requests,
            errors=model.errors,
            restarts=model.restarts,
        )
        for name, model in health.models.items()
        if is_name(name)
    }
    return {**_host(health), "cameras": cameras, "models": models}


def _host(health: Health) -> dict[str, Any]:
    host, gpus = health.host, health.accelerators
    return _told(
        cpu_percent=host.cpu_percent,
        memory_available_bytes=host.memory_available_bytes,
        disk_free_bytes=host.disk_free_bytes,
        temperature_celsius=host.temperature_celsius,
        agent_rss_mib=round(host.agent_rss_bytes / MIB, 1),
        outbox_rows=health.outbox.rows if health.outbox else None,
        gpu_percent=_most(gpu.utilisation_percent for gpu in gpus),
        gpu_celsius=_most(gpu.temperature_celsius for gpu in gpus),
        gpu_memory_mib=_most(
            None if gpu.memory_used_bytes is None else round(gpu.memory_used_bytes / MIB, 1) for gpu in gpus
        ),
        power_watts=_most(gpu.power_watts for gpu in gpus),
    )


def _most(values: Iterator[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _told(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def numbers(kept: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Figure]]]:
    """The parts of what is kept: `scope/name` (the device's own name is empty), what it tells, and the figures that are known of it."""
    host = {**kept}
    for name, figure in (("memory_available", "memory_available_bytes"), ("disk_free", "disk_free_bytes")):
        if figure in kept:
            host[f"{name}_mib"] = kept[figure] / MIB
    yield "device/", host, HOST
    for scope, section in (("camera", "cameras"), ("model", "models")):
        for name, part in kept.get(section, {}).items():
            yield f"{scope}/{name}", part, SCOPES[scope]


def packed(value: Any) -> bytes:
    """A JSON value, small."""
    content = jsontext.dumps(value)
    return zlib.compress(content, 1)


def unpacked(content: bytes) -> Any:
    return jsontext.loads(zlib.decompress(content))
