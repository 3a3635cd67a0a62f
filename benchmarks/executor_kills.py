"""SIGKILL of the update executor, a process of its own, at random moments: nothing in the product marks them.

Started as `python -m agent.update`, or, for many kills, forked from a process that has imported it already, so that they fall into
the work and not into Python's start.

A tree of plain files takes seven revisions, some of which cannot be applied. After each kill the state is looked at as it is, and a
copy of it is taken up to its end; the next process goes on with the original, and is killed too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from agent.update.__main__ import update
from agent.update.journal import Journal
from tests.fakes.update_tree import ENDS, Offers, at_rest, whole
from wire.reasons import Reason

LAST = 7
GOOD = tuple(revision for revision, end in ENDS.items() if end == "COMMITTED")
CUT_TOO_OFTEN = Reason.STARTS_WITHOUT_COMMIT.value
ONWARD = 8
"""Every so many kills the copy takes the revisions to the last one too."""


@dataclass
class Kills:
    """What came of them. `where`: how often the newest revision was in which phase at the kill."""

    seed: int
    kills: int = 0
    ends: int = 0
    broken: list[str] = field(default_factory=list)
    where: Counter[str] = field(default_factory=Counter)


def kill_executors(wanted: int, seed: int, *, forked: bool = False) -> Kills:
    """Kill so many executors."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="kills-", dir=memory if memory.is_dir() else None))
    try:
        return _Series(base, wanted, seed, _fork if forked else _spawn).run()
    finally:
        shutil.rmtree(base)


Start = Callable[[list[str]], int]
"""Starts an executor with these arguments; its process id."""


def _spawn(arguments: list[str]) -> int:
    """Without `site`: what the executor needs is the standard library and our own modules."""
    command = [sys.executable, "-S", "-E", "-m", "agent.update", *arguments]
    nowhere = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2)]
    return os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere)


def _fork(arguments: list[str]) -> int:
    if pid := os.fork():
        return pid
    status = 3
    try:
        logging.disable()
        if arguments:
            update(Path(arguments[0]), Path(arguments[1]), [Path(path) for path in arguments[2:]])
        status = 0
    finally:
        os._exit(status)


class _Series:
    def __init__(self, base: Path, wanted: int, seed: int, start: Start) -> None:
        self._base = base
        self._wanted = wanted
        self._dice = random.Random(seed)
        self._start = start
        self._offers = Offers(base / "offers")
        self._kills = Kills(seed)
        self._trees = 0

    def run(self) -> Kills:
        whole_run_s, start_s = self._time(self._fresh()), self._time(None)
        state = self._fresh()
        while self._kills.kills < self._wanted:
            # Half of the times are short, so that as many kills fall into what begins and into what is taken up.
            longest_s = start_s + (whole_run_s - start_s) * self._dice.choice((0.3, 1.2))
            if not self._kill(state, self._dice.uniform(start_s * 0.7, longest_s)):
                self._kills.ends += 1
                shutil.rmtree(state)
                state = self._fresh()
        return self._kills

    def _fresh(self) -> Path:
        self._trees += 1
        path = self._base / f"tree-{self._trees}"
        path.mkdir()
        return path

    def _arguments(self, state: Path) -> list[str]:
        return [str(state), str(self._offers.source), *map(str, self._offers.paths)]

    def _time(self, state: Path | None) -> float:
        times = []
        for _ in range(5):
            began = time.monotonic()
            os.waitpid(self._start(self._arguments(state) if state else []), 0)
            times.append(time.monotonic() - began)
            if state is not None:
                shutil.rmtree(state)
                state.mkdir()
        return min(times)

    def _kill(self, state: Path, after_s: float) -> bool:
        """Whether the process was killed at work; False where it had come to its end."""
        pid = self._start(self._arguments(state))
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if status == 0:
            with self._complaints(state):
                _came_to_the_last(state)
            return False
        self._kills.kills += 1
        if not os.WIFSIGNALED(status):
            self._complain(f"the executor ended by itself: {status}")
        self._look(state)
        return True

    def _look(self, state: Path) -> None:
        copy = self._base / "copy"
        shutil.copytree(state, copy, symlinks=True)
        self._kills.where[_phase(state)] += 1
        with self._complaints(copy):
            whole(state)
            update(copy, self._offers.source, [])
            at_rest(copy)
            if self._kills.kills % ONWARD == 0:
                update(copy, self._offers.source, self._offers.paths)
                _came_to_the_last(copy)
        shutil.rmtree(copy)

    @contextlib.contextmanager
    def _complaints(self, state: Path) -> Iterator[None]:
        try:
            yield
        except Exception as e:
            self._complain(f"{type(e).__name__}: {e}; {_rows(state)}")

    def _complain(self, words: str) -> None:
        self._kills.broken.append(f"kill {self._kills.kills}, seed {self._kills.seed}: {words}")


def _came_to_the_last(state: Path) -> None:
    """Everything that was offered has come to its end: the last revision runs, and where it does not, it was cut too often.

    Or what it brings was, with another revision: that is in quarantine for it. A device whose every good revision was cut so often runs none.
    """
    running = at_rest(state)
    journal = Journal(state)
    ends = {revision: journal.outcome(revision) for revision in GOOD}
    held = {entry.digest for entry in journal.quarantined() if entry.reason == CUT_TOO_OFTEN}
    journal.close()
    for revision in (LAST,) if running else GOOD:
        outcome = ends[revision]
        assert outcome is not None, f"revision {revision} is not in the journal; {running} runs"
        refused = outcome.reason == Reason.QUARANTINED.value and any(
            digest[:19] in (outcome.message or "") for digest in held
        )
        if running != revision and not refused:
            assert outcome.reason == CUT_TOO_OFTEN, f"revision {running} runs; {ends}"


def _rows(state: Path) -> list[object]:
    """What the journal holds, for a complaint."""
    try:
        journal = Journal(state)
    except OSError as e:
        return [str(e)]
    found: list[object] = [journal.outcome(revision) for revision in ENDS]
    found += journal.quarantined()
    journal.close()
    return found


def _phase(state: Path) -> str:
    """The phase the newest revision was in, read as the dead process has left it."""
    import sqlite3

    if not os.path.exists(state / "journal.db"):
        return "nothing"
    copy = state.with_name("phase.db")
    for ending in ("", "-journal"):
        source = Path(f"{state / 'journal.db'}{ending}")
        if source.exists():
            shutil.copyfile(source, f"{copy}{ending}")
    try:
        db = sqlite3.connect(copy)
        rows = db.execute("SELECT phase FROM revisions ORDER BY revision DESC LIMIT 1").fetchall()
        db.close()
        return str(rows[0][0]) if rows else "nothing"
    except sqlite3.Error:
        return "nothing"
    finally:
        for ending in ("", "-journal"):
            Path(f"{copy}{ending}").unlink(missing_ok=True)
