"""The gates of an update, held against planted truth: how often an identical model is sent back, and how soon each fault is caught.

The scene is real: results and latencies of real detectors on real videos, recorded once. A swap draws its minutes from such a
recording, window by window (5 to 30 s, in random order), so that frames stay as correlated as they are. An identical model's
minutes come from the same recording. A fault changes the results, latencies or processes of the minutes after the swap. What
other programs took of the processor meanwhile counts as it does on a device. Each swap is judged twice: by the former model's
answers about the same pictures, and, as where memory does not allow that, by the baseline alone.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from agent.judgement.baseline import Baseline
from agent.judgement.blocks import BLOCK_S, Block, between, joined
from agent.judgement.evidence import Evidence, Machine, Memory, of_witness
from agent.judgement.gates import measure as measures
from agent.judgement.verdict import Judge
from agent.jury import PAIRED_S
from agent.observer import MachineBook
from benchmarks import report, scene
from benchmarks.rig import assets
from runtime.pipeline.likeness import LikenessBook
from runtime.pipeline.sight import SightBook
from runtime.results import Result
from wire.gates import Gates
from wire.local import Sight

SWAPS = 1000
FAULTS_EACH = 40
BASELINE_S = 300
BASELINES = 25
"""Drawn of each recording; each serves several swaps."""
PROBATION_S = 60
WITNESS_PER_S = 5
CPU_RUNS = 50
TICKS = os.sysconf("SC_CLK_TCK")
VIDEOS = ("one-by-one-person-detection.mp4", "vtest.avi", "bottle-detection.mp4")
MAX_FRAMES = 900
LEAK_BYTES = 1024 * 1024
ENGINE_BYTES = 100 * 1024 * 1024
LIMITS = Gates(drift="roll-back")
"""The strictest reading: what is only told by default counts as a false alarm, and as caught, too."""


@dataclass(frozen=True)
class Shot:
    """One frame: the model's result, None where it gave no answer, and the time from capture to result. `cpu_s`: what its run took
    of the processor; `again_s`: what the same took in a second process right afterwards."""

    result: Result | None
    latency_s: float
    cpu_s: float = 0.0
    again_s: float = 0.0


@dataclass(frozen=True)
class Recording:
    """A model's results on a whole video. `foreign_cpu`: share of the processor that other programs took meanwhile."""

    name: str
    fps: int
    shots: list[Shot]
    foreign_cpu: float = 0.0


Fault = Callable[[Shot, int], Shot]


@dataclass
class Outcome:
    """What became of a swap: the gate that sent it back and at which frame; gates that warned, with the first frame each."""

    gate: str = ""
    frame: int = 0
    warned: dict[str, int] = field(default_factory=dict)


class Runner:
    """A model in a process of its own, as engines are."""

    def __init__(self, package: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, package), daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0

    def run(self, image: Any) -> tuple[Result, float, float]:
        """The result, and what it took in seconds: by the clock, and of the processor."""
        self._line.send(image)
        answer: tuple[Result, float, float] = self._line.recv()
        return answer

    def close(self) -> None:
        self._line.send(None)
        self._process.join(10)


def _serve(line: Any, package: Path) -> None:
    import outrider

    model = outrider.load(package)
    while (image := line.recv()) is not None:
        started, cpu_s = time.perf_counter(), time.process_time()
        result = model.predict(image)
        line.send((result, time.perf_counter() - started, time.process_time() - cpu_s))


def record(package: Path, video: Path) -> Recording:
    """Ask the model about every frame of a video, or of its beginning."""
    import cv2

    model, second = Runner(package), Runner(package)
    capture = cv2.VideoCapture(str(video))
    fps = max(1, round(capture.get(cv2.CAP_PROP_FPS)))
    shots: list[Shot] = []
    machine = MachineBook()
    while len(shots) < MAX_FRAMES:
        machine.read([os.getpid(), model.pid, second.pid], time.monotonic())
        ok, image = capture.read()
        if not ok:
            break
        result, latency_s, cpu_s = model.run(image)
        shots.append(Shot(result, latency_s, cpu_s, second.run(image)[2]))
    capture.release()
    model.close()
    second.close()
    return Recording(f"{package.name} on {video.name}", fps, shots, machine.foreign_cpu)


def stream(recording: Recording, rng: random.Random) -> Iterator[Shot]:
    """Frames without end: windows of the recording in random order."""
    shots, fps = recording.shots, recording.fps
    while True:
        length = min(len(shots), rng.randint(5 * fps, 30 * fps))
        first = rng.randrange(len(shots) - length + 1)
        yield from shots[first : first + length]


def seconds(shots: Iterator[Shot], fps: int, count: int) -> Iterator[tuple[Block, list[Shot]]]:
    """One block a second, as the agent makes them of what a pipeline tells, with the frames in it."""
    book = SightBook()
    before: Sight | None = None
    for _ in range(count):
        seen = [next(shots) for _ in range(fps)]
        for shot in seen:
            if shot.result is None:
                book.unanswered("model-nan")
            else:
                book.result([shot.result], shot.latency_s)
        now = book.told()
        yield between(before, now, 1.0, fps), seen
        before = now


def baseline(recording: Recording, rng: random.Random) -> Baseline:
    """Minutes of the former model."""
    blocks = [block for block, _ in seconds(stream(recording, rng), recording.fps, BASELINE_S)]
    size = int(BLOCK_S)
    return Baseline(tuple(joined(blocks[i : i + size]) for i in range(0, len(blocks), size)))


class Stand:
    """A recording with some minutes of the former model drawn from it."""

    def __init__(self, recording: Recording, rng: random.Random) -> None:
        self.recording = recording
        self.run_cpu_ms = 1000.0 * statistics.mean(shot.cpu_s for shot in recording.shots)
        self._baselines = [baseline(recording, rng) for _ in range(BASELINES)]

    def baseline(self, rng: random.Random) -> Baseline:
        return rng.choice(self._baselines)


def swap(
    stand: Stand,
    rng: random.Random,
    fault: Fault | None,
    *,
    witness: bool,
    crash_at: int = 0,
    leak: bool = False,
) -> Outcome:
    """One swap, judged once a second for as long as the probation lasts."""
    recording, before = stand.recording, stand.baseline(rng)
    truth = stream(recording, rng)
    seen_by_former: list[Shot] = []
    shots = _faulty(truth, fault, seen_by_former)
    blocks: list[Block] = []
    runs_s: list[float] = []
    again_s: list[float] = []
    book, judge, outcome = LikenessBook("detection"), Judge(), Outcome()
    every = max(1, recording.fps // WITNESS_PER_S)
    for second, (block, seen) in enumerate(seconds(shots, recording.fps, PROBATION_S), 1):
        blocks.append(block)
        frame = second * recording.fps
        runs_s += [shot.cpu_s for shot in seen]
        if witness:
            for new, former in list(zip(seen, seen_by_former, strict=True))[::every]:
                again_s.append(former.again_s)
                if new.result is not None and former.result is not None:
                    book.add(new.result, former.result, 0.01)
        seen_by_former.clear()
        grown = [ENGINE_BYTES + (LEAK_BYTES * recording.fps * s if leak else 0) for s in range(second)]
        evidence = Evidence(
            tuple(blocks),
            {"m": of_witness(book.told())} if witness else {},
            int(bool(crash_at) and frame >= crash_at),
            {"e": Memory(tuple(grown[3:]))},
            machine=Machine(foreign_cpu_before=recording.foreign_cpu, foreign_cpu=recording.foreign_cpu),
            run_cpu_ms=_cpu_ms(runs_s),
            former_run_cpu_ms=stand.run_cpu_ms,
            witness_cpu_ms=_cpu_ms(again_s) if second >= PAIRED_S else None,
        )
        breach = judge.look("camera", measures(evidence, before, LIMITS), float(second))
        for warning in judge.warnings:
            outcome.warned.setdefault(warning.gate, frame)
        if breach is not None:
            return replace(outcome, gate=breach.gate, frame=frame)
    return outcome


def _cpu_ms(runs_s: list[float]) -> float | None:
    """As `agent.observer.EngineBook` has it: of the newest fifty runs, by the clock's ticks."""
    if len(runs_s) < CPU_RUNS:
        return None
    return 1000.0 * round(sum(runs_s[-CPU_RUNS:]) * TICKS) / TICKS / CPU_RUNS


def _faulty(truth: Iterator[Shot], fault: Fault | None, former: list[Shot]) -> Iterator[Shot]:
    for number, shot in enumerate(truth):
        former.append(shot)
        yield shot if fault is None else fault(shot, number)


# --- planted faults -------------------------------------------------------------------------------------------------------


def nothing(shot: Shot, _number: int) -> Shot:
    assert shot.result is not None
    return replace(shot, result=shot.result.select(np.zeros(0, np.intp)))


def not_a_number(shot: Shot, _number: int) -> Shot:
    return replace(shot, result=None)


def slower(times: float) -> Fault:
    return lambda shot, _number: replace(shot, latency_s=shot.latency_s * times, cpu_s=shot.cpu_s * times)


def less_sure(shot: Shot, _number: int) -> Shot:
    """Confidence lower by 0.2; what falls below 0.2 is not reported."""
    assert shot.result is not None
    scores = shot.result.scores - np.float32(0.2)
    return replace(shot, result=replace(shot.result, scores=scores).select(scores >= 0.2))


def without(name: str) -> Fault:
    def fault(shot: Shot, _number: int) -> Shot:
        assert shot.result is not None
        keep = np.array([each != name for each in shot.result.class_names], bool)
        return replace(shot, result=shot.result.select(keep))

    return fault


def second_class(recording: Recording) -> str:
    """The second most frequent class where it is at least a tenth of all, else the most frequent one."""
    counts: dict[str, int] = {}
    for shot in recording.shots:
        for name in shot.result.class_names if shot.result else ():
            counts[name] = counts.get(name, 0) + 1
    ranked = sorted(counts, key=lambda name: -counts[name])
    if len(ranked) > 1 and counts[ranked[1]] * 10 >= sum(counts.values()):
        return ranked[1]
    return ranked[0] if ranked else ""


def planted(recording: Recording) -> dict[str, dict[str, Any]]:
    return {
        "finds nothing": {"fault": nothing},
        "latency doubled": {"fault": slower(2.0)},
        "40 % slower": {"fault": slower(1.4)},
        "not a number": {"fault": not_a_number},
        "confidence shifted": {"fault": less_sure},
        "one class missing": {"fault": without(second_class(recording))},
        "crash at frame 100": {"fault": None, "crash_at": 100},
        "leaks 1 MiB a frame": {"fault": None, "leak": True},
    }


# --- measuring ------------------------------------------------------------------------------------------------------------


def recordings() -> Iterator[Recording]:
    with tempfile.TemporaryDirectory() as folder:
        for package in [scene.pack(name, Path(folder)) for name in scene.DETECTORS]:
            for video in VIDEOS:
                yield record(package.directory, assets() / "video" / video)


def false_alarms(found: list[Stand], swaps: int, seed: int, *, witness: bool) -> dict[str, Any]:
    """Swaps to an identical model that were sent back, and that were warned of, by gate; per 1,000."""
    rng = random.Random(seed)
    outcomes = [swap(found[n % len(found)], rng, None, witness=witness) for n in range(swaps)]
    back = _counts(outcome.gate for outcome in outcomes if outcome.gate)
    warned = _counts(gate for outcome in outcomes for gate in outcome.warned)
    return {
        "swaps": swaps,
        "sent_back": round(1000.0 * sum(back.values()) / swaps, 2),
        "warned": round(1000.0 * sum(bool(outcome.warned) for outcome in outcomes) / swaps, 2),
        "sent_back_by": back,
        "warned_by": warned,
    }


def frames_to_catch(found: list[Stand], each: int, seed: int, *, witness: bool) -> dict[str, Any]:
    """For each fault: the share that was caught within the probation, and after how many frames: half of them, and 95 of 100."""
    rng = random.Random(seed)
    told = {}
    for name in planted(found[0].recording):
        trials = [
            swap(
                found[n % len(found)], rng, **planted(found[n % len(found)].recording)[name], witness=witness
            )
            for n in range(each)
        ]
        frames = sorted(f for trial in trials if (f := trial.frame or min(trial.warned.values(), default=0)))
        told[name] = {
            "caught": round(len(frames) / each, 3),
            "sent_back": round(sum(bool(trial.gate) for trial in trials) / each, 3),
            "frames_median": statistics.median(frames) if frames else None,
            "frames_p95": frames[min(len(frames) - 1, int(0.95 * len(frames)))] if frames else None,
            "gates": _counts(trial.gate or "+".join(sorted(trial.warned)) for trial in trials),
        }
    return told


def _counts(names: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts


def _say(words: str) -> None:
    """How far it is, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def measure(swaps: int = SWAPS, each: int = FAULTS_EACH, seed: int = 8) -> dict[str, Any]:
    """False alarms per 1,000 identical swaps, and frames until each planted fault is caught."""
    rng = random.Random(seed)
    found = []
    for recording in recordings():
        found.append(Stand(recording, rng))
        _say(f"{recording.name}: {len(recording.shots)} frames, and {BASELINES} baselines of them")
    paired = false_alarms(found, swaps, seed, witness=True)
    _say(f"identical, with the former model: {paired}")
    alone = false_alarms(found, swaps, seed, witness=False)
    _say(f"identical, baseline only: {alone}")
    return {
        "false_alarms": paired["sent_back"],
        "false_alarms_baseline_only": alone["sent_back"],
        "identical": {"with the former model": paired, "baseline only": alone},
        "frames_to_catch": {
            "with the former model": frames_to_catch(found, each, seed, witness=True),
            "baseline only": frames_to_catch(found, each, seed, witness=False),
        },
        "recordings": [
            {
                "name": stand.recording.name,
                "fps": stand.recording.fps,
                "frames": len(stand.recording.shots),
                "foreign_cpu": round(stand.recording.foreign_cpu, 2),
            }
            for stand in found
        ],
    }


if __name__ == "__main__":
    budgets = {"false_alarms": "<= 10", "false_alarms_baseline_only": "<= 10"}
    report.run(measure, budgets, swaps=SWAPS, each=FAULTS_EACH, seed=8)
