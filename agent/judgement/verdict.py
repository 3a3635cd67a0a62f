"""From measures to a verdict: a breach has to last, a commit needs enough frames, and both are said with figure and limit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.judgement.gates import Measure

HOLD_S: Mapping[str, float] = {
    "inference-errors": 1.0,
    "engine-restarts": 0.0,
    "empty-output": 1.0,
    "frame-rate": 5.0,
    "latency": 8.0,
    "memory": 2.0,
    "temperature": 10.0,
    "throttling": 10.0,
    "confidence": 3.0,
    "class-mix": 3.0,
}
"""How long a breach has to last without a break."""


@dataclass(frozen=True)
class Breach:
    """A gate that did not hold, for a camera's pipeline."""

    gate: str
    subject: str
    figure: float
    limit: float
    words: str

    def __str__(self) -> str:
        return f"{self.gate} of {self.subject}: {rounded(self.figure):g} against a limit of {rounded(self.limit):g} ({self.words})"


class Judge:
    """Fed about once a second; remembers since when each gate is broken, and the newest of every measure."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str], float] = {}
        self._newest: dict[tuple[str, str], Measure] = {}
        self._warnings: dict[tuple[str, str], Breach] = {}

    def look(self, subject: str, measures: Iterable[Measure], at_s: float) -> Breach | None:
        """The first hard breach that has lasted long enough."""
        found: Breach | None = None
        for measure in _worst(measures):
            key = (measure.gate, subject)
            self._newest[key] = measure
            if not measure.breached:
                self._since.pop(key, None)
                self._warnings.pop(key, None)
                continue
            if at_s - self._since.setdefault(key, at_s) < HOLD_S[measure.gate]:
                continue
            breach = Breach(measure.gate, subject, measure.figure, measure.limit, measure.words)
            if not measure.hard:
                self._warnings[key] = breach
            found = found or (breach if measure.hard else None)
        return found

    @property
    def wavers(self) -> bool:
        """Whether a hard gate is broken now, and has not been for long enough."""
        return any(self._newest[key].hard for key in self._since)

    @property
    def warnings(self) -> list[Breach]:
        """Soft gates that are broken."""
        return list(self._warnings.values())

    def figures(self) -> dict[str, dict[str, dict[str, float]]]:
        """Subject → gate → figure and limit, as they are told."""
        told: dict[str, dict[str, dict[str, float]]] = {}
        for (gate, subject), measure in self._newest.items():
            entry = {"figure": rounded(measure.figure), "limit": rounded(measure.limit)}
            told.setdefault(subject, {})[gate] = entry
        return told


def rounded(figure: float) -> float:
    """Four digits are enough for people."""
    return float(f"{figure:.4g}")


def _worst(measures: Iterable[Measure]) -> list[Measure]:
    """One of each gate: a broken one before others, a hard one before those."""
    chosen: dict[str, Measure] = {}
    for measure in measures:
        before = chosen.get(measure.gate)
        if before is None or (measure.breached, measure.hard) > (before.breached, before.hard):
            chosen[measure.gate] = measure
    return list(chosen.values())
