from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agent.errors import Degraded
from agent.outbox import Kind, Outbox
from tests.unit.agent.clocks import ManualClock
from wire.reasons import Reason

Work = Callable[[Outbox, ManualClock], Awaitable[None]]


def with_outbox(path: Path, work: Work, max_bytes: int = 10_000_000, max_age_s: float = 1000.0) -> None:
    async def main() -> None:
        clock = ManualClock()
        outbox = Outbox(path, max_bytes=max_bytes, max_age_s=max_age_s, clock=clock, commit_s=0.0)
        await outbox.start()
        try:
            await work(outbox, clock)
        finally:
            await outbox.close()

    asyncio.run(main())


def test_a_repeated_id_is_kept_once(tmp_path: Path) -> None:
    async def work(outbox: Outbox, _clock: ManualClock) -> None:
        assert await outbox.add(Kind.EVENT, "e1", "t", b"x")
        assert not await outbox.add(Kind.EVENT, "e1", "t", b"x")
        assert outbox.figures().rows == 1

    with_outbox(tmp_path / "o.db", work)


def test_rows_outlive_the_process_and_go_state_first_oldest_first(tmp_path: Path) -> None:
    async def fill(outbox: Outbox, _clock: ManualClock) -> None:
        for kind, name in ((Kind.TELEMETRY, "h"), (Kind.EVENT, "e1"), (Kind.EVENT, "e2"), (Kind.STATE, "s")):
            await outbox.add(kind, name, name, b"x", retain=kind is Kind.STATE)

    async def read(outbox: Outbox, _clock: ManualClock) -> None:
        rows = await outbox.peek(10)
        assert [row.topic for row in rows] == ["s", "e1", "e2", "h"]
        assert rows[0].retain
        await outbox.remove([rows[0].n])
        assert [row.topic for row in await outbox.peek(1, without=[rows[1].n])] == ["e2"]
        assert outbox.figures().rows == 3

    with_outbox(tmp_path / "o.db", fill)
    with_outbox(tmp_path / "o.db", read)


def test_a_full_outbox_drops_telemetry_before_events_and_never_state(tmp_path: Path) -> None:
    async def work(outbox: Outbox, _clock: ManualClock) -> None:
        await outbox.add(Kind.STATE, "s", "s", b"x" * 500)
        for i in range(40):
            await outbox.add(Kind.TELEMETRY, f"h{i}", "h", b"x" * 500)
        for i in range(60):
            await outbox.add(Kind.EVENT, f"e{i}", "e", b"x" * 500)
        left = await outbox.peek(200)
        kinds = [row.kind for row in left]
        assert kinds.count(Kind.STATE) == 1
        assert kinds.count(Kind.TELEMETRY) == 0
        assert outbox.figures().bytes <= 32_000
        dropped = outbox.figures().dropped
        assert dropped["telemetry"] == 40
        assert dropped["event"] == 60 - kinds.count(Kind.EVENT)

    with_outbox(tmp_path / "o.db", work, max_bytes=32_000)


def test_what_is_too_old_or_past_its_time_is_dropped_but_state_stays(tmp_path: Path) -> None:
    async def work(outbox: Outbox, clock: ManualClock) -> None:
        await outbox.add(Kind.STATE, "s", "s", b"x")
        await outbox.add(Kind.EVENT, "e", "e", b"x")
        await outbox.add(Kind.RESPONSE, "r", "r", b"x", until_wall=clock.wall() + 10)
        clock.advance(20)
        await outbox.prune()
        assert [row.topic for row in await outbox.peek(9)] == ["s", "e"]
        clock.advance(2000)
        assert await outbox.prune() == 1
        assert [row.topic for row in await outbox.peek(9)] == ["s"]

    with_outbox(tmp_path / "o.db", work)


def test_of_a_topic_only_the_latest_states_stay(tmp_path: Path) -> None:
    async def work(outbox: Outbox, _clock: ManualClock) -> None:
        for i in range(5):
            await outbox.add(Kind.STATE, f"s{i}", "reported", b"%d" % i, keep_latest=2)
        assert [row.payload for row in await outbox.peek(9)] == [b"3", b"4"]

    with_outbox(tmp_path / "o.db", work)


def test_a_damaged_database_is_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "o.db"
    path.write_bytes(b"this is no database, whatever its name says" * 100)

    async def work(outbox: Outbox, _clock: ManualClock) -> None:
        assert await outbox.add(Kind.EVENT, "e", "e", b"x")

    with_outbox(path, work)
    assert (tmp_path / "o.db.damaged").exists()
    assert "damaged" in caplog.text


def test_a_commit_wakes_whoever_sends(tmp_path: Path) -> None:
    async def work(outbox: Outbox, _clock: ManualClock) -> None:
        woken = asyncio.Event()
        outbox.on_added = woken.set
        await outbox.add(Kind.EVENT, "e", "e", b"x")
        await asyncio.wait_for(woken.wait(), 5)

    with_outbox(tmp_path / "o.db", work)


def test_a_full_disk_at_the_start_is_no_damage_and_is_over_when_it_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "o.db"

    async def fill(outbox: Outbox, _clock: ManualClock) -> None:
        await outbox.add(Kind.EVENT, "e1", "e1", b"x")

    real = Outbox._connect
    full = True

    def connect(outbox: Outbox) -> sqlite3.Connection:
        if full:
            raise sqlite3.OperationalError("database or disk is full")
        return real(outbox)

    async def go_on(outbox: Outbox, _clock: ManualClock) -> None:
        nonlocal full
        with pytest.raises(Degraded) as caught:
            await outbox.add(Kind.EVENT, "e2", "e2", b"x")
        assert caught.value.reason is Reason.DISK_FULL
        full = False
        assert await outbox.add(Kind.EVENT, "e2", "e2", b"x")
        assert [row.topic for row in await outbox.peek(9)] == ["e1", "e2"]

    with_outbox(path, fill)
    monkeypatch.setattr(Outbox, "_connect", connect)
    with_outbox(path, go_on)
    assert list(tmp_path.glob("*.damaged")) == []
