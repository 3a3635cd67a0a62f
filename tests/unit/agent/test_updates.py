"""Updates without processes: the executor on a ground that is told what to answer, and what the agent tells of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from agent.errors import Refused, UpdateRefused
from agent.outbox import Kind
from agent.outgoing import Outgoing
from agent.stamp import Stamp
from agent.update.__main__ import run
from agent.update.account import Accounts
from agent.update.executor import Executor
from agent.update.ground import Go, Refusal, Skip, TooLate, Wait
from agent.update.journal import Document, Journal, Outcome
from agent.update.lease import Lease
from agent.update.slots import Slots
from agent.update.updater import Updater
from agent.update.wishes import Deadlines
from tests.unit.agent.clocks import ManualClock
from wire import envelope
from wire.desired import Desired
from wire.names import DeviceId, FleetId
from wire.phase import Phase
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import ObjectState, Reported, UpdateReport
from wire.topics import DeviceTopics

NEW, OLD = "sha256:" + "e" * 64, "sha256:" + "0" * 64


class StandingTime(ManualClock):
    """Waiting moves the clock on; work that waits past its deadline is broken off by it."""

    deadline_mono = float("inf")

    async def pause(self, seconds: float) -> None:
        self.advance(seconds)
        if self.mono() > self.deadline_mono:
            raise TooLate

    async def within(self, deadline_s: float, work: Coroutine[Any, Any, Any]) -> Any:
        self.deadline_mono = self.mono() + deadline_s
        try:
            return await work
        finally:
            self.deadline_mono = float("inf")


class Ground:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.running: Any = None
        self.swaps: tuple[()] = ()
        self.on_progress: Any = None

    def start(self, _desired: Desired) -> None:
        self.asked.append("start")

    def _answer(self, name: str, default: Any) -> Any:
        self.asked.append(name)
        answer = self.answers.get(name, default)
        answer = answer() if callable(answer) else answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def admit(self, _document: Document) -> Any:
        return self._answer("admit", Go())

    async def fetch(self, _document: Document) -> Any:
        answer = self._answer("fetch", Go())
        return await answer if asyncio.iscoroutine(answer) else answer

    async def prepare(self, _document: Document) -> Any:
        return self._answer("prepare", Go())

    def shadows(self, _document: Document) -> bool:
        return "shadow" in self.answers

    async def shadow(self, _document: Document) -> Any:
        return self._answer("shadow", Skip("x"))

    async def swap(self, _document: Document) -> Any:
        return self._answer("swap", Go())

    async def settle(self, _document: Document) -> None:
        self._answer("settle", None)

    def judge(self, _document: Document, elapsed_s: float) -> Any:
        answer = self.answers.get("judge", Go())
        return answer(elapsed_s) if callable(answer) else answer

    async def back(self, _document: Document, former: Document | None) -> None:
        self._answer(f"back to {former.revision if former else 'nothing'}", self.answers.get("back"))

    async def discard(self, _document: Document) -> None:
        answer = self._answer("discard", None)
        if asyncio.iscoroutine(answer):
            await answer

    async def release(self, _kept: list[Document]) -> None:
        self._answer("release", None)


def document(revision: int, model: str = NEW, **update: Any) -> Document:
    body = {
        "device": "d",
        "revision": revision,
        "issued_at": 1.0,
        "models": {"m": {"digest": model}},
        "settings": {"update": update},
    }
    return Document(revision, json.dumps(body).encode())


def committed(journal: Journal, revision: int, model: str = OLD) -> None:
    journal.accept(document(revision, model), 0.0)
    journal.point(revision)
    journal.commit(revision, 0.0)


Carry = Callable[..., Outcome]


class Bench:
    """A journal with revision 1 committed, and an executor for revision 2."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path)
        self.time = StandingTime()
        self.phases: list[Phase] = []
        self.held = ""
        committed(self.journal, 1)

    def executor(self, ground: Ground) -> Executor:
        return Executor(
            self.journal,
            ground,
            self.time,
            Deadlines(),
            lambda: self.held,
            lambda o, _p, _a: self.phases.append(o.phase),
            "d",
        )

    def carry(self, ground: Ground, offered: Document | None = None) -> Outcome:
        offered = offered or document(2)
        self.journal.accept(offered, 0.0)
        return run(self.executor(ground).carry(offered))


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    made = Bench(tmp_path)
    yield made
    made.journal.close()


def test_a_good_revision_passes_every_phase_and_is_committed(bench: Bench) -> None:
    ground = Ground(shadow=Go())
    assert bench.carry(ground) == Outcome(2, Phase.COMMITTED)
    assert [phase.value for phase in bench.phases] == [
        "VERIFIED", "FETCHING", "STAGED", "PREPARE", "SHADOW", "SWAPPING", "PROBATION", "COMMITTED",
    ]  # fmt: skip
    assert ground.asked == ["admit", "fetch", "prepare", "shadow", "swap", "settle", "release"]
    assert (bench.journal.points_to(), bench.journal.phase(2)) == (2, Phase.COMMITTED)


@pytest.mark.parametrize("phase", ["admit", "fetch", "prepare", "shadow"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Refusal(Reason.OUT_OF_MEMORY, "too big"), "out-of-memory"),
        (
            UpdateRefused(Reason.GOLDEN_MISMATCH, "m", [Problem("p", Reason.GOLDEN_MISMATCH, "m")]),
            "golden-mismatch",
        ),
        (OSError(28, "no room"), "disk-full"),
        (RuntimeError("a bug"), "internal"),
        (TooLate(), None),
    ],
)
def test_what_is_refused_before_the_switch_touches_nothing(
    bench: Bench, phase: str, answer: Any, reason: str | None
) -> None:
    ground = Ground(**{phase: answer})
    outcome = bench.carry(ground)
    assert outcome.phase is Phase.REJECTED
    assert reason in (None, outcome.reason)
    assert ground.asked[-2:] == ["discard", "release"]
    assert "swap" not in ground.asked
    assert (bench.journal.points_to(), bench.journal.quarantined()) == (1, [])


@pytest.mark.parametrize("phase", ["swap", "settle"])
def test_a_switch_that_fails_goes_back(bench: Bench, phase: str) -> None:
    ground = Ground(**{phase: UpdateRefused(Reason.SWITCH_FAILED, "hangs")})
    outcome = bench.carry(ground)
    assert (outcome.phase, outcome.reason) == (Phase.ROLLED_BACK, "switch-failed")
    assert "back to 1" in ground.asked
    assert bench.journal.points_to() == 1


def test_a_broken_gate_goes_back_names_the_gate_and_quarantines_what_is_new(bench: Bench) -> None:
    ground = Ground(
        judge=Refusal(Reason.PROBATION_FAILED, "gate fps: 3, at least 9", gate="fps", figure=3, limit=9)
    )
    outcome = bench.carry(ground)
    assert (outcome.phase, outcome.message) == (Phase.ROLLED_BACK, "gate fps: 3, at least 9")
    assert [entry.digest for entry in bench.journal.quarantined()] == [NEW]
    again = bench.carry(Ground(), document(3))
    assert (again.phase, again.reason) == (Phase.REJECTED, "quarantined")
    bench.journal.clear_quarantine()
    assert bench.carry(Ground(), document(4)).phase is Phase.COMMITTED


def test_a_gate_may_name_the_suspects(bench: Bench) -> None:
    bench.carry(Ground(judge=Refusal(Reason.CONTACT_LOST, "m", suspects=())))
    assert bench.journal.quarantined() == []


def test_probation_waits_for_its_verdict_and_not_for_ever(bench: Bench) -> None:
    waited = bench.carry(Ground(judge=lambda elapsed_s: Go() if elapsed_s >= 20 else Wait()))
    assert waited.phase is Phase.COMMITTED
    never = bench.carry(
        Ground(judge=Wait("no frames")), document(3, "sha256:" + "f" * 64, probation_deadline_s=30.0)
    )
    assert (never.phase, never.reason) == (Phase.ROLLED_BACK, "probation-timeout")
    assert bench.journal.points_to() == 2


def test_without_a_former_revision_nothing_is_left_running(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.accept(document(1), 0.0)
    ground = Ground(judge=Refusal(Reason.PROBATION_FAILED, "m"))
    assert run(Executor(journal, ground, StandingTime()).carry(document(1))).phase is Phase.ROLLED_BACK
    assert "back to nothing" in ground.asked
    assert (journal.points_to(), journal.current()) == (0, None)
    journal.close()


def test_an_update_waits_for_its_window(bench: Bench) -> None:
    night = {"windows": [{"start": "02:00", "end": "03:00"}], "time_zone": "UTC"}
    assert bench.carry(Ground(), document(2, **night)).phase is Phase.COMMITTED
    assert Phase.WAIT_WINDOW in bench.phases
    assert 2 * 3600 <= bench.time.wall() % 86400 < 3 * 3600


def test_a_clock_that_is_not_right_opens_no_window(bench: Bench) -> None:
    bench.time.is_synced = False
    asked = {"windows": [{"start": "00:00", "end": "00:00"}], "window_deadline_s": 600.0}
    outcome = bench.carry(Ground(), document(2, **asked))
    assert (outcome.phase, outcome.reason) == (Phase.REJECTED, "window-missed")


def test_a_lock_defers_an_update_and_not_for_ever(bench: Bench) -> None:
    bench.held = "till"
    before_mono = bench.time.mono()
    assert bench.carry(Ground(), document(2, lock_deferral_s=120.0)).phase is Phase.COMMITTED
    assert 120 <= bench.time.mono() - before_mono < 130


def test_a_lock_is_a_lease() -> None:
    clock = ManualClock()
    lease = Lease(clock)
    lease.take("till", 30.0)
    with pytest.raises(Refused, match="till"):
        lease.take("kiosk", 30.0)
    clock.advance(20.0)
    lease.take("till", 30.0)
    clock.advance(29.0)
    assert lease.holder() == "till"
    assert not lease.give_back("kiosk")
    clock.advance(2.0)
    assert lease.holder() == ""
    lease.take("kiosk", 10.0)
    assert lease.give_back("kiosk")
    assert lease.holder() == ""
    for holder, seconds in (("", 5.0), ("x" * 99, 5.0), ("till", 0.0), ("till", 1e9), ("till", float("nan"))):
        with pytest.raises(Refused):
            lease.take(holder, seconds)


def test_three_starts_in_probation_go_back_before_anything_runs(bench: Bench) -> None:
    bench.journal.accept(document(2), 0.0)
    bench.journal.note(Outcome(2, Phase.PROBATION), 0.0)
    bench.journal.point(2)
    for _ in range(2):
        found = bench.executor(Ground()).recover()
        assert found is not None
        assert found.phase is Phase.PROBATION
    found = bench.executor(Ground()).recover()
    assert found is not None
    assert (found.phase, found.reason) == (Phase.ROLLING_BACK, "starts-without-commit")
    assert bench.journal.points_to() == 1
    ground = Ground()
    assert run(bench.executor(ground).carry(document(2))).phase is Phase.ROLLED_BACK
    assert [entry.digest for entry in bench.journal.quarantined()] == [NEW]


def test_a_preparation_that_takes_the_device_down_is_given_up(bench: Bench) -> None:
    bench.journal.accept(document(2), 0.0)
    bench.journal.note(Outcome(2, Phase.PREPARE), 0.0)
    phases = []
    for _ in range(3):
        found = bench.executor(Ground()).recover()
        assert found is not None
        phases.append(found.phase)
    assert phases == [Phase.PREPARE, Phase.PREPARE, Phase.REJECTED]
    assert bench.executor(Ground()).recover() is None


def test_an_agent_that_did_not_start_takes_its_revision_with_it(bench: Bench) -> None:
    bench.journal.accept(document(2), 0.0)
    bench.journal.note(Outcome(2, Phase.SWAPPING), 0.0)
    found = bench.executor(Ground()).recover(gone_back=2)
    assert found is not None
    assert (found.phase, bench.journal.points_to()) == (Phase.ROLLING_BACK, 1)


# --- the updater ----------------------------------------------------------------------------------------------------------


def updater(journal: Journal, ground: Ground, path: Path) -> Updater:
    kind: Any = ground
    return Updater(journal, kind, Slots(path), ManualClock(), Deadlines(), "d", Accounts(path))


def desired(revision: int) -> Desired:
    return Desired(device="d", revision=revision, issued_at=1.0)


async def settled(subject: Updater) -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def driven(
    work: Callable[[Updater, Ground, Journal], Coroutine[Any, Any, None]], path: Path, **answers: Any
) -> None:
    async def main() -> None:
        journal, ground = Journal(path), Ground(**answers)
        subject = updater(journal, ground, path)
        subject.start()
        runner = asyncio.create_task(subject.run())
        await settled(subject)
        await work(subject, ground, journal)
        runner.cancel()
        await asyncio.wait({runner})
        journal.close()

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_third_state_does_not_break_off_the_end_of_the_first_ones_candidates(tmp_path: Path) -> None:
    may_end = asyncio.Event()

    async def work(subject: Updater, ground: Ground, journal: Journal) -> None:
        subject.offer(desired(1))
        await settled(subject)
        assert subject.status.phase is Phase.FETCHING
        subject.offer(desired(2))
        await settled(subject)
        subject.offer(desired(3))
        await settled(subject)
        assert ground.asked.count("discard") == 1
        assert "swap" not in ground.asked
        ground.answers = {}
        may_end.set()
        await settled(subject)
        assert subject.status.phase is Phase.COMMITTED
        assert [journal.outcome(n) and journal.outcome(n).reason for n in (1, 2)] == ["superseded"] * 2  # type: ignore[union-attr]
        assert journal.points_to() == 3

    driven(work, tmp_path, fetch=lambda: asyncio.Event().wait(), discard=lambda: may_end.wait())


def test_an_update_is_cancelled_before_its_switch_and_not_after(tmp_path: Path) -> None:
    async def work(subject: Updater, ground: Ground, journal: Journal) -> None:
        with pytest.raises(Refused, match="no update"):
            subject.cancel()
        subject.offer(desired(1))
        await settled(subject)
        assert subject.cancel(1) == 1
        await settled(subject)
        assert (subject.status.phase, subject.status.reason) == (Phase.REJECTED, "cancelled")
        ground.answers = {"judge": Wait()}
        subject.offer(desired(2))
        await settled(subject)
        assert subject.status.phase is Phase.PROBATION
        with pytest.raises(Refused, match="too late"):
            subject.cancel()

    driven(work, tmp_path, fetch=lambda: asyncio.Event().wait())


def test_it_is_told_when_each_phase_of_the_newest_update_began(tmp_path: Path) -> None:
    async def work(subject: Updater, _ground: Ground, _journal: Journal) -> None:
        for revision in (1, 2):
            subject.offer(desired(revision))
            await settled(subject)
        began = subject.status.report.began
        assert [*began] == [
            "offered", "verified", "fetching", "staged", "prepare", "swapping", "probation", "committed",
        ]  # fmt: skip
        assert sorted(began.values()) == [*began.values()]

    driven(work, tmp_path)


def test_what_waited_behind_a_probation_is_taken_up_after_a_restart_too(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for revision, phase in ((1, Phase.PROBATION), (2, Phase.OFFERED), (3, Phase.OFFERED)):
        journal.accept(document(revision), 0.0)
        journal.note(Outcome(revision, phase), 0.0)
    journal.point(1)
    journal.close()

    async def work(subject: Updater, ground: Ground, journal: Journal) -> None:
        assert [journal.phase(n) for n in (1, 2, 3)] == [Phase.COMMITTED, Phase.REJECTED, Phase.COMMITTED]

    driven(work, tmp_path)


def test_nonsense_on_a_full_disk_is_refused_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(*_row: Any, **_rest: Any) -> None:
        raise OSError(28, "no room")

    async def work(subject: Updater, ground: Ground, journal: Journal) -> None:
        monkeypatch.setattr(Journal, "note", note)
        subject.reject(7, Reason.INVALID_FIELD, "nonsense", ())
        assert (subject.status.offered, subject.status.phase) == (7, Phase.REJECTED)

    driven(work, tmp_path)


class Box:
    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def add(self, _kind: Kind, _id: str, _topic: str, payload: bytes, **_rest: Any) -> asyncio.Future[bool]:
        self.payloads.append(payload)
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        done.set_result(True)
        return done


def test_a_reported_state_with_endless_texts_is_cut_short_and_told() -> None:
    problems = tuple(
        Problem(f"steps.{i}", Reason.WORKFLOW_INVALID, "y" * 9000).to_json() for i in range(3000)
    )
    states = {f"o{i}": ObjectState(state="ok", message="z" * 2000) for i in range(200)}
    reported = Reported(
        offered=4,
        phase=Phase.REJECTED,
        reason="workflow-invalid",
        message="x" * 400_000,
        problems=problems,
        models=states,
        pipelines=states,
    )

    async def main() -> None:
        box, clock = Box(), ManualClock()
        topics = DeviceTopics(FleetId("f"), DeviceId("d"))
        parts: dict[str, Any] = {"outbox": box}
        out = Outgoing(
            topics=topics, stamp=Stamp(clock, lambda: "i"), clock=clock, agent_version="1", **parts
        )
        out.reported(reported)
        (payload,) = box.payloads
        told = envelope.decode(payload).data
        assert (told["offered"], told["phase"], len(told["models"])) == (4, "REJECTED", 200)
        assert told["problems"][0]["path"] == "steps.0"

    asyncio.run(main())


def test_a_start_tells_again_what_came_of_the_newest_update(tmp_path: Path) -> None:
    told: list[UpdateReport] = []

    async def first(subject: Updater, _ground: Ground, _journal: Journal) -> None:
        for revision in (1, 2):
            subject.offer(desired(revision))
            await settled(subject)
        told.append(subject.status.report)

    async def second(subject: Updater, _ground: Ground, journal: Journal) -> None:
        told.append(subject.status.report)
        journal.accept(Document(3, b'{"revision": 3}'), 0.0)

    async def third(subject: Updater, _ground: Ground, _journal: Journal) -> None:
        assert "probation" not in subject.status.report.phases, "of another update"

    driven(first, tmp_path, judge=Go("all gates hold", {"frames": 200}))
    driven(second, tmp_path)
    assert told[0].phases["probation"] == {"note": "all gates hold", "frames": 200}
    assert told[1] == told[0]
    (tmp_path / "last-update.json").write_bytes(b"{half")
    driven(third, tmp_path, fetch=lambda: asyncio.Event().wait())


def test_a_probation_that_is_cut_keeps_what_was_told_before_it(tmp_path: Path) -> None:
    async def first(subject: Updater, _ground: Ground, _journal: Journal) -> None:
        subject.offer(desired(1))
        await settled(subject)
        assert subject.status.phase is Phase.PROBATION

    async def second(subject: Updater, _ground: Ground, _journal: Journal) -> None:
        assert subject.status.report.phases["verified"] == {"note": "fits"}
        assert subject.status.report.phases["probation"] == {"note": "good"}
        assert subject.status.phase is Phase.COMMITTED

    driven(first, tmp_path, admit=Go("fits"), judge=Wait())
    driven(second, tmp_path, judge=Go("good"))
