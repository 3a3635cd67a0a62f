"""Figures of devices with a change against those without, from their newest health documents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from fleet.rollout.state import Figures

HOUR_S = 3600.0


def compared(
    wanted: Iterable[str], treated: Iterable[Mapping[str, Any]], control: Iterable[Mapping[str, Any]]
) -> dict[str, Figures]:
    """Each figure's median on both sides, over the devices that tell it."""
    with_it = [figures_of(document) for document in treated]
    without = [figures_of(document) for document in control]
    found = {}
    for name in wanted:
        ours = [figures[name] for figures in with_it if name in figures]
        theirs = [figures[name] for figures in without if name in figures]
        found[name] = Figures(
            median(ours) if ours else None, median(theirs) if theirs else None, len(ours), len(theirs)
        )
    return found


def figures_of(health: Mapping[str, Any]) -> dict[str, float]:
    """What one health document tells; what it does not tell is absent."""
    cameras = [camera for camera in health.get("cameras", {}).values() if isinstance(camera, Mapping)]
    models = [model for model in health.get("models", {}).values() if isinstance(model, Mapping)]
    found: dict[str, float] = {}
    if cameras:
        found["frames_per_s"] = sum(float(camera.get("fps", 0.0)) for camera in cameras)
        blind = sum(sum(camera.get("blind_hour_s", {}).values()) for camera in cameras)
        found["blind_share"] = min(1.0, blind / (HOUR_S * len(cameras)))
    slowest = [float(c["latency_p95_ms"]) for c in cameras if c.get("latency_p95_ms") is not None]
    if slowest:
        found["latency_p95_ms"] = max(slowest)
    requests = sum(int(model.get("requests", 0)) for model in models)
    if requests:
        found["error_share"] = sum(int(model.get("errors", 0)) for model in models) / requests
    found |= _judgement(cameras)
    celsius = (health.get("host") or {}).get("temperature_celsius")
    if celsius is not None:
        found["temperature_celsius"] = float(celsius)
    return found


def _judgement(cameras: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """What models found in the pictures, where the cameras' figures tell it."""
    sights = [sight for camera in cameras if isinstance(sight := camera.get("sight"), Mapping)]
    asked = sum(int(sight.get("asked", 0)) for sight in sights)
    scores = [list(sight.get("scores", ())) for sight in sights]
    found = sum(sum(bins) for bins in scores)
    result = {}
    if asked:
        result["empty_share"] = sum(int(sight.get("empty", 0)) for sight in sights) / asked
    if found:
        weighted = sum(
            number * (place + 0.5) / len(bins) for bins in scores for place, number in enumerate(bins)
        )
        result["confidence"] = weighted / found
    return result
