"""The gates: each measures one figure of a change and the limit it is held against. Pure.

Two kinds of evidence. Where the former model can still be asked, both answer about the same pictures, and what the scene does
cancels out. Where it cannot, the scene's own variation in the baseline sets the limit, and a gate that cannot tell says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent.judgement.baseline import Baseline
from agent.judgement.blocks import Block, joined, latency_ms, recent
from agent.judgement.evidence import Evidence, Pairs
from wire.drift import class_psi, psi
from wire.gates import Gates

WARM_S = 3.0
"""The first frames after the switch stand beside the end of the former engine."""
WINDOW_S = 10.0
ERROR_FRAMES = 20
LEAST_ERRORS = 5
SURE_PICTURES = 20
"""At five pictures a second, four seconds in which the former model sees something all along."""
EMPTY_FRAMES = 100
EMPTY_CHANCE = 0.002
"""How seldom a scene like that of the baseline is empty for longer than the limit."""
STRETCHES = 3
BLIND_FRAMES = 300
BLIND_WINDOWS = 20
LATENCY_FRAMES = 50
FOREIGN_CPU = 0.25
FOREIGN_RISE = 0.15
"""Where other programs take so much of the processor, or so much more than before, times say little of the model."""
LEAST_CPU_MS = 2.0
PAIRED_OBJECTS = 50
OBJECTS = 150
DRIFT_S = 30.0
NOISE = 1.75
"""Beyond the worst window of the baseline by this factor: windows that are alike differ by less."""
SCENE_NOISE = 3.0
MEMORY_SAMPLES = 5
MEMORY_SHARE = 0.25
TEMPERATURE_RISE = 10.0


@dataclass(frozen=True)
class Measure:
    """One figure. `hard`: a breach rolls back; otherwise it is told. `words` say what the figure is."""

    gate: str
    figure: float
    limit: float
    breached: bool
    hard: bool = True
    words: str = ""


def measure(evidence: Evidence, baseline: Baseline, limits: Gates) -> list[Measure]:
    """Every figure that can be told of a pipeline by now."""
    found: list[Measure] = []
    for name, gate in GATES.items():
        if name not in limits.off:
            found += gate(evidence, baseline, limits)
    return found


def doubt(evidence: Evidence, baseline: Baseline) -> str:
    """Why it is too early to say that nothing is wrong, though no gate is broken; empty where it is not.

    A model that has found nothing yet may be blind, or look at an empty scene: `empty-output` needs its pictures or frames to tell.
    """
    whole = joined(evidence.blocks)
    seen_before = bool(baseline.whole.objects) or any(sum(p.former_scores) for p in evidence.pairs.values())
    if whole.counted and whole.asked and whole.run == whole.asked and seen_before:
        return "nothing has been found since the switch"
    return ""


def _errors(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    window = recent(evidence.blocks, WINDOW_S, ERROR_FRAMES)
    if window.asked < ERROR_FRAMES:
        return
    usual = baseline.worst(WINDOW_S, _error_share) or 0.0
    limit = max(limits.error_share, 2.0 * usual)
    figure = window.unanswered / window.asked
    breached = figure > limit and window.unanswered >= LEAST_ERRORS
    yield Measure("inference-errors", figure, limit, breached, words="share of frames without an answer")


def _error_share(block: Block) -> float | None:
    return block.unanswered / block.asked if block.asked >= ERROR_FRAMES else None


def _restarts(evidence: Evidence, _baseline: Baseline, _limits: Gates) -> Iterator[Measure]:
    breached = evidence.restarts > 0
    yield Measure(
        "engine-restarts", float(evidence.restarts), 0.0, breached, words="ends of engine processes"
    )


def _empty(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    sure = [pairs for pairs in evidence.pairs.values() if pairs.former_sure >= SURE_PICTURES]
    for pairs in sure:
        figure = pairs.new_blank / pairs.former_sure
        words = f"share of {pairs.former_sure} pictures with something to see for the former model, in which the new one sees nothing"
        yield Measure("empty-output", figure, limits.empty_share, figure >= limits.empty_share, words=words)
    newest = evidence.blocks[-1] if evidence.blocks else Block()
    if sure or not newest.counted:
        return
    blind = newest.run == sum(block.asked for block in evidence.blocks)
    limit = blind_limit(baseline) if blind else empty_limit(baseline)
    if limit is not None:
        words = "frames in a row in which nothing is found" + (", from the first on" if blind else "")
        yield Measure("empty-output", float(newest.run), limit, newest.run > limit, words=words)


def empty_limit(baseline: Baseline) -> float | None:
    """Frames in a row without a detection that a scene like the baseline's hardly ever has; None where it cannot be told.

    Stretches are taken as exponential in length; with n of them seen, of mean length m, the next one is longer than x with
    probability (1 + x / (n m)) ** -n: the predictive distribution with the prior 1/rate (Lomax).
    """
    stretches = baseline.stretches
    if not baseline.enough or len(stretches) < STRETCHES:
        return None
    total = float(sum(stretches))
    predicted = total * (EMPTY_CHANCE ** (-1.0 / len(stretches)) - 1.0)
    return float(max(EMPTY_FRAMES, 1.5 * max(stretches), predicted))


def blind_limit(baseline: Baseline) -> float | None:
    """The same for a model that has found nothing at all since the switch: the scene would have to have emptied at that moment.

    A scene that was seldom or never empty does not do so in one of twenty windows of this length; a longer baseline does not
    make the limit longer than `BLIND_FRAMES`.
    """
    whole, longest = baseline.whole, max(baseline.stretches, default=0)
    if not baseline.enough or whole.asked < BLIND_WINDOWS * EMPTY_FRAMES // 2 or not whole.objects:
        return None
    windows = min(float(BLIND_FRAMES), whole.asked / BLIND_WINDOWS)
    alone = max(float(EMPTY_FRAMES), 2.0 * longest, windows)
    predicted = empty_limit(baseline)
    return alone if predicted is None else min(alone, predicted)


def _rate(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    window = recent(_warm(evidence), WINDOW_S)
    if window.span_s < WINDOW_S or not baseline.enough or _disturbed(evidence):
        return
    figure_of = _per_second if baseline.pulled else _answered_share
    usual, figure = figure_of(baseline.whole), figure_of(window)
    if usual is None or figure is None:
        return
    lowest = -(baseline.worst(WINDOW_S, lambda block: _negative(figure_of(block))) or 0.0)
    limit = min(limits.rate_share * usual, 0.95 * lowest)
    words = "results a second" if baseline.pulled else "share of the camera's frames with a result"
    yield Measure("frame-rate", figure, limit, figure < limit, words=words)


def _per_second(block: Block) -> float | None:
    return block.results / block.span_s if block.span_s else None


def _answered_share(block: Block) -> float | None:
    """A camera that gives less is not the model's doing."""
    return min(1.0, block.results / block.delivered) if block.delivered >= ERROR_FRAMES else None


def _negative(figure: float | None) -> float | None:
    return None if figure is None else -figure


def _latency(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    yield from _cost(evidence, limits)
    window = recent(_warm(evidence), WINDOW_S, LATENCY_FRAMES)
    if not baseline.enough or (_disturbed(evidence) and not _costs_more(evidence, limits.latency_ratio)):
        return
    for quantile, words in ((_p95, "95th of 100"), (_p50, "the median")):
        usual, worst, figure = quantile(baseline.whole), baseline.worst(WINDOW_S, quantile), quantile(window)
        if figure is None or usual is None or worst is None:
            return
        noisy = usual + NOISE * (worst - usual)
        limit = max(limits.latency_ratio * usual, usual + limits.latency_slack_ms, noisy)
        yield Measure("latency", figure, limit, figure > limit, words=f"ms from capture to result, {words}")


def _cost(evidence: Evidence, limits: Gates) -> Iterator[Measure]:
    """What a run takes of the processor, against the former model's runs in the same seconds: what other programs do cancels out, so
    that a busy machine hides nothing. On a GPU the processor hardly works, and the times alone tell."""
    now, former = evidence.run_cpu_ms, evidence.witness_cpu_ms
    if now is None or former is None or former < LEAST_CPU_MS:
        return
    limit = max(limits.latency_ratio * former, former + limits.latency_slack_ms)
    words = "ms of the processor for a run; the limit is by the former model's in the same seconds"
    yield Measure("latency", now, limit, now > limit, words=words)


def _p95(block: Block) -> float | None:
    return latency_ms(block.latency, 0.95) if sum(block.latency.values()) >= LATENCY_FRAMES else None


def _p50(block: Block) -> float | None:
    return latency_ms(block.latency, 0.5) if sum(block.latency.values()) >= LATENCY_FRAMES else None


def _memory(evidence: Evidence, _baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    for name, memory in evidence.memory.items():
        resident = memory.resident
        if len(resident) < MEMORY_SAMPLES:
            continue
        figure = float(min(resident[-2:]) - resident[0])
        limit = max(float(limits.memory_bytes), MEMORY_SHARE * resident[0])
        growing = resident[-1] > resident[len(resident) * 2 // 3]
        words = f"bytes by which engine {name} has grown"
        yield Measure("memory", figure, limit, figure > limit and growing, words=words)


def _temperature(evidence: Evidence, _baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    machine = evidence.machine
    if machine.celsius is None or machine.celsius_before is None:
        return
    limit = max(limits.celsius, machine.celsius_before + TEMPERATURE_RISE)
    breached = machine.celsius > limit
    yield Measure("temperature", machine.celsius, limit, breached, words="degrees Celsius of the device")


def _throttling(evidence: Evidence, _baseline: Baseline, _limits: Gates) -> Iterator[Measure]:
    machine = evidence.machine
    words = "share of its frames that the device can bear"
    yield Measure(
        "throttling",
        machine.relief,
        machine.relief_before,
        machine.relief < machine.relief_before,
        words=words,
    )


def _confidence(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    yield from _drift("confidence", evidence, baseline, limits)


def _class_mix(evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    yield from _drift("class-mix", evidence, baseline, limits)


def _drift(gate: str, evidence: Evidence, baseline: Baseline, limits: Gates) -> Iterator[Measure]:
    of = _score_psi if gate == "confidence" else _class_psi
    paired = [_as_blocks(pairs) for pairs in evidence.pairs.values()]
    told = [
        (of(former, new), limits.psi)
        for former, new in paired
        if min(former.objects, new.objects) >= PAIRED_OBJECTS
    ]
    if not evidence.pairs:
        told = list(_unpaired(of, evidence, baseline, limits))
    for figure, limit in told:
        # What the scene does is in the figure where the former model does not look on: that is told, never held against it.
        hard = limits.drift == "roll-back" and bool(evidence.pairs)
        subject = "confidence" if gate == "confidence" else "classes"
        yield Measure(
            gate, figure, limit, figure > limit, hard, f"change of the distribution of {subject} (PSI)"
        )


def _score_psi(expected: Block, actual: Block) -> float:
    return psi(expected.scores, actual.scores)


def _class_psi(expected: Block, actual: Block) -> float:
    return class_psi(expected.classes, actual.classes)


def _unpaired(
    of: Callable[[Block, Block], float], evidence: Evidence, baseline: Baseline, limits: Gates
) -> Iterator[tuple[float, float]]:
    since, whole = joined(_warm(evidence)), baseline.whole
    if since.span_s < DRIFT_S or since.objects < OBJECTS or whole.objects < 2 * OBJECTS:
        return
    noise = baseline.worst(since.span_s, lambda w: of(whole, w) if w.objects >= OBJECTS else None)
    if noise is not None and sum(block.span_s for block in baseline.recent) >= 3.0 * since.span_s:
        yield of(whole, since), max(limits.psi, SCENE_NOISE * noise)


def _as_blocks(pairs: Pairs) -> tuple[Block, Block]:
    """What both models found in the same pictures."""
    former = Block(scores=pairs.former_scores, classes=pairs.former_classes)
    return former, Block(scores=pairs.new_scores, classes=pairs.new_classes)


def _warm(evidence: Evidence) -> tuple[Block, ...]:
    """Without the first seconds."""
    left, spent_s = list(evidence.blocks), 0.0
    while left and spent_s < WARM_S:
        spent_s += left.pop(0).span_s
    return tuple(left)


def _disturbed(evidence: Evidence) -> bool:
    machine = evidence.machine
    foreign, before = machine.foreign_cpu, machine.foreign_cpu_before
    return max(foreign, before) > FOREIGN_CPU or foreign > before + FOREIGN_RISE


def _costs_more(evidence: Evidence, ratio: float) -> bool:
    """Whether a run takes that much more of the processor's time, which other programs do not change."""
    now, before = evidence.run_cpu_ms, evidence.former_run_cpu_ms
    return now is not None and before is not None and now > ratio * before


Gate = Callable[[Evidence, Baseline, Gates], Iterator[Measure]]
GATES: dict[str, Gate] = {
    "inference-errors": _errors,
    "engine-restarts": _restarts,
    "empty-output": _empty,
    "frame-rate": _rate,
    "latency": _latency,
    "memory": _memory,
    "temperature": _temperature,
    "throttling": _throttling,
    "confidence": _confidence,
    "class-mix": _class_mix,
}
