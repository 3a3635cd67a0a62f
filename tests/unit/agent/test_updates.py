"""The executor of updates and what it tells, without processes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.apply import Updater
from agent.config import Limits
from agent.journal import Journal, Outcome
from agent.outbox import Kind
from agent.outgoing import Outgoing
from agent.stamp import Stamp
from tests.unit.agent.clocks import ManualClock
from wire import envelope
from wire.desired import Desired
from wire.names import DeviceId, FleetId
from wire.problem import Problem
from wire.reasons import Reason
from wire.reported import ObjectState, Phase, Reported
from wire.topics import DeviceTopics


def document(revision: int) -> Desired:
    return Desired(device="d", revision=revision, issued_at=1.0)


def updater(journal: Journal) -> Updater:
    parts: dict[str, Any] = dict.fromkeys(("device", "store", "fetcher"))
    return Updater(journal=journal, clock=ManualClock(), limits=Limits(), **parts)


def test_a_third_state_does_not_break_off_the_end_of_the_first_ones_candidates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    may_end = asyncio.Event()
    begun, third = asyncio.Event(), asyncio.Event()

    async def work(subject: Updater, desired: Desired) -> None:
        (third if desired.revision == 3 else begun).set()
        if desired.revision > 1:
            return
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()
            ended.append(desired.revision)

    async def main() -> None:
        journal = Journal(tmp_path)
        subject = updater(journal)
        runner = asyncio.create_task(subject.run())
        subject.offer(document(1))
        await begun.wait()
        subject.offer(document(2))
        await asyncio.sleep(0)
        subject.offer(document(3))
        for _ in range(5):
            await asyncio.sleep(0)
        assert ended == []
        may_end.set()
        await third.wait()
        assert ended == [1]
        runner.cancel()
        await asyncio.wait({runner})
        journal.close()

    monkeypatch.setattr(Updater, "_work", work)
    asyncio.run(asyncio.wait_for(main(), 10))


def test_nonsense_on_a_full_disk_is_refused_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def note(_journal: Journal, _outcome: Outcome, _at_wall: float) -> None:
        raise OSError(28, "no room")

    async def main() -> None:
        journal = Journal(tmp_path)
        subject = updater(journal)
        subject.reject(7, Reason.INVALID_FIELD, "nonsense", ())
        assert (subject.status.offered, subject.status.phase) == (7, Phase.REJECTED)
        journal.close()

    monkeypatch.setattr(Journal, "note", note)
    asyncio.run(main())


def test_a_journal_that_cannot_be_read_is_a_fault_of_the_disk(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.close()
    with pytest.raises(OSError, match="journal"):
        journal.highest()


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
