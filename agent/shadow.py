"""Compares a candidate with what serves, on the cameras' own pictures, before it serves: figures for the report, no verdict.

Its answers go nowhere but into these figures. Left out, with the reason, where the device could not bear it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from agent.device import Device
from agent.engines import EngineUnit
from agent.pipelines import PipelineUnit
from agent.swap import Candidates
from agent.update.ground import Go, Refusal, Skip
from wire import local
from wire.desired import Desired

PER_S = 3.0
ANSWER_S = 4.0
"""A pipeline that has told nothing after this long does not compare."""
GRACE_S = 6.0
POLL_S = 0.1
SPARE_BYTES = 64 * 1024 * 1024
FULL = 0.9
"""Where frames are at work for this share of the time there is none left to ask about them again."""
DETECTIONS = frozenset({"detection", "instance-segmentation", "oriented-detection", "keypoints", "text"})


@dataclass(frozen=True)
class Comparing:
    """One pipeline that compares: its candidate engines by model id."""

    name: str
    unit: PipelineUnit
    engines: Mapping[str, EngineUnit]


class LiveShadow:
    """Asks the pipelines to compare, and waits for them."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def wanted(self, desired: Desired) -> bool:
        return desired.settings.update.shadow_s > 0

    async def compare(self, desired: Desired, candidates: Candidates) -> Go | Skip | Refusal:
        wishes = desired.settings.update
        pipelines, why_not = self._pipelines(candidates)
        if not pipelines:
            return Skip(why_not or "no pipeline changes its model while it runs")
        if (busy := _no_room()) is not None:
            return Skip(busy)
        ticket = f"s{desired.revision}"
        for each in pipelines:
            models = self._device.model_bindings(candidates.switches[each.name])
            chosen = {model_id: models[model_id] for model_id in each.engines}
            each.unit.compare(local.Compare(ticket, chosen, PER_S, wishes.shadow_frames, wishes.shadow_s))
        try:
            await self._wait(pipelines, ticket, wishes.shadow_s)
        finally:
            for each in pipelines:
                each.unit.end_comparison(ticket)
        return _answer(pipelines, ticket, self._device)

    def _pipelines(self, candidates: Candidates) -> tuple[list[Comparing], str]:
        """Those that can compare, and why others cannot."""
        found, why_not = [], ""
        for name, spec in candidates.switches.items():
            unit = self._device.pipelines[name]
            engines = {
                model_id: candidates.engines[use.engine]
                for model_id, use in spec.uses
                if use.engine in candidates.engines and model_id in dict(unit.spec.uses)
            }
            if spec.camera.pace == "file":
                why_not = (
                    f"pipeline {name} takes frames as fast as it works, so there is no time between them"
                )
            elif (load := _load(unit)) > FULL:
                why_not = f"pipeline {name} is at work for {load:.0%} of the time, so there is none for a second model"
            elif unit.camera.state != "streaming":
                why_not = f"camera {spec.camera.name} gives no frames"
            elif engines:
                found.append(Comparing(name, unit, engines))
        return found, why_not

    async def _wait(self, pipelines: list[Comparing], ticket: str, for_s: float) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (waited_s := loop.time() - began) < for_s + GRACE_S:
            told = [each.unit.compared for each in pipelines]
            if all(one is not None and one.ticket == ticket and one.done for one in told):
                return
            if waited_s > ANSWER_S and all(one is None for one in told):
                return
            await asyncio.sleep(POLL_S)


def _load(unit: PipelineUnit) -> float:
    """The share of the time in which a frame is at work."""
    stats = unit.stats
    return stats.latency_p50_ms * stats.fps / 1000.0 if stats is not None else 0.0


def _no_room() -> str | None:
    """Why the device cannot bear a comparison just now."""
    available = psutil.virtual_memory().available
    if available < SPARE_BYTES:
        return f"memory: {available >> 20} MiB are available, {SPARE_BYTES >> 20} MiB are to stay free"
    return None


def _answer(pipelines: list[Comparing], ticket: str, device: Device) -> Go | Skip:
    told: dict[str, dict[str, Any]] = {}
    troubles: list[str] = []
    for each in pipelines:
        compared = each.unit.compared
        if compared is None or compared.ticket != ticket:
            troubles.append(f"pipeline {each.name} did not compare")
            continue
        if compared.trouble:
            troubles.append(compared.trouble)
        for model_id, likeness in compared.models.items():
            live = device.engines.get(dict(each.unit.spec.uses)[model_id].engine)
            told.setdefault(each.name, {})[model_id] = figures(likeness, live, each.engines[model_id])
    if not told:
        return Skip("; ".join(troubles) or "no picture came in time")
    return Go("; ".join(_words(name, models) for name, models in told.items()), {"pipelines": told})


def figures(likeness: local.Likeness, live: EngineUnit | None, other: EngineUnit | None) -> dict[str, Any]:
    """What a comparison comes to. `agreement`: of detections, twice the matched ones over all; else the share of pictures or pixels
    that agree; None where the task knows neither. Times in milliseconds, of the engines' own runs."""
    found = likeness.live_objects + likeness.other_objects
    agreement: float | None = None
    if likeness.task in DETECTIONS:
        agreement = 2 * likeness.matched / found if found else 1.0
    elif likeness.same_count:
        agreement = likeness.same_sum / likeness.same_count
    return {
        "task": likeness.task,
        "compared": likeness.compared,
        "unanswered": likeness.unanswered,
        "agreement": _rounded(agreement),
        "iou": _rounded(likeness.iou_sum / likeness.matched if likeness.matched else None),
        "confidence_difference": _rounded(
            likeness.score_sum / likeness.matched if likeness.matched else None
        ),
        "oks": _rounded(likeness.oks_sum / likeness.oks_count if likeness.oks_count else None),
        "found": {"live": likeness.live_objects, "candidate": likeness.other_objects},
        "classes": {"live": likeness.live_classes, "candidate": likeness.other_classes},
        "saw_nothing": {"of": likeness.live_sure, "candidate": likeness.other_blank},
        "infer_p50_ms": {"live": _p50(live), "candidate": _p50(other)},
        "memory_bytes": {"live": _rss(live), "candidate": _rss(other)},
    }


def _words(name: str, models: Mapping[str, Mapping[str, Any]]) -> str:
    parts = []
    for model_id, told in models.items():
        pictures = f"{told['compared']} pictures"
        agrees = (
            "only times are compared" if told["agreement"] is None else f"agreement {told['agreement']:.0%}"
        )
        parts.append(f"{name} {model_id}: {agrees} over {pictures}")
    return "; ".join(parts)


def _p50(unit: EngineUnit | None) -> float | None:
    return _rounded(unit.stats.infer_p50_ms) if unit is not None and unit.stats is not None else None


def _rss(unit: EngineUnit | None) -> int | None:
    return unit.stats.rss_bytes if unit is not None and unit.stats is not None else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
