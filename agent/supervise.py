"""Supervision: a keeper for each child starts it, hears it, starts it again after a wait that grows, and ends it in good order.

The supervisor's tick ends children that are silent; that it ticks is what the watchdog is told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from agent.backoff import Backoff, Budget
from agent.child import Launcher, Process, rss_bytes
from agent.clock import Clock
from agent.errors import AgentError
from wire import local
from wire.errors import WireError
from wire.reasons import Reason

log = logging.getLogger(__name__)

TICK_S = 0.5
STABLE_S = 10.0
"""A child that ran so long was a good one: the next end is followed by a short wait."""
EOF_GRACE_S = 2.0


class Part(Protocol):
    """What a keeper keeps alive. All methods are called on the loop's thread and must not wait."""

    name: str
    module: str

    def greeting(self) -> local.Message:
        """The first message to a new process."""

    def received(self, message: local.Message) -> None:
        """:raises AgentError: the process is out of its mind and is to be ended"""

    def ended(self, cause: Reason) -> None:
        """The process is gone."""

    def silence_s(self) -> float:
        """How long the process may say nothing, in its present state."""

    def retry_s(self) -> float | None:
        """How long to wait before the next start, where the back-off is not to decide."""

    def proven(self) -> bool:
        """Whether the process has done what it is for since its start."""


class Keeper:
    """Keeps one child. `start` once; `stop` ends it for good.

    `flapping`: it has ended more often than the budget allows, and is started again at intervals of `flapping_s` only.
    """

    def __init__(
        self,
        part: Part,
        launcher: Launcher,
        clock: Clock,
        backoff: Backoff,
        stop_s: float,
        budget: Budget | None = None,
        flapping_s: float = 60.0,
    ) -> None:
        self.part = part
        self.restarts = 0
        self.flapping = False
        self._budget = budget
        self._flapping_s = flapping_s
        self._good = False
        self._asked = False
        self._launcher = launcher
        self._clock = clock
        self._backoff = backoff
        self._stop_s = stop_s
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._cause: Reason | None = None
        self._heard_mono = 0.0
        self._task: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def rss_bytes(self) -> int:
        return rss_bytes(self._process.pid) if self._process else 0

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"keeper of {self.part.name}")

    def send(self, message: local.Message) -> bool:
        """False where there is no process to hear it; one that does not read is ended."""
        if self._process is None:
            return False
        try:
            self._process.send(message)
        except AgentError as e:
            self.end(Reason.PIPELINE_HUNG, str(e))
            return False
        return True

    def end(self, cause: Reason, why: str) -> None:
        """SIGKILL the process; it is started again."""
        if self._process is not None:
            log.warning(
                "child is ended", extra={"child": self.part.name, "reason": cause.value, "cause": why}
            )
            self._cause = self._cause or cause
            self._process.kill()

    def restart(self, why: str) -> None:
        """SIGKILL the process because somebody asked for it: it is started again at once, and no failure is counted."""
        self._asked = True
        self.end(Reason.PIPELINE_DOWN, why)

    def check(self, at_mono: float) -> None:
        """End the process if it has been silent for too long."""
        silent_s = at_mono - self._heard_mono
        if self._process is not None and self._cause is None and silent_s > self.part.silence_s():
            self.end(Reason.PIPELINE_HUNG, f"silent for {silent_s:.1f} s")

    async def stop(self, cause: Reason = Reason.PIPELINE_DOWN) -> None:
        """End the process in good order: `Stop`, then SIGTERM, then SIGKILL, `stop_s` in all. `cause` is why, for the books."""
        self._stopping.set()
        self._cause = self._cause or cause
        if self._task is None:
            return
        steps: tuple[Callable[[], object], ...] = (
            lambda: self.send(local.Stop()),
            self._terminate,
            self._kill,
        )
        for step in steps:
            step()
            done, _ = await asyncio.wait({self._task}, timeout=self._stop_s / 2)
            if done:
                break
        else:
            log.error("child does not end", extra={"child": self.part.name})
            self._task.cancel()
        self._task = None

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            started_mono = self._clock.mono()
            try:
                await self._live()
            except (AgentError, OSError) as e:
                log.error("child cannot be started", extra={"child": self.part.name, "cause": str(e)})
            except Exception:  # the supervision boundary: whatever it was, the child is started again
                log.exception("child's life failed", extra={"child": self.part.name})
            if self._stopping.is_set():
                return
            if self._clock.mono() - started_mono > STABLE_S and self._good:
                self._backoff.reset()
            if not self._asked:
                await self._pause()
            self._asked = False
            self.restarts += 1

    async def _pause(self) -> None:
        delay_s = self.part.retry_s() or self._backoff.next_s()
        self.flapping = self._budget is not None and self._budget.spend(self._clock.mono())
        if self.flapping:
            delay_s = max(delay_s, self._flapping_s)
        log.warning("child starts again", extra={"child": self.part.name, "retry_s": round(delay_s, 2)})
        try:
            await asyncio.wait_for(self._stopping.wait(), delay_s)
        except asyncio.TimeoutError:
            pass

    async def _live(self) -> None:
        self._cause = None
        process = await self._launcher.launch(self.part.module, self.part.name)
        self._heard_mono = self._clock.mono()
        self._process = process
        try:
            if self._stopping.is_set():
                return
            self.send(self.part.greeting())
            await self._listen(process)
        except Exception:
            # A process that was not greeted would only wait.
            process.kill()
            raise
        finally:
            status = await self._bury(process)
            self._process = None
            if not self._stopping.is_set():
                log.warning(
                    "child ended", extra={"child": self.part.name, "pid": process.pid, "status": status}
                )
            self._good = self.part.proven()
            self.part.ended(self._cause or Reason.PIPELINE_DOWN)

    async def _listen(self, process: Process) -> None:
        try:
            async for message in process.messages():
                self._heard_mono = self._clock.mono()
                self.part.received(message)
        except (WireError, AgentError) as e:
            self.end(Reason.INTERNAL, str(e))
        except Exception:  # the supervision boundary: one child's message must not end the agent
            log.exception("message of a child failed", extra={"child": self.part.name})
            self.end(Reason.INTERNAL, "its message could not be worked on")

    async def _bury(self, process: Process) -> int:
        """The line is closed: wait shortly for the process' end, then make it so."""
        try:
            status = await asyncio.wait_for(process.ended(), EOF_GRACE_S)
        except asyncio.TimeoutError:
            process.kill()
            status = await process.ended()
        except asyncio.CancelledError:
            process.kill()
            raise
        await process.release()
        return status


class Supervisor:
    """Ticks over all keepers. `on_tick` is called after each; `last_tick_mono` says that it works."""

    def __init__(self, clock: Clock, on_tick: Callable[[float], None], tick_s: float = TICK_S) -> None:
        self._clock = clock
        self._on_tick = on_tick
        self._tick_s = tick_s
        self._keepers: set[Keeper] = set()
        self.last_tick_mono = clock.mono()

    def add(self, keeper: Keeper) -> None:
        """Start and watch a child."""
        self._keepers.add(keeper)
        keeper.start()

    async def remove(self, keeper: Keeper) -> None:
        """End a child for good."""
        self._keepers.discard(keeper)
        await keeper.stop()

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            at_mono = self._clock.mono()
            self.tick(at_mono)
            await asyncio.sleep(self._tick_s)

    def tick(self, at_mono: float) -> None:
        """One look at every child."""
        for keeper in list(self._keepers):
            keeper.check(at_mono)
        self._on_tick(at_mono)
        self.last_tick_mono = at_mono

    async def close(self, cause: Reason = Reason.AGENT_DOWN) -> None:
        """End all children, together. `cause`: why there is nobody to watch from now on."""
        keepers, self._keepers = list(self._keepers), set()
        await asyncio.gather(*(keeper.stop(cause) for keeper in keepers))
