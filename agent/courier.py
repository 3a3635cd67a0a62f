"""The courier carries rows of the outbox to the broker: a bounded number in flight, deleted when acknowledged.

After a reconnect everything not yet acknowledged is sent again, oldest first. An event that the broker took but that nobody is
subscribed to has reached nobody: its row stays, and the events pause, then one is tried again.

A broker that is killed forgets what it has acknowledged and not yet passed on or saved. So an acknowledged event stays for
`settle_s` and is sent again if the connection is lost within that time; whoever receives events knows a repeat by its id.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from agent.clock import Clock
from agent.errors import AgentError, Disconnected
from agent.link import NO_MATCHING_SUBSCRIBERS
from agent.outbox import Kind, Outbox, Row

log = logging.getLogger(__name__)

FAILURE = 0x80
"""MQTT 5.0, 2.4: reason codes from here on are failures."""
TICK_S = 1.0
MAX_SETTLING = 2000
"""Acknowledged events kept at most; with more of them the oldest are believed to be safe earlier."""


class Publisher(Protocol):
    """The part of the link that the courier needs."""

    @property
    def connected(self) -> bool:
        """Whether anything can be sent now."""

    @property
    def receive_maximum(self) -> int:
        """How many messages the other side takes unacknowledged."""

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """:raises Disconnected: nothing was sent"""


class Courier:
    """`run` sends until cancelled; the other methods are for the loop's thread and never wait."""

    def __init__(
        self,
        outbox: Outbox,
        link: Publisher,
        clock: Clock,
        *,
        window: int,
        no_subscriber_retry_s: float,
        settle_s: float,
    ) -> None:
        self._outbox = outbox
        self._link = link
        self._clock = clock
        self._window = window
        self._retry_s = no_subscriber_retry_s
        self._settle_s = settle_s
        self._in_flight: dict[int, Row] = {}
        self._settling: dict[int, float] = {}
        self._removing: set[int] = set()
        self._wake = asyncio.Event()
        self._events_paused_until_mono = 0.0
        self._probing = False
        self.delivered = 0
        self.refused = 0

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    def disconnected(self) -> None:
        """What was in flight is unknown, and what was acknowledged just now is in doubt: all of it will be sent again."""
        self._in_flight.clear()
        self._settling.clear()

    @property
    def settling(self) -> int:
        """Rows of the outbox that the broker has acknowledged already."""
        return len(self._settling)

    def finish(self) -> None:
        """The agent ends its connection in good order: what is acknowledged is safe."""
        self._remove(tuple(self._settling))
        self._settling.clear()

    def acknowledged(self, token: int, reason: int) -> None:
        """The broker's answer to a publish."""
        row = self._in_flight.pop(token, None)
        if row is None:
            return
        if reason == NO_MATCHING_SUBSCRIBERS and row.kind == Kind.EVENT:
            self._pause_events()
        else:
            if row.kind == Kind.EVENT:
                self._probing = False
            if reason >= FAILURE:
                self.refused += 1
                log.error("broker refuses a message", extra={"topic": row.topic, "code": reason})
            else:
                self.delivered += 1
            if row.kind == Kind.EVENT and reason < FAILURE:
                self._settling[row.n] = self._clock.mono()
            else:
                self._remove((row.n,))
        self.wake()

    async def run(self) -> None:
        """Send what waits, for ever."""
        while True:
            try:
                sent = await self._round()
            except AgentError as e:
                log.warning("outbox cannot be read", extra={"cause": str(e)})
                sent = 0
            if not sent:
                try:
                    await asyncio.wait_for(self._wake.wait(), TICK_S)
                except asyncio.TimeoutError:
                    pass
                self._wake.clear()

    def _let_go(self) -> None:
        """Delete the events that were acknowledged long enough ago."""
        until_mono = self._clock.mono() - self._settle_s
        excess = len(self._settling) - MAX_SETTLING
        safe = [
            n for i, (n, at_mono) in enumerate(self._settling.items()) if i < excess or at_mono <= until_mono
        ]
        for n in safe:
            del self._settling[n]
        self._remove(tuple(safe))

    async def _round(self) -> int:
        self._let_go()
        room = min(self._window, self._link.receive_maximum) - len(self._in_flight)
        if not self._link.connected or room <= 0:
            return 0
        busy = {row.n for row in self._in_flight.values()} | self._removing | self._settling.keys()
        rows = await self._outbox.peek(room, without=busy, kinds=self._kinds())
        return sum(self._send(row) for row in rows if self._may_send(row))

    def _kinds(self) -> tuple[Kind, ...]:
        if self._clock.mono() < self._events_paused_until_mono:
            return (Kind.STATE, Kind.RESPONSE, Kind.TELEMETRY, Kind.MESSAGE)
        return tuple(Kind)

    def _may_send(self, row: Row) -> bool:
        """While nobody was seen to listen, one event at a time is the probe."""
        if row.kind != Kind.EVENT or not self._probing:
            return True
        return not any(other.kind == Kind.EVENT for other in self._in_flight.values())

    def _send(self, row: Row) -> int:
        try:
            token = self._link.publish(row.topic, row.payload, retain=row.retain)
        except Disconnected:
            return 0
        self._in_flight[token] = row
        return 1

    def _pause_events(self) -> None:
        if not self._probing:
            log.warning("nobody is subscribed to events; they are kept", extra={"retry_s": self._retry_s})
        self._probing = True
        self._events_paused_until_mono = self._clock.mono() + self._retry_s

    def _remove(self, numbers: tuple[int, ...]) -> None:
        if not numbers:
            return
        try:
            removal = self._outbox.remove(numbers)
        except AgentError as e:
            log.warning("delivered messages stay in the outbox", extra={"cause": str(e)})
            return
        self._removing |= set(numbers)
        removal.add_done_callback(lambda done: self._removed(numbers, done))

    def _removed(self, numbers: tuple[int, ...], done: asyncio.Future[int]) -> None:
        self._removing -= set(numbers)
        if not done.cancelled() and done.exception() is not None:
            log.warning("delivered messages stay in the outbox", extra={"cause": str(done.exception())})
