"""The executor's ground on a device that runs: artifacts from the control plane, engines and pipelines beside those that serve.

Owns what is under way between two phases; decides nothing of what follows.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent import reconcile
from agent.clock import Clock
from agent.config import Limits
from agent.device import Device
from agent.errors import AgentError, UpdateRefused
from agent.reach import Reaching
from agent.reconcile import Layout, Plan
from agent.stop_then_load import StopThenLoad
from agent.store import Fetcher, Store
from agent.swap import Candidates
from agent.update.contact import Contact, Touch, touched
from agent.update.fetching import fetch_all
from agent.update.gates import Admission, Jury, NoAdmission, NoShadow, PlainJury, Shadow
from agent.update.ground import Go, Refusal, Skip, TooLate, Wait
from agent.update.journal import Document
from agent.update.releases import Releases
from wire.desired import Desired
from wire.doc import read
from wire.reasons import Reason
from wire.reported import SwapFigures

log = logging.getLogger(__name__)
T = TypeVar("T")

BACK_PREPARE_S = 3.0
"""With its engines in reserve the former state is ready at once; what is not is started by force."""
COLD_PREPARE_S = 45.0


@dataclass(frozen=True)
class Gates:
    """What may refuse besides the work itself."""

    jury: Jury
    admission: Admission = field(default_factory=NoAdmission)
    shadow: Shadow = field(default_factory=NoShadow)


class LoopTime:
    """The agent's clock, waiting in the event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def mono(self) -> float:
        return self._clock.mono()

    def wall(self) -> float:
        return self._clock.wall()

    def synced(self) -> bool:
        return self._clock.synced()

    async def pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def within(self, deadline_s: float, work: Coroutine[Any, Any, T]) -> T:
        try:
            return await asyncio.wait_for(work, deadline_s)
        except asyncio.TimeoutError:
            raise TooLate from None


class LiveGround:
    """To be used on the loop's thread. `running` is what `current` names; `on_progress` hears of the share that is fetched."""

    def __init__(
        self,
        device: Device,
        store: Store,
        fetcher: Fetcher,
        limits: Limits,
        releases: Releases,
        contact: Contact,
        gates: Gates | None = None,
        reaching: Reaching | None = None,
        former: Callable[[int], Document | None] = lambda _revision: None,
    ) -> None:
        self.running: Desired | None = None
        self.swaps: tuple[SwapFigures, ...] = ()
        self.on_progress: Callable[[float], None] = lambda _share: None
        self._device = device
        self._store = store
        self._fetcher = fetcher
        self._limits = limits
        self._releases = releases
        self._contact = contact
        self._gates = gates or Gates(PlainJury(device))
        self._candidates: Candidates | None = None
        self._reaching = reaching
        self._former = former
        self._contact_of = 0

    def start(self, desired: Desired) -> None:
        """Have what `current` names run at once, after a start of the agent."""
        self.running = desired
        self._name_models(desired)
        self._device.take_secrets(desired)
        self._reach(desired)
        self._device.run(reconcile.layout(desired), desired.revision)

    def tick(self, at_mono: float) -> None:
        """The supervisor's tick."""
        self._gates.jury.tick(at_mono)

    # --- phases -------------------------------------------------------------------------------------------------------

    async def admit(self, document: Document) -> Go | Refusal:
        desired = opened(document)
        reconcile.layout(desired)
        self._device.check_secrets(desired)
        if self._reaching is not None:
            self._reaching.check(desired.settings.connection)
        if (refusal := await self._releases.admit(desired.agent, self._fetcher)) is not None:
            return refusal
        return await self._gates.admission.admit(desired, self.running)

    async def fetch(self, document: Document) -> Go | Refusal:
        await fetch_all(opened(document), self._store, self._fetcher, self.on_progress)
        return Go()

    async def prepare(self, document: Document) -> Go | Refusal:
        desired = opened(document)
        self.swaps = ()
        self._name_models(desired)
        await self._end_reserve()
        self._device.take_secrets(desired)
        plan = reconcile.plan(self._device.layout, reconcile.layout(desired))
        self._candidates = await self._made_candidates(plan, desired)
        await self._candidates.prepare(desired.settings.prepare_deadline_s)
        if desired.agent is not None:
            await self._releases.prepare(desired.agent, self._fetcher)
        return Go()

    def shadows(self, document: Document) -> bool:
        return self._gates.shadow.wanted(opened(document))

    async def shadow(self, document: Document) -> Go | Skip | Refusal:
        assert self._candidates is not None
        if isinstance(self._candidates, StopThenLoad):
            return Skip("the new engines do not fit in memory beside those that serve")
        return await self._gates.shadow.compare(opened(document), self._candidates)

    async def swap(self, document: Document) -> Go | Refusal:
        assert self._candidates is not None
        desired = opened(document)
        self._watch_contact(desired, self.running)
        if desired.agent is not None and self._releases.change(desired, self.running):
            # Everything of the revision starts with the new agent.
            return Go("the agent starts anew")
        self._gates.jury.before(desired, self.running)
        self.swaps = await self._candidates.switch(self._limits.switch_deadline_s)
        self._reach(desired)
        figures: dict[str, Any] = {"swaps": [figures.to_json() for figures in self.swaps]}
        if not isinstance(self._candidates, StopThenLoad):
            return Go(figures=figures)
        gap_s = self._candidates.gap_s
        words = f"both engines do not fit in memory: without an engine for {gap_s:.1f} s"
        return Go(words, {**figures, "stop_then_load": {"gap_s": gap_s}})

    async def settle(self, document: Document) -> None:
        assert self._candidates is not None
        self.running = opened(document)
        candidates, self._candidates = self._candidates, None
        if self._releases.restart_if_changed():
            await candidates.abandon()
            return
        await candidates.settle()
        if not self._device.spare_memory():
            await self._end_reserve()

    def judge(self, document: Document, elapsed_s: float) -> Go | Wait | Refusal:
        desired = opened(document)
        if self._releases.restarting:
            return Wait("the agent starts anew")
        if self._contact_of != desired.revision:  # taken up after a restart
            former = self._former(desired.revision)
            self._watch_contact(desired, opened(former) if former else None, anew=False)
        verdict = self._contact.judge(desired, elapsed_s)
        if not isinstance(verdict, Go):
            return verdict
        return self._gates.jury.judge(desired, elapsed_s)

    async def back(self, document: Document, former: Document | None) -> None:
        """A swap back where that is possible, and by force where it is not."""
        target = opened(former) if former else None
        if self._candidates is not None:
            candidates, self._candidates = self._candidates, None
            candidates.go_back()
            await candidates.abandon()
        self.running = target
        self._contact.end()
        self._device.take_secrets(target)
        self._reach(target)
        if self._releases.go_back(document.revision):
            return
        layout = reconcile.layout(target) if target else Layout()
        revision = target.revision if target else 0
        if not await self._swap_back(layout, revision):
            await self._device.force(layout, revision)

    async def discard(self, document: Document) -> None:
        self._device.take_secrets(self.running)
        self._releases.go_back(document.revision)
        if self._candidates is not None:
            candidates, self._candidates = self._candidates, None
            await candidates.abandon()

    async def release(self, kept: list[Document]) -> None:
        self._releases.tidy()
        await self._end_reserve()
        self._store.collect({digest for one in kept for digest in one.digests})

    async def _made_candidates(self, plan: Plan, desired: Desired) -> Candidates:
        """Beside what serves; where that has no room, and something ends that makes some, in its place."""
        asked = desired.settings.update.stop_then_load and plan.engine_starts and plan.engine_stops
        if not asked or await self._gates.admission.fits_beside(desired, self.running):
            return Candidates(self._device, plan, desired.revision)
        return StopThenLoad(self._device, plan, desired.revision, self._gates.jury.forgive)

    # --- parts --------------------------------------------------------------------------------------------------------

    async def _swap_back(self, layout: Layout, revision: int) -> bool:
        """Between two frames, as on the way there; whether it came to be."""
        plan = reconcile.plan(self._device.layout, layout)
        candidates = Candidates(self._device, plan, revision)
        try:
            await candidates.prepare(COLD_PREPARE_S if plan.engine_starts else BACK_PREPARE_S)
            await candidates.switch(BACK_PREPARE_S)
        except AgentError as e:
            log.warning("no swap back, by force", extra={"revision": revision, "cause": str(e)})
            await candidates.abandon()
            return False
        await candidates.settle()
        return True

    def _watch_contact(self, desired: Desired, former: Desired | None, *, anew: bool = True) -> None:
        self._contact_of = desired.revision
        touch = touched(desired, former)
        if self._releases.on_trial(desired.revision):
            touch |= Touch.AGENT
        self._contact.begin(touch, anew=anew)

    def _reach(self, desired: Desired | None) -> None:
        if self._reaching is not None:
            self._reaching.use(desired.settings.connection if desired else None)

    async def _end_reserve(self) -> None:
        if self.running is not None:
            await self._device.end_idle_engines(reconcile.layout(self.running))

    def _name_models(self, desired: Desired) -> None:
        self._device.name_models({model.digest: name for name, model in desired.models.items()})


def opened(document: Document) -> Desired:
    """The document as the agent's own type.

    :raises UpdateRefused: it is of a form that this agent does not know
    """
    try:
        return read(Desired, json.loads(document.body))
    except Exception as e:
        raise UpdateRefused(Reason.INVALID_FIELD, f"revision {document.revision} cannot be read: {e}") from e
