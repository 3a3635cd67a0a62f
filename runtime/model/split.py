"""How the processors are split between runs of a model: threads of one run × runs at the same time. Measured, then kept.

Which split serves most differs from graph to graph and from machine to machine: small graphs lose more at the barriers between their
threads than they gain, so that two runs on a thread each finish twice as many pictures. Opens no engine: the caller says how.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from runtime.errors import RuntimeFault
from runtime.model.fuse import write_whole

logger = logging.getLogger(__name__)

VERSION = 1
"""Part of the key: raise it when engines make something else of a split."""
ROUNDS = 4
"""Each split is measured so often, in turns: other load comes and goes."""
RUNS = 2
"""So many at least in each slice of time."""
MAX_RUNS = 4
LATENCY_ROOM = 1.5
"""A split may answer a lone picture so many times later than the quickest does."""
WORTH = 1.05
"""What another split must serve more than the present one, in every round."""
UNSTEADY = 1.6
"""Where a split's best round serves so many times what its worst does, other load has decided, not the split."""
MAX_KEPT = 256
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, order=True)
class Split:
    """`threads` of one run, and `runs` at the same time."""

    threads: int
    runs: int

    def __str__(self) -> str:
        return f"{self.threads} x {self.runs}"


@dataclass(frozen=True)
class Measured:
    """What a split does: pictures a second in each round with all its runs busy, and how long a lone one takes."""

    split: Split
    rates: tuple[float, ...]
    lone_ms: float

    @property
    def per_s(self) -> float:
        return statistics.median(self.rates)


@dataclass(frozen=True)
class Choice:
    """The split that serves a graph on this machine; None leaves it to the engine. `measured` is empty where one run took too long
    to try others."""

    split: Split | None
    measured: tuple[Measured, ...] = ()

    @property
    def steady(self) -> bool:
        """Whether the figures are worth keeping."""
        return all(max(m.rates) <= UNSTEADY * min(m.rates) for m in self.measured)

    def described(self) -> dict[str, Any]:
        """For people: pictures a second by split."""
        return {
            str(m.split): {"per_s": round(m.per_s, 1), "lone_ms": round(m.lone_ms, 2)} for m in self.measured
        }


class Runs(Protocol):
    """What can be measured: a loaded graph."""

    def run(self, batch: npt.NDArray[Any]) -> object: ...


def candidates(processors: int) -> tuple[Split, ...]:
    """The splits worth trying on so many processors; one where there is nothing to split."""
    half, quarter = max(1, processors // 2), max(1, processors // 4)
    splits = [Split(processors, 1), Split(processors, 2), Split(half, 2)]
    splits += [Split(quarter, MAX_RUNS)] if processors >= MAX_RUNS else []
    return tuple(dict.fromkeys(splits)) if processors > 1 else (Split(1, 1),)


def best(measured: Sequence[Measured], present: Split) -> Split:
    """The one that serves most among those that serve more than the present one in every round, and answer a lone picture soon
    enough; where there is none, the present one."""
    now = next(m for m in measured if m.split == present)
    quickest = min(m.lone_ms for m in measured)
    better = [
        m
        for m in measured
        if m.lone_ms <= LATENCY_ROOM * quickest
        and all(rate > WORTH * former for rate, former in zip(m.rates, now.rates, strict=True))
    ]
    return max(better, key=lambda m: m.per_s, default=now).split


def measure(
    running: Runs,
    open_split: Callable[[Split], Runs],
    close: Callable[[Runs], object],
    batch: npt.NDArray[Any],
    splits: Sequence[Split],
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Measured, ...]:
    """Try every split; nothing where the budget, opening included, does not allow a few runs of each in every round.

    `running`: the graph as it runs now, which tells how long a run takes before others are opened.
    """
    began = clock()
    opened: dict[Split, Runs] = {}
    run_s = _lone_s(running, batch, clock)
    turns = ROUNDS * len(splits)
    try:
        for one in splits:
            left_s = budget_s - (clock() - began)
            if left_s < (1 + RUNS) * run_s * turns:
                return ()
            opened[one] = open_split(one)
            opened[one].run(batch)
        slice_s = (budget_s - (clock() - began)) / turns - run_s
        lone_s: dict[Split, list[float]] = {one: [] for one in splits}
        rates: dict[Split, list[float]] = {one: [] for one in splits}
        for turn in range(ROUNDS):
            for one in splits if turn % 2 == 0 else reversed(splits):
                lone_s[one].append(_lone_s(opened[one], batch, clock))
                rates[one].append(_rate(opened[one], one.runs, batch, slice_s, clock))
        return tuple(Measured(one, tuple(rates[one]), 1000 * min(lone_s[one])) for one in splits)
    finally:
        for engine in opened.values():
            close(engine)


def _lone_s(engine: Runs, batch: npt.NDArray[Any], clock: Callable[[], float]) -> float:
    began = clock()
    engine.run(batch)
    return clock() - began


def _rate(
    engine: Runs, callers: int, batch: npt.NDArray[Any], slice_s: float, clock: Callable[[], float]
) -> float:
    """Pictures a second of so many callers at once, over about `slice_s`."""
    counts = [0] * callers
    failures: list[RuntimeFault] = []
    began = clock()

    def call(index: int) -> None:
        try:
            while clock() - began < slice_s:
                engine.run(batch)
                counts[index] += 1
        except RuntimeFault as e:
            failures.append(e)

    threads = [threading.Thread(target=call, args=(i,), daemon=True) for i in range(1, callers)]
    for thread in threads:
        thread.start()
    call(0)
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return sum(counts) * len(batch) / (clock() - began)


class Book:
    """Choices made before on this machine, a file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, key: str) -> Choice | None:
        """What was chosen, or None where nothing was, or the file is damaged."""
        try:
            body = json.loads((self._folder / f"{key}.json").read_text())
            split = Split(**body["split"]) if body["split"] else None
            measured = tuple(
                Measured(Split(**m["split"]), tuple(map(float, m["rates"])), float(m["lone_ms"]))
                for m in body["measured"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        sound = split is None or (1 <= split.threads <= 1024 and 1 <= split.runs <= MAX_RUNS)
        return Choice(split, measured) if sound else None

    def write(self, key: str, model: str, choice: Choice) -> None:
        """Keep a choice; a disk that does not take it costs a measurement next time."""
        body = {"model": model, **asdict(choice)}
        try:
            write_whole(self._folder / f"{key}.json", json.dumps(body, indent=1).encode())
            kept = sorted(self._folder.glob("*.json"), key=lambda entry: entry.stat().st_mtime, reverse=True)
            for entry in kept[MAX_KEPT:]:
                entry.unlink(missing_ok=True)
        except OSError as e:
            logger.warning("the split of threads is not kept: %s", e)

    def entries(self) -> list[tuple[str, Choice]]:
        """Model names with what was chosen for them, for people."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            choice = self.read(path.stem)
            if choice is not None:
                found.append((str(json.loads(path.read_text()).get("model", "")), choice))
        return found


def book(cache: Path) -> Book:
    """The book in a cache directory."""
    return Book(cache / "threads")


def key(graph: str, engine: str, precision: str, processors: int) -> str:
    """The name of a choice: everything it depends on. `graph`: the fused graph's own key."""
    parts = [VERSION, graph, engine, precision, processors, machine()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def machine(cpu_info: Path = _CPU_INFO) -> str:
    """What tells this kind of processor from others."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part"))]
    return f"{platform.machine()} {named[0] if named else ''}"
