"""The agent's updates: takes offers and cancellations, has the executor carry one revision at a time, and tells how it goes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from agent.clock import Clock
from agent.errors import Refused
from agent.update.account import Account, Accounts
from agent.update.executor import Executor
from agent.update.ground import Go, Refusal, Skip, Wait
from agent.update.journal import Document, Journal, Outcome, Quarantined
from agent.update.lease import Lease
from agent.update.live import LiveGround, LoopTime, opened
from agent.update.slots import Slots
from agent.update.status import Status
from agent.update.table import TABLE
from agent.update.wishes import Deadlines
from wire.desired import Desired
from wire.phase import TERMINAL, Phase
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import UpdateReport

log = logging.getLogger(__name__)

PROGRESS_STEP = 0.05


class Updater:
    """`offer` from the loop's thread; `run` works until cancelled. `on_phase` is called at each change of `status`.

    `on_outcome` hears of each arrow: the row, the phase that is over, what came of it.
    """

    def __init__(
        self,
        journal: Journal,
        ground: LiveGround,
        slots: Slots,
        clock: Clock,
        deadlines: Deadlines,
        device: str,
        accounts: Accounts,
    ) -> None:
        self.status = Status()
        self.lease = Lease(clock)
        self.on_phase: Callable[[], None] = lambda: None
        self.on_outcome: Callable[[Outcome, str, Go | Skip | Refusal | Wait | None], None] = lambda *_told: (
            None
        )
        self._journal = journal
        self._ground = ground
        self._slots = slots
        self._accounts = accounts
        self._clock = clock
        self._executor = Executor(
            journal, ground, LoopTime(clock), deadlines, self.lease.holder, self._told, device
        )
        ground.on_progress = self._progress
        self._next: Document | None = None
        self._offered = asyncio.Event()
        self._under_way: Document | None = None
        self._task: asyncio.Task[Outcome] | None = None
        self._broken_off: tuple[Reason, str] | None = None

    def start(self) -> None:
        """Decide about an update that was cut, run what `current` names, at once and with no network, and take the update up."""
        self._recall()
        cut = self._executor.recover(gone_back=self._slots.went_back())
        try:
            self._slots.sweep()
            self._slots.forget_went_back()
            self._slots.tidy(self._journal.phase)
        except OSError as e:
            log.error("the agent's slots cannot be put in order", extra={"cause": str(e)})
        outcome, current = self._journal.outcome(), self._journal.current()
        running = opened(current) if current else None
        if outcome is not None:
            told = cut or outcome
            self.status = Status(
                running,
                told.revision,
                told.phase,
                told.reason,
                told.message,
                told.problems,
                swaps=self.status.swaps,
                report=self._report(self.status.report.phases),
            )
        if running is not None:
            self._ground.start(running)
        if cut is not None and cut.phase not in TERMINAL:
            log.info(
                "taking up an update that was cut", extra={"revision": cut.revision, "starts": cut.starts}
            )
        self._put(self._oldest_first(cut))

    def _recall(self) -> None:
        """What came of the newest update so far, as it was told before this start."""
        newest = self._journal.under_way() or self._journal.outcome()
        kept = self._accounts.read()
        if newest is not None and kept.revision == newest.revision:
            report = UpdateReport(phases=kept.phases, began=kept.began)
            self.status = replace(self.status, report=report, swaps=kept.swaps)

    def _oldest_first(self, cut: Outcome | None) -> Document | None:
        """The update to go on with; one that may still be superseded by a newer one is."""
        if cut is not None and cut.phase not in TERMINAL and not TABLE[cut.phase].yields:
            return self._journal.document(cut.revision)
        return self._newest_waiting(above=0)

    def _newest_waiting(self, above: int) -> Document | None:
        """The newest revision that has not come to an end; those below it have now."""
        waiting = [revision for revision in self._journal.waiting(above) if revision > above]
        for revision in waiting[1:]:
            self._note(Outcome(revision, Phase.REJECTED, *_superseded_by(waiting[0])))
        return self._journal.document(waiting[0]) if waiting else None

    # --- from outside -------------------------------------------------------------------------------------------------

    def offer(self, desired: Desired) -> None:
        """A verified document of a higher revision.

        :raises OSError: it cannot be kept
        """
        document = Document(desired.revision, json.dumps(desired.to_json()).encode())
        self._journal.accept(document, self._clock.wall())
        self._put(document)

    def reject(self, revision: int, reason: Reason, message: str, problems: tuple[Problem, ...]) -> None:
        """A document that is refused before it is an update; `revision` 0 where it cannot be trusted to be one."""
        log.warning(
            "desired state is refused", extra={"revision": revision, "reason": reason.value, "cause": message}
        )
        told = tuple(problem.to_json() for problem in problems)
        if revision:
            self._note(Outcome(revision, Phase.REJECTED, reason.value, message, told))
        if self._task is None:
            self._set(
                offered=revision or self.status.offered,
                phase=Phase.REJECTED,
                reason=reason.value,
                message=message,
                problems=told,
                progress=None,
            )

    def cancel(self, revision: int | None = None) -> int:
        """End the update under way, or the one with this revision; its revision.

        :raises Refused: there is none, or it is too late for it
        """
        document = self._under_way
        if document is None or revision not in (None, document.revision):
            raise Refused(Reason.NOT_FOUND, f"no update {revision or ''} is under way".replace("  ", " "))
        if not self._may_yield:
            raise Refused(
                Reason.NOT_ALLOWED,
                f"revision {document.revision} is {self.status.phase.value}: too late to cancel; push what is to run instead",
            )
        self._break_off(Reason.CANCELLED, "cancelled by an operator")
        return document.revision

    def quarantined(self) -> list[Quarantined]:
        """:raises OSError: the journal cannot be read"""
        return self._journal.quarantined()

    def clear_quarantine(self, digests: list[str] | None) -> list[str]:
        """Let digests in again, or all. :raises OSError: the disk fails"""
        cleared = self._journal.clear_quarantine(digests)
        self._set(report=self._report(self.status.report.phases))
        return cleared

    def trouble(self, reason: Reason, why: str) -> None:
        """A download is interrupted and tried again."""
        if self.status.phase is Phase.FETCHING:
            self._set(reason=reason.value, message=why)

    # --- the work -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work on offers for ever."""
        if self._next is None:
            await self._executor.clear()
        while True:
            await self._offered.wait()
            self._offered.clear()
            document, self._next = self._next, None
            if document is not None:
                await self._carry(document)
                if self._next is None:
                    self._put(self._newest_waiting(above=document.revision))

    async def _carry(self, document: Document) -> None:
        self._under_way, self._broken_off = document, None
        self._show(self._journal.outcome(document.revision) or Outcome(document.revision, Phase.OFFERED), {})
        self._task = asyncio.create_task(self._executor.carry(document), name=f"update {document.revision}")
        try:
            await asyncio.wait({self._task})
        except asyncio.CancelledError:
            self._task.cancel()
            await asyncio.wait({self._task})
            raise
        task, self._task, self._under_way = self._task, None, None
        if task.cancelled():
            reason, message = self._broken_off or (Reason.INTERNAL, "broken off")
            self._ended(Outcome(document.revision, Phase.REJECTED, reason.value, message))
        elif (error := task.exception()) is not None:
            log.error("update failed", exc_info=error)
            words = f"{type(error).__name__}: {error}"
            self._ended(Outcome(document.revision, Phase.REJECTED, Reason.INTERNAL.value, words))

    def _put(self, document: Document | None) -> None:
        if document is None:
            return
        former, self._next = self._next, document
        if former is not None and former.revision != document.revision:
            self._note(Outcome(former.revision, Phase.REJECTED, *_superseded_by(document.revision)))
        self._offered.set()
        if self._task is not None and self._may_yield:
            self._break_off(*_superseded(document.revision))

    @property
    def _may_yield(self) -> bool:
        phase = self.status.phase
        return self._task is not None and self._broken_off is None and phase in TABLE and TABLE[phase].yields

    def _break_off(self, reason: Reason, message: str) -> None:
        """Once only: a second time would break off the end of its candidates."""
        assert self._task is not None
        self._broken_off = (reason, message)
        self._task.cancel()

    # --- telling ------------------------------------------------------------------------------------------------------

    def _told(self, outcome: Outcome, before: str, answer: Go | Skip | Refusal | Wait | None) -> None:
        phases = dict(self.status.report.phases)
        if answer is not None and (entry := _entry(answer)):
            phases[before] = entry
        changes: dict[str, Any] = {"report": self._report(phases), "running": self._ground.running}
        if self._ground.swaps:
            changes["swaps"] = self._ground.swaps
        self.on_outcome(outcome, before, answer)
        self._show(outcome, changes)

    def _ended(self, outcome: Outcome) -> None:
        self._note(outcome)
        self.on_outcome(outcome, "", None)
        self._show(outcome, {})

    def _show(self, outcome: Outcome, changes: dict[str, Any]) -> None:
        if outcome.phase is Phase.OFFERED:
            changes["report"] = self._report()
        changes["report"] = self._begun(outcome.phase, changes.get("report", self.status.report))
        if outcome.phase in TERMINAL:
            level = logging.INFO if outcome.phase is Phase.COMMITTED else logging.WARNING
            fields = {"revision": outcome.revision, "phase": outcome.phase.value, "reason": outcome.reason}
            log.log(level, "update is over", extra={**fields, "cause": outcome.message})
        self._set(
            offered=outcome.revision,
            phase=outcome.phase,
            reason=outcome.reason,
            message=outcome.message,
            problems=outcome.problems,
            progress=0.0 if outcome.phase is Phase.FETCHING else None,
            **changes,
        )
        report = self.status.report
        account = Account(outcome.revision, report.phases, report.began, self.status.swaps)
        self._accounts.keep(account, durable=outcome.phase in TERMINAL)

    def _begun(self, phase: Phase, report: UpdateReport) -> UpdateReport:
        """The report with the time at which a phase began, for the first time where it is begun again after a start."""
        began = {} if phase is Phase.OFFERED else dict(self.status.report.began)
        began.setdefault(phase.value.lower(), round(self._clock.wall(), 3))
        return report.model_copy(update={"began": began})

    def _progress(self, share: float) -> None:
        if self.status.phase is Phase.FETCHING and share - (self.status.progress or 0.0) >= PROGRESS_STEP:
            self._set(progress=round(share, 2), reason=None, message=None)

    def _report(self, phases: dict[str, dict[str, Any]] | None = None) -> UpdateReport:
        try:
            held = tuple(entry.digest for entry in self._journal.quarantined())
        except OSError:
            held = self.status.report.quarantined
        return UpdateReport(phases=phases or {}, began=self.status.report.began, quarantined=held)

    def _note(self, outcome: Outcome) -> None:
        """The row of an end, which holds also where the disk does not take it."""
        try:
            self._journal.note(outcome, self._clock.wall())
        except OSError as e:
            log.error("the journal cannot be written", extra={"cause": str(e)})

    def _set(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)
        self.on_phase()


def _superseded(by: int) -> tuple[Reason, str]:
    return Reason.SUPERSEDED, f"revision {by} arrived before this one was applied"


def _superseded_by(by: int) -> tuple[str, str]:
    reason, message = _superseded(by)
    return reason.value, message


def _entry(answer: Go | Skip | Refusal | Wait) -> dict[str, Any]:
    """What reported state says of a phase that is over; empty where there is nothing to say."""
    if isinstance(answer, Refusal) and not answer.gate:
        return {}
    told = {name: value for name, value in asdict(answer).items() if value not in (None, "", (), {})}
    told.pop("problems", None)
    told.pop("suspects", None)
    if isinstance(answer, Refusal):
        told["reason"] = answer.reason.value
    if isinstance(answer, Go):
        return {**({"note": answer.note} if answer.note else {}), **answer.figures}
    return told
