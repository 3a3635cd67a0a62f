from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from agent.courier import Courier
from agent.errors import Disconnected
from agent.link import NO_MATCHING_SUBSCRIBERS
from agent.outbox import Kind, Outbox, Row
from tests.unit.agent.clocks import ManualClock


class Rows:
    """An outbox in memory."""

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def peek(
        self, limit: int, *, without: Iterable[int] = (), kinds: Iterable[Kind] = ()
    ) -> asyncio.Future[list[Row]]:
        chosen = [row for row in self.rows if row.n not in set(without) and row.kind in set(kinds)]
        return done(sorted(chosen, key=lambda row: (row.kind, row.n))[:limit])

    def remove(self, numbers: Iterable[int]) -> asyncio.Future[int]:
        gone = set(numbers)
        self.rows = [row for row in self.rows if row.n not in gone]
        return done(len(gone))


def done(value: object) -> asyncio.Future:  # type: ignore[type-arg]
    future = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


class Sink:
    def __init__(self) -> None:
        self.connected = True
        self.receive_maximum = 100
        self.sent: list[str] = []
        self.fails = False

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        if self.fails:
            raise Disconnected
        self.sent.append(topic)
        return len(self.sent)


def events(count: int) -> list[Row]:
    return [Row(n, Kind.EVENT, f"e{n}", b"", False) for n in range(1, count + 1)]


class Stand:
    def __init__(self, rows: list[Row], window: int = 3) -> None:
        self.outbox, self.sink, self.clock = Rows(rows), Sink(), ManualClock()
        self.courier = Courier(
            cast("Outbox", self.outbox),
            self.sink,
            self.clock,
            window=window,
            no_subscriber_retry_s=30.0,
            settle_s=10.0,
        )

    async def round(self) -> list[str]:
        before = len(self.sink.sent)
        await self.courier._round()
        await asyncio.sleep(0)
        return self.sink.sent[before:]


def test_at_most_a_window_is_in_flight_and_acknowledged_rows_go() -> None:
    async def main() -> None:
        stand = Stand(events(5))
        assert await stand.round() == ["e1", "e2", "e3"]
        assert await stand.round() == []
        stand.courier.acknowledged(1, 0)
        assert await stand.round() == ["e4"]
        stand.clock.advance(11)
        await stand.round()
        assert [row.n for row in stand.outbox.rows] == [2, 3, 4, 5]

    asyncio.run(main())


def test_after_a_reconnect_what_was_in_flight_goes_again_oldest_first() -> None:
    async def main() -> None:
        stand = Stand(events(4))
        await stand.round()
        stand.courier.acknowledged(1, 0)
        stand.clock.advance(11)
        await stand.round()
        stand.courier.disconnected()
        assert await stand.round() == ["e2", "e3", "e4"]

    asyncio.run(main())


def test_what_a_broker_acknowledged_just_before_it_died_goes_again() -> None:
    async def main() -> None:
        stand = Stand(events(2))
        await stand.round()
        stand.courier.acknowledged(1, 0)
        stand.courier.acknowledged(2, 0)
        assert stand.courier.settling == 2
        stand.courier.disconnected()
        assert await stand.round() == ["e1", "e2"]

    asyncio.run(main())


def test_nothing_is_sent_while_disconnected() -> None:
    async def main() -> None:
        stand = Stand(events(2))
        stand.sink.connected = False
        assert await stand.round() == []
        stand.sink.connected, stand.sink.fails = True, True
        assert await stand.round() == []
        stand.sink.fails = False
        assert await stand.round() == ["e1", "e2"]

    asyncio.run(main())


def test_an_event_nobody_listens_to_stays_and_one_is_tried_again_later() -> None:
    async def main() -> None:
        stand = Stand([*events(3), Row(9, Kind.TELEMETRY, "h", b"", False)], window=10)
        assert await stand.round() == ["e1", "e2", "e3", "h"]
        for token in (1, 2, 3):
            stand.courier.acknowledged(token, NO_MATCHING_SUBSCRIBERS)
        assert await stand.round() == []
        stand.courier.acknowledged(4, NO_MATCHING_SUBSCRIBERS)
        assert [row.n for row in stand.outbox.rows] == [1, 2, 3]
        stand.clock.advance(31)
        assert await stand.round() == ["e1"]
        stand.courier.acknowledged(5, 0)
        assert await stand.round() == ["e2", "e3"]

    asyncio.run(main())


def test_a_message_the_broker_refuses_does_not_block_the_others() -> None:
    async def main() -> None:
        stand = Stand(events(1))
        await stand.round()
        stand.courier.acknowledged(1, 0x87)
        assert stand.outbox.rows == []
        assert (stand.courier.refused, stand.courier.delivered) == (1, 0)

    asyncio.run(main())
