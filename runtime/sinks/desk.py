"""The desk takes what sinks have to deliver and has it delivered by a few threads; the frame never waits for a server.

Each sink has a lane (`runtime.sinks.lane` decides, this executes). A dead server holds up its own lane and at most one thread.
Threads are started when there is something to do.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from runtime.sinks.lane import Figures, Lane, Limits, Parcel
from runtime.sinks.pictures import Pictures
from runtime.sinks.sender import Sender, Undelivered
from runtime.sinks.vault import Vault
from wire.redact import redact

log = logging.getLogger(__name__)

MAX_THREADS = 6
IDLE_S = 10.0
"""A thread with nothing to do for so long ends."""
MAX_ERROR_CHARS = 300
UNBOUNDED_PATIENCE_S = 30.0


class Uplink(Protocol):
    """The way to the agent, which keeps what must not be lost."""

    def event(
        self, step: str, outputs: dict[str, Any], picture: dict[str, Any] | None, clip: str = ""
    ) -> str:
        """Keep an event for the control plane, `clip` being the id of the one that belongs to it; why it cannot be kept, empty
        where it is."""

    def publish(self, publication: dict[str, Any]) -> str:
        """Keep a message for a broker; why it cannot be kept, empty where it is."""


class ClipDesk(Protocol):
    """Where clips are ordered."""

    def order(self, before_s: float, after_s: float) -> tuple[str, str]:
        """A clip around now: its id, or empty and why there is none."""


@dataclass
class Receipt:
    """What became of a parcel; `done` once it is settled."""

    done: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: str = ""

    def settle(self, value: Any = None, error: str = "") -> None:
        self.value, self.error = value, error
        self.done.set()


@dataclass(eq=False)
class Counter:
    """A lane with its far end, and the receipts somebody waits for."""

    name: str
    lane: Lane
    sender: Sender
    mask: Callable[[str], str]
    receipts: dict[Parcel, Receipt] = field(default_factory=dict)
    leaving: bool = False


class Desk:
    """`patience_s`: how long a step that asks for the outcome waits for it. `files`: the folder below which files are
    written; None allows any. `pictures`: which may leave the process."""

    def __init__(
        self,
        *,
        patience_s: float = UNBOUNDED_PATIENCE_S,
        files: Path | None = None,
        vault: Vault | None = None,
        uplink: Uplink | None = None,
        pictures: Pictures | None = None,
        clips: ClipDesk | None = None,
        clock_mono: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.patience_s = patience_s
        self.files = files
        self.vault = vault or Vault.of_process()
        self.uplink = uplink
        self.pictures = pictures or Pictures()
        self.clips = clips
        self._clock_mono = clock_mono
        self._spread = spread
        self._changed = threading.Condition()
        self._counters: list[Counter] = []
        self._threads = 0
        self._idle = 0
        self._closing = False
        self._deadline_mono = 0.0

    def open(
        self, name: str, limits: Limits, sender: Sender, mask: Callable[[str], str] = lambda text: text
    ) -> Counter:
        """A lane for a sink; `mask` takes its secrets out of a text."""
        counter = Counter(name, Lane(limits), sender, mask)
        with self._changed:
            self._counters.append(counter)
        return counter

    def shut(self, counter: Counter) -> None:
        """The sink is gone from the workflow: what it has accepted is still delivered, then its far end is let go."""
        with self._changed:
            counter.leaving = True
            gone = self._gone(counter)
        if gone:
            self._let_go(counter)

    def _gone(self, counter: Counter) -> bool:
        if not counter.leaving or len(counter.lane) or counter not in self._counters:
            return False
        self._counters.remove(counter)
        return True

    def deliver(self, counter: Counter, body: Any, size_bytes: int) -> Receipt:
        """Accept something to deliver; returns at once."""
        receipt = Receipt()
        parcel = Parcel(body, size_bytes, self._clock_mono())
        with self._changed:
            if self._closing:
                receipt.settle(error="the process is ending")
                return receipt
            counter.receipts[parcel] = receipt
            self._settle(counter, counter.lane.offer(parcel), "gave way: the sink does not keep up")
            if self._idle:
                self._changed.notify()
            elif self._threads < MAX_THREADS:
                self._threads += 1
                threading.Thread(target=self._work, name=f"sink-{self._threads}", daemon=True).start()
            else:
                self._changed.notify()
        return receipt

    def figures(self) -> dict[str, Figures]:
        """By the name of the sink; one that is leaving has none any more."""
        with self._changed:
            return {c.name: replace(c.lane.figures) for c in self._counters if not c.leaving}

    def close(self, deadline_s: float) -> dict[str, int]:
        """Deliver what can be delivered until the deadline, then let go; what was given up, by sink."""
        at_mono = self._clock_mono()
        with self._changed:
            self._closing = True
            self._deadline_mono = at_mono + deadline_s
            self._changed.notify_all()
            self._changed.wait_for(self._drained, deadline_s)
            counters = list(self._counters)
            left = {counter.name: len(counter.lane) for counter in counters if len(counter.lane)}
            for counter in counters:
                self._settle(counter, counter.lane.abandon(), "the process is ending")
            self._changed.notify_all()
        for counter in counters:
            if not len(counter.lane):
                self._let_go(counter)
        for name, count in left.items():
            log.warning("undelivered at the end", extra={"sink": name, "parcels": count})
        return left

    def _drained(self) -> bool:
        """Nothing is under way, and nothing is due that has not failed yet."""
        at_mono = self._clock_mono()
        for counter in self._counters:
            due_mono = counter.lane.due_mono()
            if len(counter.lane) and (due_mono is None or due_mono <= at_mono):
                return False
        return True

    # --- the threads --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            counter, parcel = taken
            try:
                value, error, again = counter.sender.send(parcel.body), "", False
            except Undelivered as e:
                value, error, again = None, str(e), e.again
            except (
                Exception
            ) as e:  # the boundary: a library may raise anything, and the other sinks must go on
                value, error, again = None, f"{type(e).__name__}: {e}", True
            self._settled(counter, parcel, value, counter.mask(redact(error))[:MAX_ERROR_CHARS], again)

    def _next(self) -> tuple[Counter, Parcel] | None:
        """The next parcel that is due; None where the thread has nothing to do any more."""
        with self._changed:
            idle_until_mono = self._clock_mono() + IDLE_S
            while True:
                at_mono = self._clock_mono()
                if (taken := self._due(at_mono)) is not None:
                    return taken
                if self._closing or at_mono >= idle_until_mono:
                    self._threads -= 1
                    return None
                wake_mono = min([idle_until_mono, *self._dues()])
                self._idle += 1
                self._changed.wait(max(0.0, wake_mono - at_mono))
                self._idle -= 1
                if self._dues():
                    idle_until_mono = self._clock_mono() + IDLE_S

    def _dues(self) -> list[float]:
        return [due for counter in self._counters if (due := counter.lane.due_mono()) is not None]

    def _due(self, at_mono: float) -> tuple[Counter, Parcel] | None:
        for counter in sorted(self._counters, key=lambda c: c.lane.due_mono() or 0.0):
            self._settle(counter, counter.lane.expire(at_mono), "too old to be delivered")
            parcel = counter.lane.take(at_mono)
            if parcel is not None:
                return counter, parcel
        return None

    def _settled(self, counter: Counter, parcel: Parcel, value: Any, error: str, again: bool) -> None:
        with self._changed:
            failed_before = counter.lane.figures.failing
            kept = False
            if error:
                kept = counter.lane.failed(self._clock_mono(), error, again=again, spread=self._spread())
            else:
                counter.lane.delivered()
            if self._closing and kept:
                self._settle(counter, counter.lane.abandon(), error)
            if not kept and (receipt := counter.receipts.pop(parcel, None)) is not None:
                receipt.settle(value, error)
            # `close` may have looked while this parcel was still under way.
            gone = self._gone(counter) or (self._closing and not len(counter.lane))
            self._changed.notify_all()
        self._log(counter, failed_before, error)
        if gone:
            self._let_go(counter)

    @staticmethod
    def _log(counter: Counter, failed_before: bool, error: str) -> None:
        """A change of state, once."""
        if error and not failed_before:
            log.warning("sink fails: %s: %s", counter.name, error)
        elif not error and failed_before:
            log.info("sink works again: %s", counter.name)

    @staticmethod
    def _settle(counter: Counter, parcels: list[Parcel], error: str) -> None:
        for parcel in parcels:
            if (receipt := counter.receipts.pop(parcel, None)) is not None:
                receipt.settle(error=error)

    @staticmethod
    def _let_go(counter: Counter) -> None:
        try:
            counter.sender.close()
        except Exception as e:  # the boundary: the far end may be gone
            log.debug("closing %s: %s", counter.name, e)
