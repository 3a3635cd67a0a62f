"""The demo's story: set the stage, watch, swap when asked, and say at the end what was seen."""

from __future__ import annotations

import contextlib
import json
import select
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outrider.demo import telling
from outrider.demo.caps import LINE_X_PX
from outrider.demo.cast import Cast
from outrider.demo.judge import counted_crossings, judge, true_crossings
from outrider.demo.processes import DemoFailed
from outrider.demo.recorder import Recorder
from outrider.demo.stage import Stage
from wire.redact import redact

CAMERA = "camera"
SWAP_DEADLINE_S = 120.0
EVENTS_DEADLINE_S = 10.0
UPDATE = {"shadow_s": 6, "shadow_frames": 15, "probation_s": 3, "gates": {"min_frames": 75, "patience_s": 20}}
"""Shorter than a device in the field would have it, so that a minute shows all of it."""
TOLD = {
    "PREPARE": "prepared beside the model at work",
    "SHADOW": "compared with it on the same pictures",
    "PROBATION": "at work, on probation: the former model looks on",
}
"""Phases that are told as they come."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """When to do what, in seconds: `duration_s` 0 means until Ctrl-C or the end of the file, `swap_after_s` 0 only when asked."""

    duration_s: float = 0.0
    swap_after_s: float = 0.0


@dataclass
class Summary:
    """What the demo saw: one entry in `swaps` for each swap, in `shadows` for each comparison before one, the books of the camera at
    the end, and the newest health document that the control plane has."""

    swaps: list[dict[str, Any]] = field(default_factory=list)
    shadows: list[dict[str, Any]] = field(default_factory=list)
    camera: dict[str, Any] = field(default_factory=dict)
    health: dict[str, Any] = field(default_factory=dict)
    start_s: float = 0.0
    judgement: dict[str, Any] | None = None


@dataclass
class Awaited:
    """A revision that was pushed, none where it is 0; when, and the phase that was told last."""

    revision: int = 0
    since_mono: float = 0.0
    phase: str = ""


class Story:
    """Runs the demo on a stage. `say` prints a line."""

    def __init__(self, stage: Stage, cast: Cast, wishes: Wishes, say: Say) -> None:
        self._stage = stage
        self._cast = cast
        self._wishes = wishes
        self._say = say
        self._current = 0
        self._registered: list[str] = []
        self._awaited = Awaited()
        self.summary = Summary()

    def set_up(self) -> None:
        """Bring everything up to the first result.

        :raises DemoFailed: something cannot be had; the message says what and why
        """
        started_mono = time.monotonic()
        stage, cast = self._stage, self._cast
        self._say("starting the control plane and its broker …")
        stage.start_plane()
        self._say(
            f"control plane at {stage.plane['url']}, {stage.plane['broker']} at port {stage.plane['broker_port']}"
        )
        stage.enrol()
        stage.start_agent()
        self._say(f"agent {stage.device!r} is enrolled and runs")
        self._registered = [
            stage.api.upload_model(v.directory, name=f"demo-{v.name}")["name"] for v in cast.versions
        ]
        stage.api.upload_workflow(cast.workflow, name="demo")
        self._taken(stage.await_outcome(stage.push(self._document()), SWAP_DEADLINE_S))
        stage.wait("the first result", self._first_result)
        self.summary.start_s = round(time.monotonic() - started_mono, 1)
        self._say(f"first result after {self.summary.start_s} s; the picture: {stage.agent_url}/")

    def watch(self) -> None:
        """A line a second until the time is over or Ctrl-C; Enter swaps."""
        wishes = self._wishes
        began_mono = time.monotonic()
        swapped = False
        if sys.stdin.isatty():
            self._say("Enter swaps the model, Ctrl-C ends.")
        for key in _seconds():
            elapsed_s = time.monotonic() - began_mono
            self._stage.processes.check()
            self._say(self._line(elapsed_s))
            due = 0 < wishes.swap_after_s <= elapsed_s and not swapped
            if self._awaited.revision:
                self._look_for_outcome()
            elif key or due:
                swapped = True
                self._swap()
            if 0 < wishes.duration_s <= elapsed_s or self._camera().get("state") == "ended":
                return

    @contextlib.contextmanager
    def recording(self, path: Path) -> Iterator[None]:
        """Write the annotated picture to a video file meanwhile.

        :raises DemoFailed: the folder does not exist
        """
        recorder = Recorder(path, lambda: self._stage.picture(CAMERA))
        recorder.start()
        try:
            yield
        finally:
            recorder.stop()
            self._say(f"{recorder.frames} pictures are in {path}")

    def close(self) -> None:
        """Take the last look at the camera's books, and at what the versions found where the truth is known."""
        self.summary.camera = self._camera()
        self.summary.health = self._stage.health()
        if self._cast.truth is not None and self.summary.camera:
            self.summary.judgement = self._judge(json.loads(self._cast.truth.read_text()))

    # --- parts --------------------------------------------------------------------------------------------------------

    def _taken(self, reported: dict[str, Any]) -> None:
        """:raises DemoFailed: the device has refused it"""
        if reported["phase"] in ("REJECTED", "ROLLED_BACK"):
            raise DemoFailed(
                f"the device refused revision {reported['offered']}: {reported.get('reason')}: {reported.get('message')}"
            )

    def _camera(self) -> dict[str, Any]:
        return dict(self._stage.cameras().get(CAMERA) or {})

    def _document(self) -> dict[str, Any]:
        cast = self._cast
        camera = {"source": cast.source, "loop": cast.loop, **({"pace": cast.pace} if cast.pace else {})}
        return {
            "cameras": {CAMERA: camera},
            "models": {"demo": {"model": self._registered[self._current]}},
            "workflows": {"demo": {"workflow": "demo"}},
            "pipelines": {
                CAMERA: {
                    "camera": CAMERA,
                    "workflow": "demo",
                    "models": {cast.model_id: "demo"},
                    "events": {"send": cast.send, "min_interval_s": 0 if cast.send == "every" else 1},
                }
            },
            "settings": {"health_s": 5, "update": UPDATE},
        }

    def _judge(self, truth: dict[str, Any]) -> dict[str, Any]:
        events = self._events()
        switch = self.summary.swaps[0]["first_frame_new"] if self.summary.swaps else None
        last = max((event["frame_seq"] for event in events), default=0)
        counted = counted_crossings(events, self._cast.model_id)
        return judge(true_crossings(truth, LINE_X_PX), counted, last, switch).to_json()

    def _events(self) -> list[dict[str, Any]]:
        """The bodies of all events the control plane has, once the newest of the camera has arrived there."""
        expected = self.summary.camera.get("events", 0)
        bodies: list[dict[str, Any]] = []
        cursor = 0
        deadline_mono = time.monotonic() + EVENTS_DEADLINE_S
        while len(bodies) < expected and time.monotonic() < deadline_mono:
            page, cursor = self._stage.api.events(self._stage.device, after=cursor, limit=1000)
            bodies += [event["data"] for event in page]
            if not page:
                time.sleep(0.2)
        return bodies

    def _first_result(self) -> dict[str, Any] | None:
        camera = self._camera()
        if camera.get("results"):
            return camera
        blind = camera.get("blind_now") or {}
        if blind.get("cause") == "camera-unreachable" and blind.get("for_s", 0) > 20:
            raise DemoFailed(
                f"the camera {redact(self._cast.source)!r} cannot be opened; check the address, or give a file"
            )
        return None

    def _swap(self) -> None:
        self._current = 1 - self._current
        self._say(f"swapping to {self._cast.versions[self._current].words} …")
        self._awaited = Awaited(self._stage.push(self._document()), time.monotonic())

    def _look_for_outcome(self) -> None:
        """Tell the phases of the update as they come, and what it came to."""
        awaited, reported = self._awaited, self._stage.reported()
        phase = reported.get("phase", "") if reported.get("offered") == awaited.revision else ""
        if phase in TOLD and phase != awaited.phase:
            self._say(f"  {TOLD[phase]}")
        awaited.phase = phase
        if (outcome := self._stage.outcome(awaited.revision)) is not None:
            self._awaited = Awaited()
            self._taken(outcome)
            self._note_swap(outcome, round(time.monotonic() - awaited.since_mono, 2))
        elif time.monotonic() - awaited.since_mono > SWAP_DEADLINE_S:
            raise DemoFailed(
                f"revision {awaited.revision} was neither taken nor refused in {SWAP_DEADLINE_S:.0f} s"
            )

    def _note_swap(self, reported: dict[str, Any], took_s: float) -> None:
        shadow = telling.shadow(((reported.get("update") or {}).get("phases") or {}).get("shadow") or {})
        self.summary.shadows.append(shadow)
        self._say(telling.shadowed(shadow))
        for figures in reported.get("swaps", ()):
            entry = {**figures, "took_s": took_s}
            self.summary.swaps.append(entry)
            self._say(
                f"swapped in {entry['took_s']} s: frames lost {entry['frames_lost']}, gap {entry['gap_ms']} ms, longest gap "
                f"meanwhile {entry['longest_gap_ms']} ms, frame period {entry['frame_period_ms']} ms"
            )

    def _line(self, elapsed_s: float) -> str:
        cast = self._cast
        return telling.line(elapsed_s, self._camera(), cast.shown, cast.versions[self._current].words)

    def report(self) -> str:
        """The summary as text."""
        summary = self.summary
        words = [version.words for version in self._cast.versions]
        return telling.report(
            summary.camera, summary.swaps, summary.shadows, summary.health, summary.judgement, words
        )


def _seconds() -> Iterator[bool]:
    """Once a second; true where the user has pressed Enter meanwhile."""
    interactive = sys.stdin.isatty()
    while True:
        pressed = False
        end_mono = time.monotonic() + 1.0
        while (left_s := end_mono - time.monotonic()) > 0:
            if not interactive:
                time.sleep(left_s)
                break
            if select.select([sys.stdin], [], [], left_s)[0]:
                sys.stdin.readline()
                pressed = True
                break
        yield pressed
