"""The executor of updates: takes one revision from where the journal has it to its end. Standard library only.

Decides nothing of its own: `table` says what follows, the ground does the work, the journal has the row before each arrow.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from agent.errors import AgentError
from agent.update.ground import Go, Ground, Refusal, Skip, Time, TooLate, Wait
from agent.update.journal import Document, Journal, Outcome
from agent.update.table import TABLE, Event, after_cut, follow
from agent.update.turn import Turn
from agent.update.wishes import Deadlines, deadline_s, wishes
from wire.phase import TERMINAL, Phase
from wire.reasons import Reason

log = logging.getLogger(__name__)

JUDGE_S = 0.5

LATE = {
    Phase.FETCHING: (
        Reason.ARTIFACT_UNREACHABLE,
        "not fetched within {s:.0f} s; check the network, publish again",
    ),
    Phase.WAIT_WINDOW: (
        Reason.WINDOW_MISSED,
        "no window was open, or an application held its lock, for {s:.0f} s",
    ),
    Phase.SWAPPING: (Reason.SWITCH_FAILED, "not switched within {s:.0f} s"),
    Phase.PROBATION: (Reason.PROBATION_TIMEOUT, "probation came to no verdict within {s:.0f} s"),
}
STARTED_TOO_OFTEN = "the device started {starts} times in {phase} and never came further"

Answer = Go | Skip | Refusal
Tell = Callable[[Outcome, str, "Answer | Wait | None"], None]
"""Called at each change: how far it is; for a phase that has ended, its name in small letters and what came of it."""


class Executor:
    """`held` names the application whose lock holds updates back, or is empty."""

    def __init__(
        self,
        journal: Journal,
        ground: Ground,
        time: Time,
        deadlines: Deadlines | None = None,
        held: Callable[[], str] = lambda: "",
        tell: Tell = lambda _outcome, _phase, _answer: None,
        device: str = "",
    ) -> None:
        self._journal = journal
        self._ground = ground
        self._time = time
        self._deadlines = deadlines or Deadlines()
        self._held = held
        self._tell = tell
        self._device = device
        self._turn: Turn | None = None

    # --- after a start ------------------------------------------------------------------------------------------------

    def recover(self, gone_back: int = 0) -> Outcome | None:
        """Count this start, and decide where a cut update goes on; None where there is none.

        `gone_back` is a revision that the launcher has taken back already, because its agent did not start. To be called before anything runs: `current` is put back here, with no network and nothing else that could fail.
        """
        self._journal.sweep()
        outcome = self._journal.under_way()
        if outcome is None:
            self._put_right()
            return None
        starts = self._count(outcome)
        live = self._journal.points_to() == outcome.revision
        document = self._journal.document(outcome.revision)
        if document is None and not live:
            gone = _refused(Reason.INTERNAL, "its document is gone")
            return self._note_anyway(outcome.revision, Phase.REJECTED, gone)
        limit = wishes(document.json()).starts if document else None
        phase = after_cut(outcome.phase, starts, live=live, limit=limit)
        if gone_back == outcome.revision and TABLE[outcome.phase].live:
            phase = Phase.ROLLING_BACK
        refusal = _told(outcome)
        if phase in (Phase.ROLLING_BACK, Phase.REJECTED) and outcome.phase is not phase:
            words = STARTED_TOO_OFTEN.format(starts=starts, phase=outcome.phase.value)
            refusal = Refusal(Reason.STARTS_WITHOUT_COMMIT, words)
        if phase is not outcome.phase:
            suspects = self._suspects(document, phase, refusal) if document else frozenset()
            before = outcome.phase.value.lower()
            outcome = self._note_anyway(outcome.revision, phase, refusal, starts=starts, suspects=suspects)
            self._tell(outcome, before, refusal)
        if phase is Phase.ROLLING_BACK:
            self._point_back(outcome.revision)
        return outcome

    def _put_right(self) -> None:
        """A disk that failed while an update went back may have left `current` with what was taken back."""
        named = self._journal.points_to()
        if named and self._journal.phase(named) in (Phase.ROLLED_BACK, Phase.REJECTED):
            self._point_back(named)

    def _count(self, outcome: Outcome) -> int:
        try:
            self._journal.started(outcome.revision)
        except OSError as e:
            log.error("a start cannot be counted", extra={"cause": str(e)})
        return outcome.starts + 1

    # --- an update ----------------------------------------------------------------------------------------------------

    async def carry(self, document: Document) -> Outcome:
        """Take an accepted revision to its end.

        A cancellation before SWAPPING leaves what serves as it is, and the row in its phase: the caller says how it ended.
        """
        outcome = self._journal.outcome(document.revision)
        phase = outcome.phase if outcome else Phase.OFFERED
        starts = outcome.starts if outcome else 0
        refusal = _told(outcome) if outcome else None
        self._turn = None
        try:
            while phase not in TERMINAL:
                event, answer = await self._step(phase, document)
                refusal = answer if isinstance(answer, Refusal) else refusal
                following = follow(phase, event)
                if following in TABLE and TABLE[following].anew:
                    starts = 0
                phase, refusal = await self._arrow(phase, following, document, answer, refusal, starts)
        except BaseException:
            if phase in TABLE and TABLE[phase].yields:
                await self._discard(document)
            raise
        return self._journal_outcome(document.revision, phase, refusal)

    async def _arrow(
        self,
        before: Phase,
        phase: Phase,
        document: Document,
        answer: Answer | Wait | None,
        refusal: Refusal | None,
        starts: int,
    ) -> tuple[Phase, Refusal | None]:
        """The row, then the arrow; where the row cannot be written, the way back."""
        told = refusal if phase in (Phase.REJECTED, Phase.ROLLING_BACK, Phase.ROLLED_BACK) else None
        if phase is Phase.COMMITTED:  # its row is written by the commit
            self._tell(Outcome(document.revision, phase), before.value.lower(), answer)
        else:
            try:
                outcome = self._note(
                    document.revision,
                    phase,
                    told,
                    starts=starts,
                    suspects=self._suspects(document, phase, told),
                )
            except OSError as e:
                if TABLE[before].yields:
                    refusal = _disk(e)
                    phase = Phase.REJECTED
                else:
                    log.error("the journal cannot be written", extra={"cause": str(e)})
                outcome = _outcome(document.revision, phase, told or refusal, starts)
            self._tell(outcome, before.value.lower(), answer)
        if phase is Phase.REJECTED:
            await self._discard(document)
        if phase in TERMINAL:
            await self.clear()
        return phase, refusal

    async def _discard(self, document: Document) -> None:
        try:
            await self._ground.discard(document)
        except (OSError, AgentError) as e:
            log.warning("what was prepared could not be thrown away", extra={"cause": str(e)})

    async def clear(self) -> None:
        """Let go of everything that no kept revision and no update under way needs."""
        try:
            self._journal.forget()
            await self._ground.release(self._journal.kept())
        except (OSError, AgentError) as e:
            log.warning("what is not needed could not be cleared", extra={"cause": str(e)})

    async def _step(self, phase: Phase, document: Document) -> tuple[Event, Answer | Wait | None]:
        """The work of one phase, with its deadline."""
        limit_s = deadline_s(phase, self._deadlines, document.json())
        answer: Answer
        try:
            if phase is Phase.ROLLING_BACK:
                return await self._roll_back(document, limit_s)
            answer = await self._time.within(limit_s, self._work(phase, document, limit_s))
        except TooLate:
            reason, words = LATE.get(
                phase, (Reason.PREPARE_TIMEOUT, f"{phase.value} was not over within {{s:.0f}} s")
            )
            answer = _refused(reason, words.format(s=limit_s))
        except AgentError as e:
            answer = Refusal(e.reason, str(e), tuple(problem.to_json() for problem in e.problems))
        except OSError as e:
            answer = _disk(e)
        except Exception as e:  # the boundary: an update must not end the agent, the old state serves
            log.exception("update failed")
            answer = _refused(Reason.INTERNAL, f"{type(e).__name__}: {e}")
        if isinstance(answer, Refusal):
            return Event.FAIL, answer
        return (Event.HOLD if self._detour(phase, document) else Event.PASS), answer

    def _detour(self, phase: Phase, document: Document) -> bool:
        if phase is Phase.STAGED:
            return not self._turn_of(document).is_now()
        return phase is Phase.PREPARE and self._ground.shadows(document)

    def _turn_of(self, document: Document) -> Turn:
        if self._turn is None:
            self._turn = Turn(document, self._time, self._held, self._device)
        return self._turn

    async def _work(self, phase: Phase, document: Document, limit_s: float) -> Answer:
        ground = self._ground
        if phase is Phase.OFFERED:
            return self._look_for_quarantined(document)
        if phase is Phase.VERIFIED:
            return await ground.admit(document)
        if phase is Phase.FETCHING:
            return await ground.fetch(document)
        if phase is Phase.WAIT_WINDOW:
            await self._turn_of(document).until_now()
            return Go()
        if phase is Phase.PREPARE:
            answer = await ground.prepare(document)
            await self._turn_of(document).until_free()
            return answer
        if phase is Phase.SHADOW:
            return await ground.shadow(document)
        if phase is Phase.SWAPPING:
            return await self._swap(document)
        if phase is Phase.PROBATION:
            return await self._probation(document)
        return Go()

    def _look_for_quarantined(self, document: Document) -> Answer:
        former = self._journal.current()
        running = former.digests if former else frozenset()
        held = {entry.digest: entry for entry in self._journal.quarantined()}
        problems = tuple(
            {
                "path": "",
                "reason": Reason.QUARANTINED.value,
                "message": f"{digest[:19]}: {held[digest].message}",
            }
            for digest in sorted((document.digests - running) & set(held))
        )
        if not problems:
            return Go()
        words = "; ".join(str(problem["message"]) for problem in problems)
        return Refusal(
            Reason.QUARANTINED,
            f"rolled back on this device before: {words}; `outrider agent quarantine clear` lets it in again",
            problems,
        )

    # --- the switch and after -----------------------------------------------------------------------------------------

    async def _swap(self, document: Document) -> Answer:
        try:
            self._journal.aim(document.revision)
        except OSError as e:
            return _refused(Reason.SWITCH_FAILED, f"`current` cannot be written: {e}")
        answer = await self._ground.swap(document)
        if isinstance(answer, Refusal):
            return answer
        try:
            self._journal.point(document.revision)
        except OSError as e:
            return _refused(Reason.SWITCH_FAILED, f"`current` cannot be written: {e}")
        await self._ground.settle(document)
        return answer

    async def _probation(self, document: Document) -> Answer:
        began_mono = self._time.mono()
        last: Answer | Wait = Go()
        while True:
            last = self._ground.judge(document, self._time.mono() - began_mono)
            if isinstance(last, Refusal):
                return last
            if isinstance(last, Go) and self._commit(document):
                return last
            await self._time.pause(JUDGE_S)

    def _commit(self, document: Document) -> bool:
        try:
            self._journal.commit(document.revision, self._time.wall())
        except OSError as e:
            log.error("the commit cannot be written; it is tried again", extra={"cause": str(e)})
            return False
        return True

    async def _roll_back(self, document: Document, limit_s: float) -> tuple[Event, None]:
        former = self._point_back(document.revision)
        try:
            await self._time.within(limit_s, self._ground.back(document, former))
        except (TooLate, AgentError, OSError) as e:
            log.error("going back was not clean", extra={"cause": f"{type(e).__name__}: {e}"})
        except Exception:  # the boundary: the way back has to come to its end
            log.exception("going back failed")
        return Event.PASS, None

    def _point_back(self, revision: int) -> Document | None:
        """Have `current` name what is gone back to, which runs from now on also where the disk does not take that."""
        former: Document | None = None
        try:
            former = self._journal.former(revision)
            if former is not None:
                self._journal.point(former.revision)
            else:
                self._journal.point_nowhere()
        except OSError as e:
            log.error("`current` cannot be put back; the next start does it", extra={"cause": str(e)})
        return former

    def _suspects(self, document: Document, phase: Phase, refusal: Refusal | None) -> frozenset[str]:
        if phase is not Phase.ROLLING_BACK:
            return frozenset()
        if refusal is not None and refusal.suspects is not None:
            return frozenset(refusal.suspects)
        proven = [one.digests for one in self._journal.kept() if one.revision != document.revision]
        return document.digests.difference(*proven)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _note(
        self,
        revision: int,
        phase: Phase,
        refusal: Refusal | None,
        *,
        starts: int = 0,
        suspects: frozenset[str] = frozenset(),
    ) -> Outcome:
        outcome = _outcome(revision, phase, refusal, starts)
        self._journal.note(outcome, self._time.wall(), quarantine=suspects)
        return outcome

    def _note_anyway(
        self,
        revision: int,
        phase: Phase,
        refusal: Refusal | None,
        *,
        starts: int = 0,
        suspects: frozenset[str] = frozenset(),
    ) -> Outcome:
        """A row that the disk may not take: what it says holds all the same until the next start."""
        try:
            return self._note(revision, phase, refusal, starts=starts, suspects=suspects)
        except OSError as e:
            log.error("the journal cannot be written", extra={"cause": str(e)})
            return _outcome(revision, phase, refusal, starts)

    def _journal_outcome(self, revision: int, phase: Phase, refusal: Refusal | None) -> Outcome:
        return _outcome(revision, phase, None if phase is Phase.COMMITTED else refusal, 0)


def _outcome(revision: int, phase: Phase, refusal: Refusal | None, starts: int) -> Outcome:
    if refusal is None:
        return Outcome(revision, phase, starts=starts)
    return Outcome(revision, phase, refusal.reason.value, refusal.message, refusal.problems, starts)


def _told(outcome: Outcome) -> Refusal | None:
    """The refusal that a row holds."""
    if outcome.reason is None:
        return None
    return Refusal(Reason(outcome.reason), outcome.message or "", outcome.problems)


def _refused(reason: Reason, message: str) -> Refusal:
    return Refusal(reason, message)


def _disk(error: OSError) -> Refusal:
    return Refusal(Reason.DISK_FULL, f"the device's disk fails: {error}")
