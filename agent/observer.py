"""Collects what every pipeline, engine and the machine tell while they run: the baseline of a change, and its evidence.

Called by the supervisor's tick; keeps minutes in memory, hours in a small file.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

import psutil

from agent.clock import Clock
from agent.device import Device
from agent.files import write_atomic
from agent.health.host import temperature
from agent.judgement.baseline import Baseline
from agent.judgement.blocks import BLOCK_S, Block, between, joined
from agent.judgement.history import HOUR_S, History
from agent.pipelines import PipelineUnit
from agent.reconcile import PipelineSpec
from wire import local

log = logging.getLogger(__name__)

HISTORY_FILE = "figures.json"
MINUTES = 10.0
READ_S = 2.0
SMOOTH = 0.25
"""Weight of a reading of the processor: some ten seconds count."""
LATEST_WINS = "latest-frame-wins"
"""The only skip that is the model's doing; the others are rules."""


class PipelineBook:
    """One pipeline: blocks of `BLOCK_S` of the models at work, and the `seconds` of the revision at work."""

    def __init__(self) -> None:
        self.blocks: deque[Block] = deque(maxlen=int(60 * MINUTES / BLOCK_S))
        self.seconds: list[Block] = []
        self.subject = ""
        self.revision = 0
        self._open: list[Block] = []
        self._last: local.PipelineStats | None = None
        self._last_mono = 0.0

    def read(self, stats: local.PipelineStats | None, at_mono: float) -> Block | None:
        """Take in what the pipeline has told since; the block that is full now."""
        before, since_s = self._last, at_mono - self._last_mono
        if stats is None or stats is before or stats.sight is None:
            return None
        self._last, self._last_mono = stats, at_mono
        subject = subject_of(stats.models, stats.workflow_digest)
        if subject != self.subject:
            self.subject = subject
            self.blocks.clear()
            self._open = []
        if stats.revision != self.revision:
            self.revision = stats.revision
            self.seconds = []
        if before is None or before.sight is None or stats.frames < before.frames:
            return None
        goes_on = before.revision == stats.revision and before.sight.asked <= stats.sight.asked
        second = between(before.sight if goes_on else None, stats.sight, since_s, _due(stats) - _due(before))
        self.seconds.append(second)
        del self.seconds[: -int(60 * MINUTES)]
        return self._gather(second)

    def _gather(self, second: Block) -> Block | None:
        self._open.append(second)
        if sum(each.span_s for each in self._open) < BLOCK_S:
            return None
        block, self._open = joined(self._open), []
        self.blocks.append(block)
        return block


def subject_of(models: dict[str, str], workflow_digest: str) -> str:
    """What makes the figures: models and workflow."""
    return json.dumps([sorted(models.items()), workflow_digest])


def subject_of_spec(spec: PipelineSpec) -> str:
    return subject_of({model_id: use.digest for model_id, use in spec.uses}, spec.workflow_digest)


def _due(stats: local.PipelineStats) -> int:
    """Frames that had to be worked on."""
    by_rule = sum(count for policy, count in stats.skipped.items() if policy != LATEST_WINS)
    return stats.frames - by_rule


class EngineBook:
    """Processor time and runs of one engine process, each reading of the last minute."""

    def __init__(self) -> None:
        self._rows: deque[tuple[int, float, int]] = deque(maxlen=int(60 / READ_S))

    def read(self, pid: int, cpu_s: float, runs: int) -> None:
        if self._rows and (self._rows[-1][0] != pid or self._rows[-1][2] > runs):
            self._rows.clear()
        self._rows.append((pid, cpu_s, runs))

    def run_cpu_ms(self, least_runs: int = 50) -> float | None:
        """Of a run, over the newest readings that hold so many; None before."""
        for pid, cpu_s, runs in reversed(self._rows):
            if (count := self._rows[-1][2] - runs) >= least_runs:
                assert pid == self._rows[-1][0]
                return 1000.0 * (self._rows[-1][1] - cpu_s) / count
        return None


class MachineBook:
    """Heat of the device, and the share of its processor that belongs to others."""

    def __init__(self, celsius: Callable[[], float | None] = temperature) -> None:
        self.celsius: float | None = None
        self.foreign_cpu = 0.0
        self.cpu_s: dict[int, float] = {}
        self._celsius = celsius
        self._next_mono = 0.0
        self._before: tuple[float, float, dict[int, float]] | None = None

    def read(self, pids: list[int], at_mono: float) -> bool:
        """Whether it was time to."""
        if at_mono < self._next_mono:
            return False
        self._next_mono = at_mono + READ_S
        self.celsius = self._celsius()
        times = psutil.cpu_times()
        all_s, idle_s = sum(times), times.idle + getattr(times, "iowait", 0.0)
        own_s = {pid: _cpu_s(pid) for pid in (os.getpid(), *pids)}
        if self._before is not None and all_s > self._before[0]:
            spent_s = all_s - self._before[0]
            busy = 1.0 - (idle_s - self._before[1]) / spent_s
            ours_s = sum(max(0.0, cpu_s - self._before[2].get(pid, cpu_s)) for pid, cpu_s in own_s.items())
            foreign = min(1.0, max(0.0, busy - ours_s / spent_s))
            self.foreign_cpu += SMOOTH * (foreign - self.foreign_cpu)
        self._before = (all_s, idle_s, own_s)
        self.cpu_s = own_s
        return True


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far; 0 where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return 0.0


class Observer:
    """Of the loop's thread. `tick` costs some 0.1 ms for a camera."""

    def __init__(
        self, device: Device, clock: Clock, state_dir: Path, machine: MachineBook | None = None
    ) -> None:
        self.machine = machine or MachineBook()
        self._device = device
        self._clock = clock
        self._path = state_dir / HISTORY_FILE
        self._books: dict[str, PipelineBook] = {}
        self._engines: dict[str, EngineBook] = {}
        self._histories = self._load()
        self._next_save_mono = clock.mono() + HOUR_S
        self._dirty = False

    def book(self, name: str) -> PipelineBook:
        return self._books.setdefault(name, PipelineBook())

    def tick(self, at_mono: float) -> None:
        for name in set(self._books) - set(self._device.pipelines):
            del self._books[name]
        for name, unit in self._device.pipelines.items():
            self._read(name, unit, at_mono)
        keepers = [unit.keeper for unit in self._device.engines.values()]
        keepers += [unit.keeper for unit in self._device.pipelines.values()]
        if self.machine.read([keeper.pid for keeper in keepers if keeper.pid], at_mono):
            self._read_engines()
        if self._dirty and at_mono >= self._next_save_mono:
            self._next_save_mono = at_mono + HOUR_S
            self._save()

    def baseline(self, spec: PipelineSpec) -> Baseline:
        """What is normal for a pipeline as it runs now."""
        book, subject = self.book(spec.name), subject_of_spec(spec)
        if book.subject != subject:
            return Baseline()
        history = self._histories.get(spec.name, History())
        same = history.same_hours(subject, self._clock.wall())
        return Baseline(tuple(book.blocks), same, spec.camera.pace == "file")

    def run_cpu_ms(self, spec: PipelineSpec) -> float | None:
        """Processor time of one run of each of a pipeline's engines, together."""
        times = [
            self._engines.get(key, EngineBook()).run_cpu_ms() for key in {use.engine for _, use in spec.uses}
        ]
        known = [each for each in times if each is not None]
        return sum(known) if known and len(known) == len(times) else None

    def _read_engines(self) -> None:
        for key in set(self._engines) - set(self._device.engines):
            del self._engines[key]
        for key, unit in self._device.engines.items():
            if unit.stats is not None and (pid := unit.keeper.pid) in self.machine.cpu_s:
                book = self._engines.setdefault(key, EngineBook())
                book.read(pid, self.machine.cpu_s[pid], unit.stats.requests)

    def _read(self, name: str, unit: PipelineUnit, at_mono: float) -> None:
        book = self.book(name)
        block = book.read(unit.stats, at_mono)
        if block is not None and self._clock.synced():
            history = self._histories.setdefault(name, History())
            self._dirty |= history.add(book.subject, block, self._clock.wall())

    def _save(self) -> None:
        body = {name: history.to_json() for name, history in self._histories.items() if name in self._books}
        try:
            write_atomic(self._path, json.dumps(body).encode(), 0o600, durable=False)
            self._dirty = False
        except OSError as e:
            log.warning("figures of the hours cannot be written", extra={"cause": str(e)})

    def _load(self) -> dict[str, History]:
        try:
            body = json.loads(self._path.read_bytes())
            return {name: History.from_json(value) for name, value in body.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
            log.warning("figures of the hours cannot be read", extra={"cause": str(e)})
            return {}
