"""The demo in words: a line a second, and what was seen at the end. Pure: everything told comes in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from outrider.demo.judge import GOOD
from outrider.updatewords import comparison

MIB = 1 << 20


def line(elapsed_s: float, camera: Mapping[str, Any], shown: Sequence[str], version: str) -> str:
    """One second of a camera: rate, latency, the outputs named in `shown` (all plain ones where it is empty), blind time."""
    if not camera:
        return f"{elapsed_s:6.1f} s  the agent does not answer"
    latency_ms = camera.get("latency_p50_ms") or 0.0
    parts = [f"{elapsed_s:6.1f} s", f"{camera.get('fps', 0):5.1f} fps", f"{latency_ms:5.1f} ms"]
    parts.append("  ".join(_outputs(camera.get("summary") or {}, shown)))
    parts.append(version)
    blind_s = sum((camera.get("blind_s") or {}).values())
    parts.append(f"blind {blind_s:.1f} s")
    if blind := camera.get("blind_now"):
        parts.append(f"BLIND NOW: {blind['cause']} for {blind['for_s']:.0f} s")
    return " │ ".join(part for part in parts if part)


def _outputs(summary: Mapping[str, Any], shown: Sequence[str]) -> list[str]:
    names = shown or [name for name in summary if name != "predictions"]
    return [f"{name.removeprefix('count_')} {_value(summary[name])}" for name in names if name in summary]


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{item} {key}" for key, item in value.items()) or "none"
    return str(value)


def report(
    camera: Mapping[str, Any],
    swaps: Sequence[Mapping[str, Any]],
    shadows: Sequence[Mapping[str, Any]],
    health: Mapping[str, Any],
    judgement: Mapping[str, Any] | None,
    versions: Sequence[str],
) -> str:
    """The summary: the camera's books, each swap, what the last health document said, and the judgement where truth is known."""
    frames, results = camera.get("frames", 0), camera.get("results", 0)
    lines = ["", "what was seen", f"  frames        {frames}, of which {results} have a result"]
    missing = {**(camera.get("no_answer") or {}), **(camera.get("skipped") or {})}
    lines.append(f"  frames lost   {_value(missing) if missing else 0}")
    blind = {cause: f"{seconds:.1f} s" for cause, seconds in (camera.get("blind_s") or {}).items()}
    lines.append(f"  blind         {', '.join(f'{s} {cause}' for cause, s in blind.items()) or 'never'}")
    lines += [f"  shadow        {shadowed(figures)}" for figures in shadows]
    lines += [
        f"  swap          frames lost {swap['frames_lost']}, gap {swap['gap_ms']:.0f} ms "
        f"(a frame period is {swap['frame_period_ms']:.0f} ms), done in {swap['took_s']:.1f} s"
        for swap in swaps
    ]
    lines += [f"  health        {words}" for words in _health(health)]
    if judgement:
        lines += _judged(judgement, versions)
    return "\n".join(lines)


def shadow(phase: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the demo's one model out of what is reported of the comparison; `skipped` says why there are none."""
    for models in (phase.get("pipelines") or {}).values():
        for figures in models.values():
            return dict(figures)
    return {"skipped": phase.get("why") or "nothing was told"}


def shadowed(figures: Mapping[str, Any]) -> str:
    """The comparison in one line."""
    return f"not compared: {figures['skipped']}" if "skipped" in figures else comparison(figures)


def _health(health: Mapping[str, Any]) -> list[str]:
    """The device's newest health document at the control plane."""
    if not health:
        return ["none has arrived yet"]
    host = health.get("host", {})
    cpu, rss_mib = host.get("cpu_percent", 0.0), host.get("agent_rss_bytes", 0) / MIB
    said = [f"processor {cpu:.0f} %, agent {rss_mib:.0f} MiB, revision {health.get('revision')}"]
    for name, camera in (health.get("cameras") or {}).items():
        p95_ms = camera.get("latency_p95_ms") or 0.0
        said.append(
            f"{name}: {camera['state']}, {camera.get('fps', 0):.1f} fps, p95 {p95_ms:.0f} ms, restarts {camera.get('restarts', 0)}"
        )
    for name, model in (health.get("models") or {}).items():
        said.append(
            f"model {name}: {model['state']}, {model.get('requests', 0)} requests, errors {model.get('errors', 0)}"
        )
    return said


def _judged(judgement: Mapping[str, Any], versions: Sequence[str]) -> list[str]:
    """How many were counted, and what each version let pass by class, side by side."""
    verdicts = judgement["versions"]
    titles = versions[: len(verdicts)]
    width = max(16, *(len(title) for title in titles)) + 2
    lines = [f"  caps counted  {judgement['counted']} of {judgement['true_caps']}", ""]
    lines.append(
        "  " + "defects that were let pass".ljust(28) + "".join(title.ljust(width) for title in titles)
    )
    names = sorted({name for verdict in verdicts for name in verdict["caps"] if name != GOOD})
    for name in names:
        cells = [f"{v['missed'].get(name, 0)} of {v['caps'].get(name, 0)}" for v in verdicts]
        lines.append("  " + name.ljust(28) + "".join(cell.ljust(width) for cell in cells))
    cells = [f"{v['rejected'].get(GOOD, 0)} of {v['caps'].get(GOOD, 0)}" for v in verdicts]
    lines.append("  " + "good ones rejected".ljust(28) + "".join(cell.ljust(width) for cell in cells))
    return [text.rstrip() for text in lines]
