"""What ends the agent on command: its answer goes first."""

from __future__ import annotations

import asyncio
from pathlib import Path

from agent.config import parse
from agent.errors import Degraded
from agent.farewell import ANSWER_S, Farewell, is_ordered
from agent.outbox import Kind, Outbox
from tests.unit.agent.clocks import ManualClock
from wire.reasons import Reason

COMMIT_S = 60.0
"""Longer than any test: an answer is not committed by itself."""


def test_wipe_waits_until_the_broker_has_an_answer_that_is_not_even_committed(tmp_path: Path) -> None:
    async def main() -> None:
        clock, told = ManualClock(), []
        outbox = Outbox(tmp_path / "o", max_bytes=10**6, max_age_s=10.0, clock=clock, commit_s=COMMIT_S)
        await outbox.start()
        outbox.add(Kind.EVENT, "e", "event", b"never acknowledged")
        stopped = asyncio.Event()

        async def acknowledge_an_answer(_s: float) -> None:
            rows = await outbox.peek(5, kinds=[Kind.RESPONSE])
            told.extend(row.topic for row in rows)
            outbox.remove([row.n for row in rows])

        farewell = Farewell(
            parse({"state_dir": str(tmp_path), "run_dir": str(tmp_path)}),
            "dev",
            clock,
            lambda: outbox.count(Kind.RESPONSE),
            stopped.set,
            acknowledge_an_answer,
        )
        farewell.handlers()["wipe"]({"confirm": "dev"})
        outbox.add(Kind.RESPONSE, "r", "answer", b"yes")
        running = asyncio.create_task(farewell.run())
        await asyncio.wait_for(stopped.wait(), 10.0)
        running.cancel()
        await outbox.close()
        assert told == ["answer"]
        assert is_ordered(tmp_path)

    asyncio.run(main())


def test_wipe_is_done_where_the_answer_can_never_be_given(tmp_path: Path) -> None:
    async def main() -> None:
        clock, stopped = ManualClock(), asyncio.Event()

        async def broken() -> int:
            raise Degraded(Reason.DISK_FULL, "the disk has stopped")

        async def sleep(seconds: float) -> None:
            assert not stopped.is_set()
            clock.advance(seconds)

        began_mono = clock.mono()
        config = parse({"state_dir": str(tmp_path), "run_dir": str(tmp_path)})
        farewell = Farewell(config, "dev", clock, broken, stopped.set, sleep)
        farewell.handlers()["wipe"]({"confirm": "dev"})
        running = asyncio.create_task(farewell.run())
        await asyncio.wait_for(stopped.wait(), 10.0)
        running.cancel()
        assert clock.mono() - began_mono >= ANSWER_S

    asyncio.run(main())
