"""What models saw, day by day: detections by confidence and class, empty pictures, brightness; and what models cost. Pure.

Health counts since a binding or a process began; a day has the growth. What a day has of a device is one value, `Day`, as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wire.drift import class_psi, psi
from wire.names import is_name

MOST_CLASSES = 100
MOST_CAMERAS = 64
MOST_MS = 1e7
FEWEST_DETECTIONS = 200
"""On both sides, before a distance says anything."""

NOTHING: Mapping[str, Any] = {"asked": 0, "empty": 0, "scores": [], "classes": {}}
Day = dict[str, Any]
"""`cameras`: camera → key of its models → counts; `models`: digest → counts; `tail`: what the last document had counted."""


@dataclass
class Sight:
    """What a camera's models saw."""

    asked: int = 0
    empty: int = 0
    scores: list[int] = field(default_factory=list)
    classes: Counter[str] = field(default_factory=Counter)
    light: tuple[int, float] = (0, 0.0)

    def add(self, other: Mapping[str, Any]) -> None:
        """Add what a day has."""
        self.asked += other["asked"]
        self.empty += other["empty"]
        self.scores = _summed(self.scores, other["scores"])
        self.classes.update(other["classes"])
        self.light = self.light[0] + other["light"][0], self.light[1] + other["light"][1]

    @property
    def detections(self) -> int:
        return sum(self.scores)

    @property
    def confidence(self) -> float | None:
        bins = len(self.scores)
        weighted = sum(number * (place + 0.5) / bins for place, number in enumerate(self.scores))
        return weighted / self.detections if self.detections else None

    @property
    def empty_share(self) -> float | None:
        return self.empty / self.asked if self.asked else None

    @property
    def brightness(self) -> float | None:
        return self.light[1] / self.light[0] if self.light[0] else None


@dataclass(frozen=True)
class Drift:
    """How far a camera's last days are from those before, with the same models. None where there is too little of either."""

    recent: Sight
    reference: Sight

    @property
    def enough(self) -> bool:
        return min(self.recent.detections, self.reference.detections) >= FEWEST_DETECTIONS

    @property
    def scores(self) -> float | None:
        if not self.enough or len(self.recent.scores) != len(self.reference.scores):
            return None
        return psi(self.reference.scores, self.recent.scores)

    @property
    def classes(self) -> float | None:
        return class_psi(self.reference.classes, self.recent.classes) if self.enough else None

    @property
    def worst(self) -> float | None:
        known = [value for value in (self.scores, self.classes) if value is not None]
        return max(known, default=None)


def next_day(before: Mapping[str, Any] | None, same_day: bool, health: Mapping[str, Any]) -> Day:
    """The day with one more document. `before`: the device's newest day, which is another one without `same_day`."""
    tail = before["tail"] if before else {"cameras": {}, "models": {}}
    kept = before if before and same_day else {"cameras": {}, "models": {}}
    made: Day = {
        "cameras": {name: dict(parts) for name, parts in kept["cameras"].items()},
        "models": dict(kept["models"]),
        "tail": {"cameras": {}, "models": {}},
    }
    for name, camera in list(_section(health, "cameras").items())[:MOST_CAMERAS]:
        if is_name(name):
            _take_camera(made, name, camera, tail["cameras"].get(name))
    for model in _section(health, "models").values():
        if isinstance(model.get("digest"), str):
            _take_model(made, model, tail["models"].get(model["digest"]))
    return made


def _section(health: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    section = health.get(name)
    parts = section.items() if isinstance(section, Mapping) else ()
    return {key: part for key, part in parts if isinstance(part, Mapping)}


def _take_camera(made: Day, name: str, camera: Mapping[str, Any], tail: Any) -> None:
    sight = camera.get("sight")
    if not isinstance(sight, Mapping):
        return
    key = " ".join(sorted(set((camera.get("models") or {}).values())))
    now: dict[str, Any] = {
        "key": key,
        "asked": int(sight.get("asked", 0)),
        "empty": int(sight.get("empty", 0)),
        "scores": [int(number) for number in sight.get("scores", ())],
        "classes": dict(Counter(sight.get("classes", {})).most_common(MOST_CLASSES)),
    }
    began = tail is None or tail["key"] != key or tail["asked"] > now["asked"]
    former: Mapping[str, Any] = NOTHING if began else tail
    light = camera.get("brightness")
    if light is not None and not 0 <= light <= 1:
        light = None
    into = made["cameras"].setdefault(name, {})
    kept = into.get(key) or {**NOTHING, "light": [0, 0.0]}
    padded = [*former["scores"], *[0] * len(now["scores"])]
    grown = {label: number - former["classes"].get(label, 0) for label, number in now["classes"].items()}
    into[key] = {
        "asked": kept["asked"] + now["asked"] - former["asked"],
        "empty": kept["empty"] + max(now["empty"] - former["empty"], 0),
        "scores": _summed(
            kept["scores"], [max(a - b, 0) for a, b in zip(now["scores"], padded, strict=False)]
        ),
        "classes": dict(
            (Counter(kept["classes"]) + Counter({k: n for k, n in grown.items() if n > 0})).most_common(
                MOST_CLASSES
            )
        ),
        "light": kept["light"]
        if light is None
        else [kept["light"][0] + 1, round(kept["light"][1] + light, 4)],
    }
    made["tail"]["cameras"][name] = now


def _take_model(made: Day, model: Mapping[str, Any], tail: Any) -> None:
    digest = model["digest"]
    counted = [int(model.get(name, 0)) for name in ("requests", "errors", "restarts")]
    former = tail if tail is not None and tail[0] <= counted[0] else [0, 0, tail[2] if tail else 0]
    kept = made["models"].get(digest) or {"requests": 0, "errors": 0, "restarts": 0, "p95": [0, 0.0, 0.0]}
    p95 = model.get("infer_p95_ms")
    if p95 is not None and not 0 <= p95 < MOST_MS:
        p95 = None
    n, total, most = kept["p95"]
    made["models"][digest] = {
        "requests": kept["requests"] + max(counted[0] - former[0], 0),
        "errors": kept["errors"] + max(counted[1] - former[1], 0),
        "restarts": kept["restarts"] + max(counted[2] - former[2], 0),
        "p95": kept["p95"] if p95 is None else [n + 1, round(total + p95, 3), max(most, p95)],
    }
    made["tail"]["models"][digest] = counted


def drift_of(
    days: Mapping[int, Mapping[str, Any]], recent_from: int, reference_from: int
) -> dict[str, Drift]:
    """Camera → how its days from `recent_from` on compare with those from `reference_from` until then, seen by the models that it has now."""
    if not days:
        return {}
    newest = days[max(days)]
    found = {}
    for camera, tail in newest["tail"]["cameras"].items():
        drift = Drift(Sight(), Sight())
        for day, content in days.items():
            part = content["cameras"].get(camera, {}).get(tail["key"])
            if part is not None and day >= reference_from:
                (drift.recent if day >= recent_from else drift.reference).add(part)
        found[camera] = drift
    return found


@dataclass
class VersionFigures:
    """A model's version on every device that has it."""

    devices: int = 0
    cameras: int = 0
    sight: Sight = field(default_factory=Sight)
    requests: int = 0
    errors: int = 0
    restarts: int = 0
    p95: tuple[int, float, float] = (0, 0.0, 0.0)


def compared(
    days: Iterable[tuple[str, Mapping[str, Any]]], digests: Iterable[str]
) -> dict[str, VersionFigures]:
    """Each version's figures over the days of devices. What a camera saw counts for a version where that is its only model."""
    found = {digest: VersionFigures() for digest in digests}
    seen: set[tuple[str, str]] = set()
    watched: set[tuple[str, str, str]] = set()
    for device, day in days:
        for digest, counts in day["models"].items():
            if (version := found.get(digest)) is not None:
                version.devices += (device, digest) not in seen
                seen.add((device, digest))
                version.requests += counts["requests"]
                version.errors += counts["errors"]
                version.restarts += counts["restarts"]
                n, total, most = version.p95
                version.p95 = n + counts["p95"][0], total + counts["p95"][1], max(most, counts["p95"][2])
        for camera, parts in day["cameras"].items():
            for key, part in parts.items():
                if (version := found.get(key)) is not None:
                    version.cameras += (device, camera, key) not in watched
                    watched.add((device, camera, key))
                    version.sight.add(part)
    return found


def _summed(a: list[int], b: list[int]) -> list[int]:
    length = max(len(a), len(b))
    return [
        (a[place] if place < len(a) else 0) + (b[place] if place < len(b) else 0) for place in range(length)
    ]
