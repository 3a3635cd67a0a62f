"""The threads that run batches beside the engine process' loop, where the engine gains from several runs at once.

On a CPU two runs side by side finish more tensors than one by one on all threads (YOLOX-nano on two cores: 125 a second against
78), since neither waits at the other's barriers. Where an engine takes one run at a time there is no thread, and `start` runs the batch in the loop itself.
Knows no model and no pipeline: a batch is something to call, its outcome is for the loop to look at.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

B = TypeVar("B")
A = TypeVar("A")


@dataclass(frozen=True)
class Done(Generic[B, A]):
    """A batch that was run, with what came of it and how long it took; `number` counts batches in the order of their start."""

    number: int
    batch: B
    answers: A
    elapsed_s: float


class Runners(Generic[B, A]):
    """Runs at most `count` batches at once. Every method belongs to the loop's thread."""

    def __init__(
        self, count: int, run: Callable[[B], A], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`run` is called by the runners' threads, or by `start` where `count` is 1; it must not raise."""
        self.count = count
        self._run = run
        self._clock = clock
        self._finished: deque[Done[B, A]] = deque()
        self._started_mono: dict[int, float] = {}
        self._number = 0
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._todo: queue.SimpleQueue[tuple[int, B] | None] = queue.SimpleQueue()
        # Daemons: a run that hangs in native code must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._work, name=f"runner-{i}", daemon=True)
            for i in range(count if count > 1 else 0)
        ]
        for thread in self._threads:
            thread.start()

    def fileno(self) -> int:
        """Readable when a batch is done."""
        return self._wake_fd

    @property
    def free(self) -> int:
        """How many more batches may be started."""
        return self.count - len(self._started_mono)

    @property
    def oldest_mono(self) -> float | None:
        """When the longest of the runs under way began."""
        return min(self._started_mono.values(), default=None)

    def start(self, batch: B) -> None:
        """Run a batch; only while `free`."""
        self._number += 1
        self._started_mono[self._number] = self._clock()
        if self._threads:
            self._todo.put((self._number, batch))
        else:
            self._perform(self._number, batch)

    def done(self) -> list[Done[B, A]]:
        """What has been done since the last call."""
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            return []
        fresh = [self._finished.popleft() for _ in range(len(self._finished))]
        for done in fresh:
            del self._started_mono[done.number]
        return fresh

    def close(self) -> None:
        """Let the threads go; one that hangs stays behind, and ends with the process."""
        for _ in self._threads:
            self._todo.put(None)
        for thread in self._threads:
            thread.join(0.5)
        if not any(thread.is_alive() for thread in self._threads):
            os.close(self._wake_fd)

    def _work(self) -> None:
        while (order := self._todo.get()) is not None:
            self._perform(*order)

    def _perform(self, number: int, batch: B) -> None:
        started_mono = self._clock()
        answers = self._run(batch)
        self._finished.append(Done(number, batch, answers, self._clock() - started_mono))
        os.eventfd_write(self._wake_fd, 1)
