"""What a device reports of its newest update, in lines for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lines(reported: Mapping[str, Any]) -> list[str]:
    """The comparison before the swap, the swap, and the gates that did not hold or that warned."""
    phases = (reported.get("update") or {}).get("phases") or {}
    return [
        *_shadow(phases.get("shadow") or {}),
        *(_swap(swap) for swap in reported.get("swaps") or ()),
        *_probation(phases.get("probation") or {}),
    ]


def comparison(figures: Mapping[str, Any]) -> str:
    """One comparison of a candidate with the model at work."""
    said = [f"{figures['compared']} pictures compared before the swap"]
    if (agreement := figures.get("agreement")) is not None:
        said.append(f"agreement {agreement:.0%}")
    elif figures.get("task"):
        said.append(f"only times are compared for {figures['task']}")
    if (off := figures.get("confidence_difference")) is not None:
        said.append(f"confidence {off:+.2f}")
    if found := figures.get("found"):
        said.append(f"found {found['live']} → {found['candidate']}")
    times = figures.get("infer_p50_ms") or {}
    if times.get("live") and times.get("candidate"):
        said.append(f"engine {times['live']:.1f} → {times['candidate']:.1f} ms")
    return ", ".join(said)


def _shadow(phase: Mapping[str, Any]) -> Iterator[str]:
    if "why" in phase:
        yield f"not compared before the swap: {phase['why']}"
    for pipeline, models in (phase.get("pipelines") or {}).items():
        for model_id, figures in models.items():
            yield f"{pipeline} {model_id}: {comparison(figures)}"


def _swap(swap: Mapping[str, Any]) -> str:
    gap = f", gap {swap['gap_ms']:.0f} ms" if swap.get("gap_ms") is not None else ""
    return f"{swap['pipeline']} swapped: frames lost {swap.get('frames_lost', 0)}{gap}"


def _probation(phase: Mapping[str, Any]) -> Iterator[str]:
    if phase.get("gate"):
        yield f"gate {phase['gate']} did not hold: {_figure(phase)}"
    for warning in phase.get("warnings") or ():
        yield f"warning: {warning['gate']} of {warning['pipeline']}: {_figure(warning)}"


def _figure(entry: Mapping[str, Any]) -> str:
    if entry.get("figure") is None or entry.get("limit") is None:
        return str(entry.get("message") or "")
    return f"{entry['figure']:.4g} against a limit of {entry['limit']:.4g}"
