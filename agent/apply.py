"""The executor of updates: one revision at a time, from its offer to its end. A newer one supersedes it until it swaps.

All or nothing: anything that fails before the swap leaves what serves untouched, and reported state says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from agent import reconcile
from agent.clock import Clock
from agent.config import Limits
from agent.device import Device
from agent.errors import AgentError, ArtifactRefused, UpdateRefused
from agent.journal import Journal, Outcome
from agent.store import Fetcher, Store
from agent.swap import Candidates
from wire.desired import Desired
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import Phase, SwapFigures

log = logging.getLogger(__name__)

PROGRESS_STEP = 0.05


@dataclass(frozen=True)
class Status:
    """What reported state says of updates: `running` is applied; `offered` the newest, with its phase and what is wrong."""

    running: Desired | None = None
    offered: int = 0
    phase: Phase = Phase.IDLE
    reason: str | None = None
    message: str | None = None
    problems: tuple[dict[str, Any], ...] = ()
    progress: float | None = None
    swaps: tuple[SwapFigures, ...] = ()

    @property
    def revision(self) -> int:
        return self.running.revision if self.running else 0


class Updater:
    """`offer` from the loop's thread; `run` works until cancelled. `on_phase` is called at each change of `status`."""

    def __init__(
        self, device: Device, journal: Journal, store: Store, fetcher: Fetcher, clock: Clock, limits: Limits
    ) -> None:
        self.status = Status()
        self.on_phase: Callable[[], None] = lambda: None
        self._device = device
        self._journal = journal
        self._store = store
        self._fetcher = fetcher
        self._clock = clock
        self._limits = limits
        self._next: Desired | None = None
        self._offered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._may_supersede = False

    def start(self) -> None:
        """Run what `current` names, at once and with no network; take up an update that was cut."""
        current = self._journal.current()
        outcome = self._journal.outcome()
        if outcome is not None:
            self.status = Status(
                current, outcome.revision, outcome.phase, outcome.reason, outcome.message, outcome.problems
            )
        if current is not None:
            self._name_models(current)
            self._device.take_secrets(current)
            self._device.run(reconcile.layout(current), current.revision)
        if (unfinished := self._journal.unfinished()) is not None:
            log.info("taking up an update that was cut", extra={"revision": unfinished.revision})
            self._put(unfinished)

    def offer(self, desired: Desired) -> None:
        """A verified document of a higher revision.

        :raises OSError: it cannot be kept
        """
        self._journal.accept(desired, self._clock.wall())
        self._put(desired)

    def reject(self, revision: int, reason: Reason, message: str, problems: tuple[Problem, ...]) -> None:
        """A document that is refused before it is an update; `revision` 0 where it cannot be trusted to be one."""
        log.warning(
            "desired state is refused", extra={"revision": revision, "reason": reason.value, "cause": message}
        )
        outcome = Outcome(
            revision, Phase.REJECTED, reason.value, message, tuple(problem.to_json() for problem in problems)
        )
        if revision:
            self._note(outcome)
        if self._task is None:
            self._set(
                offered=revision or self.status.offered,
                phase=Phase.REJECTED,
                reason=outcome.reason,
                message=outcome.message,
                problems=outcome.problems,
                progress=None,
            )

    async def run(self) -> None:
        """Work on offers for ever."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            desired, self._next = self._next, None
            if desired is None:
                continue
            self._task = asyncio.create_task(self._update(desired), name=f"update {desired.revision}")
            try:
                await asyncio.wait({self._task})
            except asyncio.CancelledError:
                self._task.cancel()
                await asyncio.wait({self._task})
                raise
            superseded = self._task.cancelled()
            self._task = None
            if superseded:
                self._superseded(desired)

    def _put(self, desired: Desired) -> None:
        self._next = desired
        self._offered.set()
        if self._task is not None and self._may_supersede:
            # Once only: a second time would break off the end of its candidates.
            self._may_supersede = False
            self._task.cancel()

    def _superseded(self, desired: Desired) -> None:
        assert self._next is not None
        message = f"revision {self._next.revision} arrived before this one was applied"
        self._finish(desired, Phase.REJECTED, Reason.SUPERSEDED, message)

    async def _update(self, desired: Desired) -> None:
        self._set(
            offered=desired.revision,
            phase=Phase.OFFERED,
            reason=None,
            message=None,
            problems=(),
            progress=None,
        )
        self._may_supersede = True
        try:
            await self._work(desired)
        except UpdateRefused as e:
            back = e.reason is Reason.SWITCH_FAILED
            self._finish(desired, Phase.ROLLED_BACK if back else Phase.REJECTED, e.reason, str(e), e.problems)
        except AgentError as e:
            self._finish(desired, Phase.REJECTED, e.reason, str(e), e.problems)
        except OSError as e:
            self._finish(desired, Phase.REJECTED, Reason.DISK_FULL, f"the device's disk fails: {e}")
        except Exception as e:  # the boundary: an update must not end the agent, the old state serves
            log.exception("update failed")
            self._finish(desired, Phase.REJECTED, Reason.INTERNAL, f"{type(e).__name__}: {e}")
        finally:
            self._may_supersede = False

    async def _work(self, desired: Desired) -> None:
        target = reconcile.layout(desired)
        self._device.check_secrets(desired)
        self._phase(desired, Phase.VERIFIED)
        await self._fetch(desired)
        self._phase(desired, Phase.STAGED)
        self._name_models(desired)
        plan = reconcile.plan(self._device.layout, target)
        candidates = Candidates(self._device, plan, desired.revision)
        self._phase(desired, Phase.PREPARE)
        try:
            self._device.take_secrets(desired)
            await candidates.prepare(desired.settings.prepare_deadline_s)
            self._may_supersede = False
            self._phase(desired, Phase.SWAPPING)
            swaps = await candidates.switch(self._limits.switch_deadline_s)
            self._commit(desired, candidates)
        except BaseException:
            self._device.take_secrets(self.status.running)
            await candidates.abandon()
            raise
        await candidates.settle()
        self._set(running=desired, swaps=swaps)
        self._finish(desired, Phase.COMMITTED)
        self._clear()

    def _commit(self, desired: Desired, candidates: Candidates) -> None:
        try:
            self._journal.set_current(desired.revision)
        except OSError as e:
            candidates.go_back()
            raise UpdateRefused(Reason.SWITCH_FAILED, f"the commit cannot be written: {e}") from e

    # --- artifacts ----------------------------------------------------------------------------------------------------

    async def _fetch(self, desired: Desired) -> None:
        self._phase(desired, Phase.FETCHING, progress=0.0)
        try:
            await asyncio.wait_for(self._fetch_all(desired), self._limits.fetch_deadline_s)
        except asyncio.TimeoutError:
            raise ArtifactRefused(
                Reason.ARTIFACT_UNREACHABLE,
                f"not fetched within {self._limits.fetch_deadline_s:.0f} s; check the network, publish again",
            ) from None

    async def _fetch_all(self, desired: Desired) -> None:
        problems: list[Problem] = []
        work = [(f"workflows.{name}", "", w.digest) for name, w in desired.workflows.items()]
        work += [(f"models.{name}", name, m.digest) for name, m in desired.models.items()]
        for index, (path, model, digest) in enumerate(work):
            try:
                if model:
                    await self._store.fetch_model(
                        digest,
                        self._fetcher,
                        lambda done, all_, i=index: self._progress(i, done, all_, len(work)),  # type: ignore[misc]
                    )
                else:
                    await self._store.fetch_workflow(digest, self._fetcher)
            except ArtifactRefused as e:
                problems.append(Problem(path, e.reason, str(e)))
        if problems:
            raise ArtifactRefused(problems[0].reason, "; ".join(map(str, problems)), problems)

    def _progress(self, index: int, done: int, total: int, parts: int) -> None:
        progress = (index + done / max(total, 1)) / parts
        if progress - (self.status.progress or 0.0) >= PROGRESS_STEP:
            self._set(progress=round(progress, 2), reason=None, message=None)

    def trouble(self, reason: Reason, why: str) -> None:
        """A download is interrupted and tried again."""
        if self.status.phase is Phase.FETCHING:
            self._set(reason=reason.value, message=why)

    def _clear(self) -> None:
        try:
            self._journal.forget()
            keep = {digest for document in self._journal.kept() for digest in document.digests}
            self._store.collect(keep)
        except (OSError, AgentError) as e:
            log.warning("the store could not be cleared", extra={"cause": str(e)})

    # --- phases -------------------------------------------------------------------------------------------------------

    def _name_models(self, desired: Desired) -> None:
        self._device.name_models({model.digest: name for name, model in desired.models.items()})

    def _phase(self, desired: Desired, phase: Phase, progress: float | None = None) -> None:
        """The row before the arrow, then the arrow."""
        self._journal.note(Outcome(desired.revision, phase), self._clock.wall())
        self._set(phase=phase, progress=progress, reason=None, message=None)

    def _finish(
        self,
        desired: Desired,
        phase: Phase,
        reason: Reason | None = None,
        message: str | None = None,
        problems: tuple[Problem, ...] = (),
    ) -> None:
        code = reason.value if reason else None
        told = tuple(problem.to_json() for problem in problems)
        self._note(Outcome(desired.revision, phase, code, message, told))
        level = logging.INFO if phase is Phase.COMMITTED else logging.WARNING
        log.log(
            level,
            "update is over",
            extra={"revision": desired.revision, "phase": phase.value, "reason": code, "cause": message},
        )
        self._set(phase=phase, reason=code, message=message, problems=told, progress=None)

    def _note(self, outcome: Outcome) -> None:
        """The row of an end, which holds also where the disk does not take it."""
        try:
            self._journal.note(outcome, self._clock.wall())
        except OSError as e:
            log.error("the journal cannot be written", extra={"cause": str(e)})

    def _set(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        self.on_phase()
