"""Judges a revision on probation by this device's own figures, and says which gate did not hold.

Where the former engines are still in memory they go on looking at some of the pictures, so that what the scene does cancels out.
Takes figures and decides when there are enough; what is good or bad is decided in `agent.judgement`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import reconcile
from agent.device import Device
from agent.files import write_atomic
from agent.judgement.baseline import Baseline
from agent.judgement.evidence import Evidence, Machine, Memory, of_witness
from agent.judgement.gates import doubt, measure
from agent.judgement.history import blocks_from, to_json
from agent.judgement.verdict import Breach, Judge
from agent.observer import Observer
from agent.pipelines import PipelineUnit
from agent.reconcile import Layout, PipelineSpec
from agent.update.gates import PlainJury
from agent.update.ground import Go, Refusal, Wait
from wire import local
from wire.desired import Desired
from wire.gates import Gates
from wire.reasons import Reason

log = logging.getLogger(__name__)

BASELINE_FILE = "baseline.json"
WITNESS_PER_S = 5.0
LOOK_S = 1.0
WARM_S = 5.0
"""An engine's memory grows with its first batches; from here on it should not."""
PAIRED_S = 20.0
"""At five pictures a second twice the runs that a figure of the processor needs."""
MEMORY_KEPT = 600
WAVER_S = 20.0
"""So long beyond the patience a gate that has just broken may take to be broken for good."""
OVER = frozenset({"ended", "off"})
"""States of a camera from which no more frames come."""
DARK = frozenset({"opening", "lost"})
"""States without a frame: one that had none before the change either has nothing to be judged by."""


@dataclass
class Subject:
    """A pipeline that the revision changes: what it was, and what is normal for it."""

    spec: PipelineSpec
    former: PipelineSpec | None
    baseline: Baseline
    former_run_cpu_ms: float | None = None
    restarts: dict[str, int] = field(default_factory=dict)
    witness_pid: int = 0


class DeviceJury:
    """The jury of a device; of the loop's thread. `before`, then `judge` until it does not say `Wait`."""

    def __init__(self, device: Device, observer: Observer, state_dir: Path) -> None:
        self._device = device
        self._observer = observer
        self._path = state_dir / BASELINE_FILE
        self._plain = PlainJury(device)
        self._revision = 0
        self._subjects: dict[str, Subject] = {}
        self._machine = Machine()
        self._judge = Judge()
        self._memory: dict[str, list[int]] = {}
        self._told: dict[str, local.EngineStats] = {}
        self._next_s = 0.0

    def tick(self, at_mono: float) -> None:
        self._observer.tick(at_mono)

    def before(self, desired: Desired, running: Desired | None) -> None:
        """Take the baseline, and keep it on disk for a start in the middle of the probation."""
        self._plain.before(desired, running)
        former = reconcile.layout(running) if running else Layout()
        specs = reconcile.layout(desired).pipelines
        changed = {name: spec for name, spec in specs.items() if former.pipelines.get(name) != spec}
        baselines = {
            name: self._observer.baseline(former.pipelines[name])
            for name, spec in changed.items()
            if name in former.pipelines and former.pipelines[name].camera == spec.camera
        }
        self._begin(desired.revision, changed, former, baselines, self._now())
        self._save(baselines)

    def forgive(self) -> None:
        """The baseline stays: it is of the time before."""
        self._plain.forgive()

    def judge(self, desired: Desired, elapsed_s: float) -> Go | Wait | Refusal:
        if self._revision != desired.revision:
            self._resume(desired)
        limits = desired.settings.update.gates
        plain = self._plain.judge(desired, elapsed_s)
        if elapsed_s >= self._next_s:
            self._next_s = elapsed_s + LOOK_S
            breach = self._look(limits, elapsed_s)
            if breach is not None:
                self._end()
                return self._refusal(*breach)
        if not isinstance(plain, Go):
            if isinstance(plain, Refusal):
                self._end()
            return plain
        return self._when_enough(limits, elapsed_s)

    # --- looking ------------------------------------------------------------------------------------------------------

    def _look(self, limits: Gates, elapsed_s: float) -> tuple[str, Breach] | None:
        self._take_memory(elapsed_s)
        found: tuple[str, Breach] | None = None
        for name, subject in self._subjects.items():
            unit = self._device.pipelines.get(name)
            if unit is None:
                continue
            self._have_witness(subject, unit)
            evidence = self._evidence(name, subject, unit)
            breach = self._judge.look(name, measure(evidence, subject.baseline, limits), elapsed_s)
            if breach is not None and found is None:
                found = (name, breach)
        return found

    def _evidence(self, name: str, subject: Subject, unit: PipelineUnit) -> Evidence:
        book = self._observer.book(name)
        compared = unit.compared
        pairs = {
            model_id: of_witness(likeness)
            for model_id, likeness in (compared.models.items() if compared else ())
            if compared and compared.ticket == self._ticket and likeness.compared
        }
        keys = {use.engine for _, use in subject.spec.uses}
        engines = {key: self._device.engines[key] for key in keys if key in self._device.engines}
        restarts = sum(
            unit.keeper.restarts - subject.restarts.setdefault(key, unit.keeper.restarts)
            for key, unit in engines.items()
        )
        memory = {key: Memory(tuple(self._memory.get(key, ()))) for key in engines}
        seconds = tuple(book.seconds) if book.revision == self._revision else ()
        return Evidence(
            seconds,
            pairs,
            restarts,
            memory,
            self._observer.run_cpu_ms(subject.spec),
            subject.former_run_cpu_ms,
            self._witness_cpu_ms(subject, sum(second.span_s for second in seconds)),
            self._now(self._machine),
        )

    def _witness_cpu_ms(self, subject: Subject, since_s: float) -> float | None:
        """Of a run of the former engines, once they have only looked on for long enough."""
        if subject.former is None or since_s < PAIRED_S or not self._replaced(subject):
            return None
        return self._observer.run_cpu_ms(subject.former)

    def _take_memory(self, elapsed_s: float) -> None:
        for key, unit in self._device.engines.items():
            stats = unit.stats
            if stats is None or stats is self._told.get(key) or elapsed_s < WARM_S:
                continue
            self._told[key] = stats
            row = self._memory.setdefault(key, [])
            row.append(stats.rss_bytes)
            # The first one is what growth is measured from.
            del row[1:-MEMORY_KEPT]

    def _now(self, before: Machine | None = None) -> Machine:
        machine = self._observer.machine
        relief = min((unit.relief.share for unit in self._device.pipelines.values()), default=1.0)
        if before is None:
            return Machine(
                machine.celsius, machine.celsius, machine.foreign_cpu, machine.foreign_cpu, relief, relief
            )
        return Machine(
            before.celsius_before,
            machine.celsius,
            before.foreign_cpu_before,
            machine.foreign_cpu,
            before.relief_before,
            relief,
        )

    # --- the former models as witnesses -------------------------------------------------------------------------------

    @property
    def _ticket(self) -> str:
        return f"w{self._revision}"

    def _have_witness(self, subject: Subject, unit: PipelineUnit) -> None:
        """Have the former engines asked about some of the pictures, once for each process of the pipeline."""
        pid = unit.keeper.pid or 0
        former = subject.former
        if former is None or not unit.up or pid == subject.witness_pid or subject.baseline.pulled:
            return
        models = {
            model_id: self._device.model_bindings(former)[model_id] for model_id in self._replaced(subject)
        }
        if models:
            unit.compare(local.Compare(self._ticket, models, WITNESS_PER_S))
        subject.witness_pid = pid

    def _replaced(self, subject: Subject) -> list[str]:
        """The model ids whose model is another one now, and whose former engine still serves."""
        assert subject.former is not None
        former, engines = dict(subject.former.uses), self._device.engines
        return [
            model_id
            for model_id, use in subject.spec.uses
            if model_id in former
            and former[model_id].digest != use.digest
            and (unit := engines.get(former[model_id].engine)) is not None
            and unit.state == "ok"
        ]

    def _end(self) -> None:
        for name in self._subjects:
            if (unit := self._device.pipelines.get(name)) is not None:
                unit.end_comparison(self._ticket)
        self._path.unlink(missing_ok=True)

    # --- the verdict --------------------------------------------------------------------------------------------------

    def _when_enough(self, limits: Gates, elapsed_s: float) -> Go | Wait:
        missing = [words for name, s in self._subjects.items() if (words := self._missing(name, s, limits))]
        if missing and elapsed_s < limits.patience_s:
            return Wait("; ".join(missing))
        if self._judge.wavers and elapsed_s < limits.patience_s + WAVER_S:
            return Wait("a gate is broken, and is to be seen to stay so")
        self._end()
        return Go("; ".join([*map(str, self._judge.warnings), *missing]), self._figures())

    def _missing(self, name: str, subject: Subject, limits: Gates) -> str:
        """What there is too little of; nothing for a pipeline that has no former."""
        unit = self._device.pipelines.get(name)
        if subject.former is None or unit is None or unit.camera.state in OVER:
            return ""
        if unit.stats is None or unit.stats.sight is None:
            return ""
        evidence = self._evidence(name, subject, unit)
        judged = sum(block.asked for block in evidence.blocks)
        if not judged and unit.camera.state in DARK and not subject.baseline.whole.asked:
            return ""
        if judged < limits.min_frames:
            return f"{name}: {judged} of {limits.min_frames} frames are judged"
        words = doubt(evidence, subject.baseline) if "empty-output" not in limits.off else ""
        return f"{name}: {words}" if words else ""

    def _figures(self) -> dict[str, Any]:
        return {
            "gates": self._judge.figures(),
            "warnings": [
                {"gate": each.gate, "pipeline": each.subject, "figure": each.figure, "limit": each.limit}
                for each in self._judge.warnings
            ],
        }

    def _refusal(self, name: str, breach: Breach) -> Refusal:
        subject = self._subjects[name]
        return Refusal(
            Reason.PROBATION_FAILED,
            f"gate {breach}",
            gate=breach.gate,
            figure=breach.figure,
            limit=breach.limit,
            suspects=_changed(subject),
        )

    # --- begin, and begin again ---------------------------------------------------------------------------------------

    def _begin(
        self,
        revision: int,
        changed: dict[str, PipelineSpec],
        former: Layout,
        baselines: dict[str, Baseline],
        machine: Machine,
    ) -> None:
        self._revision, self._machine, self._judge, self._next_s = revision, machine, Judge(), 0.0
        self._memory, self._told = {}, {}
        self._subjects = {
            name: self._subject(spec, former.pipelines.get(name), baselines.get(name, Baseline()))
            for name, spec in changed.items()
        }

    def _subject(self, spec: PipelineSpec, former: PipelineSpec | None, baseline: Baseline) -> Subject:
        return Subject(spec, former, baseline, self._observer.run_cpu_ms(former) if former else None)

    def _resume(self, desired: Desired) -> None:
        """After a start of the agent: the baseline is on disk, the former engines are gone."""
        specs = reconcile.layout(desired).pipelines
        baselines = self._load(desired.revision)
        changed = {name: spec for name, spec in specs.items() if name in baselines}
        self._begin(desired.revision, changed, Layout(), baselines, self._now())

    def _save(self, baselines: dict[str, Baseline]) -> None:
        body = {
            name: {
                "recent": [to_json(block) for block in baseline.recent],
                "same_hours": [to_json(block) for block in baseline.same_hours],
                "pulled": baseline.pulled,
            }
            for name, baseline in baselines.items()
        }
        try:
            write_atomic(
                self._path, json.dumps({"revision": self._revision, "baselines": body}).encode(), 0o600
            )
        except OSError as e:
            log.warning("the baseline cannot be kept", extra={"cause": str(e)})

    def _load(self, revision: int) -> dict[str, Baseline]:
        try:
            body = json.loads(self._path.read_bytes())
            if body["revision"] != revision:
                return {}
            return {
                name: Baseline(
                    tuple(blocks_from(value["recent"])),
                    tuple(blocks_from(value["same_hours"])),
                    value["pulled"],
                )
                for name, value in body["baselines"].items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            log.warning("the baseline cannot be read", extra={"cause": str(e)})
            return {}


def _changed(subject: Subject) -> tuple[str, ...]:
    """The digests that are new for this pipeline."""
    former = subject.former
    known = {use.digest for _, use in former.uses} | {former.workflow_digest} if former else set()
    now = [use.digest for _, use in subject.spec.uses] + [subject.spec.workflow_digest]
    return tuple(sorted(set(now) - known))
