"""What the two versions of the cap inspector found, held against the truth of the rendered scene. Pure.

A cap belongs to the version that was running when its centre crossed the line. Caps that were in sight while the models
changed hands have votes of both, and are left out of the second version's figures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

GOOD = "good"
MATCH_FRAMES = 8
"""A count this many frames from the true crossing is that cap's."""
MATCH_PX = 40.0
"""…when it is also this near across the belt."""
FIRST_FRAMES = 15
"""Caps that cross sooner after the camera starts may not have been seen often enough to be counted."""
IN_SIGHT_FRAMES = 50
"""How long a cap is in sight before it crosses the line."""


@dataclass(frozen=True)
class Crossing:
    """A cap crossing the line, in truth or as counted: frame number, place across the belt in pixels, class, model."""

    frame: int
    y_px: float
    name: str
    model: str = ""


@dataclass
class Verdict:
    """One version: caps by true class, and how many of each were rejected."""

    caps: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    def missed(self) -> dict[str, int]:
        """Defective caps that were let pass, by class."""
        return {name: n - self.rejected.get(name, 0) for name, n in self.caps.items() if name != GOOD}

    def recall(self, name: str) -> float | None:
        """Share of the class' caps that were rejected; None where there was none."""
        return self.rejected.get(name, 0) / self.caps[name] if self.caps.get(name) else None


@dataclass
class Judgement:
    """`counted` and `true_caps` cover the whole time; `versions` are in the order in which they ran."""

    true_caps: int
    counted: int
    versions: list[Verdict]

    @property
    def count_error(self) -> float:
        """|counted - true| / true."""
        return abs(self.counted - self.true_caps) / self.true_caps if self.true_caps else 0.0

    def to_json(self) -> dict[str, Any]:
        versions = [{**asdict(verdict), "missed": verdict.missed()} for verdict in self.versions]
        return {
            "true_caps": self.true_caps,
            "counted": self.counted,
            "count_error": self.count_error,
            "versions": versions,
        }


def true_crossings(truth: Mapping[str, Any], line_x_px: float) -> list[Crossing]:
    """Each cap of the scene's truth in the first frame in which its centre has crossed the line, rightwards."""
    before: dict[int, float] = {}
    crossings = []
    for k, caps in enumerate(truth["frames"]):
        for cap in caps:
            left, top, right, bottom = cap["box"]
            x_px = (left + right) / 2
            if before.get(cap["id"], line_x_px) < line_x_px <= x_px:
                crossings.append(Crossing(k, (top + bottom) / 2, cap["class"]))
            before[cap["id"]] = x_px
    return crossings


def counted_crossings(events: Iterable[Mapping[str, Any]], model_id: str) -> list[Crossing]:
    """What the workflow counted, from the bodies of its events, in the order of frames."""
    found = []
    for event in events:
        crossed = (event["outputs"].get("crossed") or {}).get("predictions") or []
        found += [
            Crossing(event["frame_seq"], cap["y"], cap["class"], event["models"][model_id]) for cap in crossed
        ]
    return sorted(found, key=lambda crossing: crossing.frame)


def judge(
    truth: list[Crossing], counted: list[Crossing], last_frame: int, switch_frame: int | None
) -> Judgement:
    """Hold the counts against the truth. `switch_frame`: the first frame of the second version, None without a swap."""
    due = [cap for cap in truth if FIRST_FRAMES <= cap.frame <= last_frame - MATCH_FRAMES]
    made = [cap for cap in counted if FIRST_FRAMES <= cap.frame <= last_frame - MATCH_FRAMES]
    told = _matched(due, counted)
    verdicts = [Verdict(), Verdict()] if switch_frame is not None else [Verdict()]
    for cap, name in zip(due, told, strict=True):
        version = _version(cap.frame, switch_frame)
        if version is None:
            continue
        verdict = verdicts[version]
        verdict.caps[cap.name] = verdict.caps.get(cap.name, 0) + 1
        if name not in (None, GOOD):
            verdict.rejected[cap.name] = verdict.rejected.get(cap.name, 0) + 1
    return Judgement(len(due), len(made), verdicts)


def _version(frame: int, switch_frame: int | None) -> int | None:
    if switch_frame is None or frame < switch_frame:
        return 0
    return 1 if frame >= switch_frame + IN_SIGHT_FRAMES else None


def _matched(due: list[Crossing], counted: list[Crossing]) -> list[str | None]:
    """The class that was told for each true cap, None where it was not counted; each count serves one cap."""
    free = set(range(len(counted)))
    told: list[str | None] = []
    for cap in due:
        near = [
            i
            for i in free
            if abs(counted[i].frame - cap.frame) <= MATCH_FRAMES
            and abs(counted[i].y_px - cap.y_px) <= MATCH_PX
        ]
        best = min(
            near,
            key=lambda i: abs(counted[i].frame - cap.frame) + abs(counted[i].y_px - cap.y_px),
            default=None,
        )
        told.append(None if best is None else counted[best].name)
        if best is not None:
            free.discard(best)
    return told
