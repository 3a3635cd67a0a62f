"""SIGKILL of a whole device during its updates: the agent and all its children at once, at random moments.

The agent is the real one, with a real broker; engine and pipeline are the processes of `tests/fakes/child.py`, which speak the real
local messages, so that a device is back within a second and is killed often.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fakes.agent_rig import BASE, Rig, rig, until
from tests.fakes.update_tree import whole

ENDS = ("COMMITTED", "REJECTED", "ROLLED_BACK")
UPDATE_S = 2.0
"""About as long as an update takes here, its probation included."""


@dataclass
class DeviceKills:
    seed: int
    kills: int = 0
    broken: list[str] = field(default_factory=list)
    lost: int = 0
    events: int = 0
    rollback_s: float | None = None
    phases: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def kill_devices(wanted: int, seed: int) -> DeviceKills:
    """Kill a device so often, then have it roll back once without a network."""
    with tempfile.TemporaryDirectory(prefix="devices-") as folder, rig(Path(folder)) as made:
        series = _Series(made, seed)
        series.run(wanted)
        return series.done


class _Series:
    def __init__(self, made: Rig, seed: int) -> None:
        self._made = made
        self._dice = random.Random(seed)
        self._models = [made.plane.add_model({"model.toml": tag}) for tag in (b"one", b"two", b"three")]
        self._workflow = made.plane.add_workflow({})
        self._revision = 0
        self.done = DeviceKills(seed)

    def run(self, wanted: int) -> None:
        made = self._made
        made.start()
        self._push(self._workflow)
        made.observer.reported("COMMITTED", 1, 60.0)
        while self.done.kills < wanted:
            self._push(self._workflow)
            time.sleep(self._dice.uniform(0.0, UPDATE_S))
            self._kill()
        self._look_at_events()
        self.done.rollback_s = self._roll_back()

    def _push(self, workflow: str, probation_s: float = 0.5) -> None:
        self._revision += 1
        model = self._models[self._revision % len(self._models)]
        parts = self._made.one_camera(
            model, workflow, {"events_a_tick": 1}, update={"probation_s": probation_s, "starts": 100}
        )
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
            made.start()
            until(self._is_well, 60.0)
            whole(made.state_dir)
        except AssertionError as e:
            self.done.broken.append(f"kill {self.done.kills}, seed {self.done.seed}: {e}")

    def _is_well(self) -> bool:
        """A committed revision runs, the newest one has come to its end, and the camera gives results again."""
        status = self._made.status()
        reported, camera = status["reported"], status["health"]["cameras"].get("door", {})
        ended = reported["phase"] in ENDS and reported["offered"] == self._revision
        runs = reported["revision"] > 0 and camera.get("state") == "streaming" and camera.get("pid")
        return bool(ended and runs and reported["pipelines"]["p"]["state"] == "ok")

    def _look_at_events(self) -> None:
        """Events of one pipeline process are numbered from 1: what was acknowledged leaves no hole. Twice the same id is once."""
        until(lambda: self._made.status()["health"]["outbox"]["rows"] < 20, 60.0)
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
        self._push(made.plane.add_workflow({"fake": {"blind": True}}), probation_s=30.0)
        made.observer.reported("PREPARE", self._revision, 30.0)
        made.broker.kill()
        until(lambda: made.status()["reported"]["phase"] == "ROLLED_BACK", 60.0)
        arrows: list[dict[str, Any]] = [
            entry for entry in made.get("/recorder").json() if entry.get("revision") == self._revision
        ]
        at = {entry["phase"]: entry["mono"] for entry in arrows if entry["kind"] == "update"}
        return round(at["ROLLED_BACK"] - at["ROLLING_BACK"], 3)
