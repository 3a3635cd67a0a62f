"""A device at work on a video at live pace, with real engine and pipeline processes, and an account of its frames.

For faults of updates: what was pushed, how it ended, what runs, which frames have no result, and for how long there was none.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.fakes.agent_rig import BASE, ROOT, Rig, rig, until

MODEL_ID = "people/1"
WORKFLOW = ROOT / "examples" / "workflows" / "count_people.json"
VIDEO = "video/one-by-one-person-detection.mp4"
FPS = 10.0
BEHIND = 15
"""Events of the newest frames that may still be on their way."""
ROLLBACK_BUDGET_S = 5.0
GATES: dict[str, Any] = {"min_frames": 30, "patience_s": 60, "off": ["latency", "frame-rate"]}
"""Of a machine that other tests use too: how fast a model is, is judged where that is the test's subject."""
AT_ONCE: dict[str, Any] = {"min_frames": 5, "patience_s": 5, "off": ["latency", "frame-rate", "empty-output"]}


@dataclass(frozen=True)
class Account:
    """Of the frames since a mark. `lost` have no result; `pause_s`: the longest time between two pictures with a result."""

    frames: int
    lost: int
    pause_s: float


class DeviceStand:
    """`push`, then `ended` says whether it came as it should."""

    def __init__(self, made: Rig, package: Path, video: Path) -> None:
        self.made = made
        self.video = video
        self.files = package_files(package)
        self.workflow: dict[str, Any] = json.loads(WORKFLOW.read_bytes())
        self.good = self.model("good")
        self.revision = self.running = 0
        self._mark: dict[str, int] = {}

    def model(self, tag: str, fault: dict[str, Any] | None = None, **files: bytes) -> str:
        """The detector as a package of its own; with something planted, see `tests/fakes/faulty.py`."""
        more = {"fault.json": json.dumps(fault).encode()} if fault else {}
        return self.made.plane.add_model({**self.files, **files, "variant.txt": tag.encode(), **more})

    def parts(
        self, model: str, workflow: dict[str, Any] | None = None, settings: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        digest = self.made.plane.add_workflow(workflow or self.workflow)
        events = {"send": "every", "min_interval_s": 0}
        return {
            "cameras": {"door": {"source": str(self.video), "pace": "realtime", "loop": True}},
            "models": {"m": {"digest": model}},
            "workflows": {"w": {"digest": digest}},
            "pipelines": {
                "p": {"camera": "door", "workflow": "w", "models": {MODEL_ID: "m"}, "events": events}
            },
            "settings": {"health_s": 1.0, **(settings or {})},
        }

    def push(
        self,
        model: str = "",
        workflow: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        *,
        again: bool = False,
        **update: Any,
    ) -> int:
        """Push a model, the good one where none is named; accounts begin here, or go on where one is pushed `again`."""
        self.revision += 1
        if not again:
            self._mark = self._newest()
        asked = {"shadow_s": 0, "probation_s": 0.5, "gates": AT_ONCE, **update}
        parts = self.parts(model or self.good, workflow, {**(settings or {}), "update": asked})
        self.made.push(self.revision, **parts)
        return self.revision

    def commits(self, model: str = "", workflow: dict[str, Any] | None = None, **update: Any) -> None:
        """Push, and have it end well."""
        self.push(model, workflow, **update)
        self.ended("COMMITTED")

    def phase(self, phase: str, timeout_s: float = 60.0) -> None:
        """Wait until the newest push is there, as the device itself says."""

        def there() -> bool:
            told = self.made.status()["reported"]
            return bool(told["offered"] == self.revision and told["phase"] == phase)

        until(there, timeout_s)

    def ended(
        self,
        phase: str,
        *,
        reason: str = "",
        gate: str = "",
        lost: int = 0,
        pause_s: float = 3.0,
        rollback_s: float = ROLLBACK_BUDGET_S,
        timeout_s: float = 90.0,
    ) -> dict[str, Any]:
        """How the newest push ended: what the control plane was told, what runs, and the frames meanwhile; the reported state."""
        reported = self.made.observer.reported(phase, self.revision, timeout_s)
        if phase == "COMMITTED":
            self.running = self.revision
        assert reported["revision"] == self.running, reported
        assert (reported["reason"] or "") == reason, reported
        assert bool(reported["message"]) == bool(reason)
        if gate:
            told = reported["update"]["phases"]["probation"]
            assert told["gate"] == gate, reported
        if phase == "ROLLED_BACK":
            assert self.rollback_s() < rollback_s
        assert self.on_disk() == self.running
        self.goes_on()
        account = self.account()
        print(f"{phase} {reason} {gate}: {account}")
        assert account.lost <= lost, account
        assert account.pause_s <= pause_s, account
        return reported

    def on_disk(self) -> int:
        """The revision that `current` names."""
        return int((self.made.state_dir / "current").resolve().stem)

    def goes_on(self, more: int = BEHIND + 5) -> None:
        """The revision that is to run gives results, and they arrive."""
        before = self._count(self.running)
        until(lambda: self._count(self.running) >= before + more, 60.0)

    def rollback_s(self) -> float:
        """From the verdict until the former revision was at work again, as the flight recorder has it."""
        at: dict[str, float] = {}
        for entry in self.made.get("/recorder").json():
            if entry["kind"] == "update" and entry["revision"] == self.revision:
                at[entry["phase"]] = entry["mono"]
        return at["ROLLED_BACK"] - at["ROLLING_BACK"]

    # --- frames -------------------------------------------------------------------------------------------------------

    def account(self) -> Account:
        """Of every frame since the push, by the events, one of which is sent for each result."""
        frames = lost = 0
        walls: list[float] = []
        for process, seen in self._events().items():
            known = [seq for seq in sorted(seen)[:-BEHIND] if seq > self._mark.get(process, -1)]
            if known:
                first = self._mark.get(process, -1) + 1
                frames += known[-1] - first + 1
                lost += known[-1] - first + 1 - len(known)
                walls += [float(seen[seq]["frame_wall"]) for seq in known]
        walls.sort()
        pauses = [b - a for a, b in pairwise(walls)]
        return Account(frames, lost, round(max(pauses, default=0.0), 2))

    def _events(self) -> dict[str, dict[int, dict[str, Any]]]:
        """By process, then by frame."""
        found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        for topic, message in list(self.made.observer.messages):
            if topic == f"{BASE}/event/door":
                found[message["id"].rpartition("-")[0]][message["data"]["frame_seq"]] = message["data"]
        return found

    def _newest(self) -> dict[str, int]:
        return {process: max(seen) for process, seen in self._events().items()}

    def _count(self, revision: int) -> int:
        return sum(data["revision"] == revision for seen in self._events().values() for data in seen.values())


def package_files(package: Path) -> dict[str, bytes]:
    return {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}


@contextlib.contextmanager
def at_work(
    directory: Path,
    package: Path,
    video: Path,
    *,
    before_start: Callable[[Rig], None] = lambda _made: None,
    **options: Any,
) -> Iterator[DeviceStand]:
    """A device with its first revision committed. `options` are those of `rig`."""
    limits = {"silent_s": 10.0, "stop_s": 5.0, "switch_deadline_s": 20.0, **options}
    with rig(directory, real=True, **limits) as made:
        made.children_script = [str(ROOT / "tests/fakes/faulty.py")]
        before_start(made)
        made.start()
        stand = DeviceStand(made, package, video)
        try:
            stand.commits()
            yield stand
        finally:
            print(made.log.read_text(errors="replace")[-6000:])
