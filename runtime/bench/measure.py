"""The benchmark itself: an engine process, camera processes around it, and what they measured."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.bench import energy, hardware
from runtime.bench.engine import EngineProcess
from runtime.bench.plan import Plan, Subject
from runtime.errors import Refused, Transient
from runtime.model import package
from runtime.results import Image
from wire.reasons import Reason

SCHEMA = 1
_ENGINE_KEYS = (
    "engine", "version", "provider", "device", "precision", "threads", "runs_at_once", "splits",
)  # fmt: skip
CAMERA_START_S = 60.0
OVERTIME_S = 60.0
IN_FLIGHT = 2
"""Requests of a camera at a time, as a pipeline has them."""
_ROOT = Path("/")

Tell = Callable[[str, int, int], None]
"""Told what is being measured, and how many measurements are done, of how many."""


@dataclass(frozen=True)
class Step:
    """One measurement. `energy_j`: by what was metered; `engine_cpu_s`: of the engine process."""

    images: int
    unanswered: int
    cause: str
    taken_s: float
    latencies_ms: Sequence[float]
    engine_cpu_s: float
    energy_j: dict[str, float]

    def latency(self) -> dict[str, float | int | None]:
        """Percentiles, and of how many requests."""
        marks = dict.fromkeys(("p50", "p95", "p99"))
        values: dict[str, float | int | None] = dict(marks)
        if len(self.latencies_ms):
            for name in marks:
                values[name] = round(float(np.percentile(self.latencies_ms, float(name[1:]))), 3)
        return {**values, "requests": len(self.latencies_ms)}

    def rate(self) -> float:
        return round(self.images / self.taken_s, 2) if self.taken_s > 0 else 0.0


class Bench:
    """One model, one engine. `run` takes as long as the plan says and somewhat more."""

    def __init__(self, subject: Subject, plan: Plan, tell: Tell) -> None:
        self._subject = subject
        self._plan = plan
        self._tell = tell
        self._done = 0

    def run(self) -> dict[str, Any]:
        """The figures, in the form of `wire.bench.BenchFigures`.

        :raises RuntimeFault: the model is refused, the engine ends, a camera gets no answer
        """
        spec = package.read(self._subject.directory)
        nvml = hardware.open_nvml(_ROOT)
        meters, no_energy = energy.meters(_ROOT, nvml)
        load_before = os.getloadavg()[0]
        try:
            with tempfile.TemporaryDirectory(prefix="or-bench-") as folder:
                frame, content = _frame(self._subject.directory, spec, self._plan)
                np.save(Path(folder) / "frame.npy", frame)
                with EngineProcess(self._subject, self._plan, Path(folder)) as engine:
                    self._tell("loading", 0, self._plan.steps)
                    up = engine.await_up(
                        self._plan.load_deadline_s, lambda phase: self._tell(phase, 0, self._plan.steps)
                    )
                    measured = self._measure(engine, Path(folder), meters)
                    gpu_bytes, no_gpu = hardware.gpu_memory_bytes(nvml, engine.pid)
                    rss, peak = engine.rss_bytes()
            machine = hardware.describe(_ROOT, nvml)
        finally:
            for meter in meters:
                meter.close()
            if nvml is not None:
                nvml.nvmlShutdown()
        (info,) = up.info.values()
        steps, metered = measured
        return {
            "schema": SCHEMA,
            "model": spec.name,
            "digest": self._subject.digest,
            "family": spec.family,
            "task": spec.task.value,
            "input": [spec.input.width, spec.input.height],
            "hardware": machine,
            "engine": {key: info[key] for key in _ENGINE_KEYS if key in info},
            "frame": {"width": self._plan.frame_wh[0], "height": self._plan.frame_wh[1], "content": content},
            "load_s": round(up.load_s + up.warm_s + up.check_s, 3),
            "load_1m_before": round(load_before, 2),
            "seconds": self._plan.seconds,
            "memory": {
                "rss_bytes": rss,
                "peak_rss_bytes": peak,
                "gpu_bytes": gpu_bytes,
                "gpu_reason": no_gpu,
            },
            "notes": self._notes(spec.input.batch, load_before),
            **steps,
            "energy": _energy(metered, no_energy),
        }

    def _measure(
        self, engine: EngineProcess, folder: Path, meters: Sequence[energy.EnergyMeter]
    ) -> tuple[dict[str, Any], Step]:
        """The figures by batch and by cameras, and the step whose energy is told."""
        single = self._step(engine, folder, meters, "latency", cameras=1, batch=1, in_flight=1)
        batches, cameras = [], []
        for batch in self._plan.batches:
            what = f"batch {batch}"
            step = (
                single
                if batch == 1
                else self._step(engine, folder, meters, what, cameras=1, batch=batch, in_flight=1)
            )
            if batch == 1:
                self._advance(what)
            batches.append({"batch": batch, "images_per_s": step.rate(), "latency_ms": step.latency()})
        first: Step | None = None
        for count in self._plan.cameras:
            step = self._step(
                engine, folder, meters, f"{count} cameras", cameras=count, batch=1, in_flight=IN_FLIGHT
            )
            first = first or step
            cameras.append(
                {
                    "cameras": count,
                    "frames_per_s": step.rate(),
                    "latency_ms": step.latency(),
                    "engine_cpu_ms_per_frame": round(1000.0 * step.engine_cpu_s / step.images, 3)
                    if step.images
                    else None,
                }
            )
        figures = {"latency_ms": single.latency(), "batches": batches, "cameras": cameras}
        return figures, first or single

    def _advance(self, what: str) -> None:
        self._done += 1
        self._tell(what, self._done, self._plan.steps)

    def _notes(self, batch: int | None, load_before: float) -> list[str]:
        notes = []
        if batch is not None and any(b > batch for b in self._plan.batches):
            notes.append(
                f"the graph has a fixed batch of {batch}: larger requests are run in parts of {batch}"
            )
        if load_before > 0.3 * (os.cpu_count() or 1):
            notes.append(f"the machine was not idle: load {load_before:.1f} before the start")
        return notes

    def _step(
        self,
        engine: EngineProcess,
        folder: Path,
        meters: Sequence[energy.EnergyMeter],
        what: str,
        *,
        cameras: int,
        batch: int,
        in_flight: int,
    ) -> Step:
        self._tell(what, self._done, self._plan.steps)
        order = {
            "socket": engine.socket,
            "digest": self._subject.digest,
            "frame": str(folder / "frame.npy"),
            "batch": batch,
            "in_flight": in_flight,
            "seconds": self._plan.seconds,
        }
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(_camera(order)) for _ in range(cameras)]
            for child in children:
                _expect(child, CAMERA_START_S, engine)
            joules = [meter.joules() for meter in meters]
            cpu_s = engine.cpu_s()
            for child in children:
                assert child.stdin is not None, "it is a pipe"
                child.stdin.write("go\n")
                child.stdin.flush()
            told = [_expect(child, self._plan.seconds + OVERTIME_S, engine) for child in children]
            cpu_s = engine.cpu_s() - cpu_s
            spent = {m.covers: m.joules() - before for m, before in zip(meters, joules, strict=True)}
        self._advance(what)
        return _merged(told, cpu_s, spent)


def _merged(told: Sequence[dict[str, Any]], cpu_s: float, spent: dict[str, float]) -> Step:
    """:raises Transient: no camera got an answer at all"""
    step = Step(
        images=sum(one["answered"] for one in told),
        unanswered=sum(one["unanswered"] for one in told),
        cause=next((one["cause"] for one in told if one["cause"]), ""),
        taken_s=max(one["taken_s"] for one in told),
        latencies_ms=[value for one in told for value in one["latencies_ms"]],
        engine_cpu_s=cpu_s,
        energy_j=spent,
    )
    if step.unanswered:
        raise Transient(
            Reason.BENCH_FAILED,
            f"{step.unanswered} of {step.images + step.unanswered} requests got no answer: {step.cause}",
        )
    return step


@contextlib.contextmanager
def _camera(order: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "runtime.bench.camera", json.dumps(order)]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _expect(child: subprocess.Popen[str], deadline_s: float, engine: EngineProcess) -> dict[str, Any]:
    """The child's next line; `ready` is an empty object.

    :raises Transient: it ends, fails, or says nothing in time
    """
    assert child.stdout is not None, "it is a pipe"
    late = threading.Timer(deadline_s, child.kill)
    late.start()
    try:
        line = child.stdout.readline().strip()
    finally:
        late.cancel()
    engine.check_alive()
    told: dict[str, Any] = (
        {} if line == "ready" else json.loads(line or "null") or {"failed": "it said nothing in time"}
    )
    if "failed" in told:
        raise Transient(Reason.BENCH_FAILED, f"a camera of the benchmark failed: {told['failed']}")
    return told


def _energy(step: Step, no_energy: str) -> dict[str, Any]:
    """Of one camera at full pace."""
    if no_energy or not step.images:
        return {
            "joules_per_frame": None,
            "watts": None,
            "covers": None,
            "reason": no_energy or "no frame was answered",
        }
    joules = sum(step.energy_j.values())
    return {
        "joules_per_frame": round(joules / step.images, 4),
        "watts": round(joules / step.taken_s, 2),
        "covers": ", ".join(step.energy_j),
        "reason": "",
    }


def _frame(directory: Path, spec: Any, plan: Plan) -> tuple[Image, str]:
    """The picture all cameras show, at the plan's size, and what is on it.

    :raises Refused: the file named is no picture
    """
    golden = directory / spec.golden.image if spec.golden is not None else None
    source = Path(plan.image) if plan.image else golden
    if source is None:
        noise = np.random.default_rng(0).integers(0, 256, (plan.frame_wh[1], plan.frame_wh[0], 3), np.uint8)
        return noise, "noise"
    content = np.fromfile(source, np.uint8) if source.is_file() else np.zeros(0, np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if picture is None:
        raise Refused(Reason.INVALID_FIELD, f"{source}: no picture that can be read; give a JPEG or PNG")
    sized = cv2.resize(picture, plan.frame_wh, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(sized, np.uint8), source.name if plan.image else "golden image"
