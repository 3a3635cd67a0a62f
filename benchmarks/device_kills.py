"""SIGKILL of a whole device during its updates: the agent and all its children at once, at random moments.

Agent and broker are real. So are engine and pipeline in the benchmark: a small detector on a video at live pace, an event for every
frame. In the tests they are the processes of `tests/fakes/child.py`, which speak the real local messages and are back within a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks import scene
from tests.fakes.agent_rig import BASE, Rig, rig, until
from tests.fakes.update_tree import whole

ENDS = ("COMMITTED", "REJECTED", "ROLLED_BACK")
WAIT_S = 180.0
EVENTS_BEHIND = 20
"""Events that may still be on their way when the account is made up."""


@dataclass
class DeviceKills:
    """What came of them. `back_s`: from the start of the agent until its camera was streaming, after each kill."""

    seed: int
    kills: int = 0
    back_s: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    lost: int = 0
    events: int = 0
    rollback_s: float | None = None
    phases: Counter[str] = field(default_factory=Counter)


class Load(Protocol):
    """What a device works on. `update_s`: about how long one takes, its probation included."""

    update_s: float

    def parts(self, number: int) -> dict[str, Any]:
        """Of a desired state; each number brings another model than the one before."""

    def failing(self) -> dict[str, Any]:
        """The same with a workflow that does not hold on probation."""


class FakeLoad:
    """Children that only speak as the real ones do."""

    update_s = 2.0

    def __init__(self, made: Rig, _folder: Path) -> None:
        self._made = made
        self._models = [made.plane.add_model({"model.toml": tag}) for tag in (b"one", b"two", b"three")]
        self._workflow = made.plane.add_workflow({})

    def parts(self, number: int) -> dict[str, Any]:
        return self._parts(number, self._workflow, {"probation_s": 0.5, "starts": 100})

    def failing(self) -> dict[str, Any]:
        return self._parts(1, self._made.plane.add_workflow({"fake": {"blind": True}}), {"probation_s": 30.0})

    def _parts(self, number: int, workflow: str, update: dict[str, Any]) -> dict[str, Any]:
        model = self._models[number % len(self._models)]
        return self._made.one_camera(model, workflow, {"events_a_tick": 1}, update=update)


class RealLoad:
    """A detector on the video of people walking by; the packages differ in a file that says nothing."""

    update_s = 4.0

    def __init__(self, made: Rig, folder: Path) -> None:
        self._made = made
        package = scene.pack("nanodet_m_320", folder).directory
        files = {p.relative_to(package).as_posix(): p.read_bytes() for p in package.rglob("*") if p.is_file()}
        self._models = [
            made.plane.add_model({**files, "variant.txt": tag}) for tag in (b"one", b"two", b"three")
        ]
        self._workflow = json.loads(scene.WORKFLOW.read_bytes())

    def parts(self, number: int) -> dict[str, Any]:
        gates = {"min_frames": 5, "patience_s": 10, "off": ["empty-output", "latency", "frame-rate"]}
        update = {"shadow_s": 0, "probation_s": 0.5, "starts": 100, "gates": gates}
        return self._parts(number, self._workflow, update)

    def failing(self) -> dict[str, Any]:
        return self._parts(1, raising(self._workflow), {"shadow_s": 0, "probation_s": 30.0})

    def _parts(self, number: int, workflow: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
        return {
            "cameras": {"door": {"source": str(scene.video()), "pace": "realtime", "loop": True}},
            "models": {"m": {"digest": self._models[number % len(self._models)]}},
            "workflows": {"w": {"digest": self._made.plane.add_workflow(workflow)}},
            "pipelines": {
                "p": {
                    "camera": "door",
                    "workflow": "w",
                    "models": {scene.MODEL_ID: "m"},
                    "events": {"send": "every", "min_interval_s": 0},
                }
            },
            "settings": {"health_s": 1.0, "update": update},
        }


def raising(workflow: dict[str, Any]) -> dict[str, Any]:
    """The workflow with a step that fails on every frame: it asks for the length of a number."""
    length = [{"type": "ToNumber", "cast_to": "int"}, {"type": "SequenceLength"}]
    step = {
        "type": "roboflow_core/property_definition@v1",
        "name": "broken",
        "data": "$steps.count.output",
        "operations": length,
    }
    output = {"type": "JsonField", "name": "broken", "selector": "$steps.broken.output"}
    return {**workflow, "steps": [*workflow["steps"], step], "outputs": [*workflow["outputs"], output]}


def kill_devices(wanted: int, seed: int, *, real: bool = False) -> DeviceKills:
    """Kill a device so often, then have it roll back once without a network."""
    limits = {"silent_s": 10.0, "switch_deadline_s": 20.0} if real else {}
    with (
        tempfile.TemporaryDirectory(prefix="devices-") as folder,
        rig(Path(folder), real=real, **limits) as made,
    ):
        load: Load = RealLoad(made, Path(folder)) if real else FakeLoad(made, Path(folder))
        series = _Series(made, load, seed)
        series.run(wanted)
        return series.done


class _Series:
    def __init__(self, made: Rig, load: Load, seed: int) -> None:
        self._made = made
        self._load = load
        self._dice = random.Random(seed)
        self._revision = 0
        self.done = DeviceKills(seed)

    def run(self, wanted: int) -> None:
        made = self._made
        made.start()
        self._push(self._load.parts(0))
        made.observer.reported("COMMITTED", 1, WAIT_S)
        while self.done.kills < wanted:
            self._push(self._load.parts(self._revision))
            time.sleep(self._dice.uniform(0.0, self._load.update_s))
            self._kill()
        self._look_at_events()
        self.done.rollback_s = self._roll_back()

    def _push(self, parts: dict[str, Any]) -> None:
        self._revision += 1
        self._made.push(self._revision, **parts)

    def _kill(self) -> None:
        made = self._made
        with contextlib.suppress(Exception):
            self.done.phases[made.status()["reported"]["phase"]] += 1
        victims = [*made.children(""), made.pid]
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        made.kill()
        self.done.kills += 1
        try:
            whole(made.state_dir)
            started_mono = time.monotonic()
            made.start()
            until(self._streams, WAIT_S)
            self.done.back_s.append(round(time.monotonic() - started_mono, 2))
            until(self._is_well, WAIT_S)
            whole(made.state_dir)
        except AssertionError as e:
            self.done.broken.append(f"kill {self.done.kills}, seed {self.done.seed}: {e}")

    def _streams(self) -> bool:
        camera = self._made.status()["health"]["cameras"].get("door", {})
        return camera.get("state") == "streaming" and bool(camera.get("pid"))

    def _is_well(self) -> bool:
        """A committed revision runs, the newest one has come to its end, and the camera gives results again."""
        status = self._made.status()
        reported, camera = status["reported"], status["health"]["cameras"].get("door", {})
        ended = reported["phase"] in ENDS and reported["offered"] == self._revision
        runs = reported["revision"] > 0 and camera.get("state") == "streaming" and camera.get("pid")
        return bool(ended and runs and reported["pipelines"]["p"]["state"] == "ok")

    def _look_at_events(self) -> None:
        """Events of one pipeline process are numbered from 1: what was acknowledged leaves no hole. Twice the same id is once."""
        until(lambda: self._made.status()["health"]["outbox"]["rows"] < EVENTS_BEHIND, WAIT_S)
        heard: dict[str, set[int]] = defaultdict(set)
        for topic, message in list(self._made.observer.messages):
            if topic == f"{BASE}/event/door":
                process, _, number = message["id"].rpartition("-")
                heard[process].add(int(number))
        self.done.events = sum(len(numbers) for numbers in heard.values())
        self.done.lost = sum(max(numbers) - len(numbers) for numbers in heard.values())

    def _roll_back(self) -> float:
        """How long the way back takes without a network, from the verdict on."""
        made = self._made
        self._push(self._load.failing())
        made.observer.reported("PREPARE", self._revision, WAIT_S)
        made.broker.kill()
        until(lambda: made.status()["reported"]["phase"] == "ROLLED_BACK", WAIT_S)
        arrows: list[dict[str, Any]] = [
            entry for entry in made.get("/recorder").json() if entry.get("revision") == self._revision
        ]
        at = {entry["phase"]: entry["mono"] for entry in arrows if entry["kind"] == "update"}
        return round(at["ROLLED_BACK"] - at["ROLLING_BACK"], 3)
