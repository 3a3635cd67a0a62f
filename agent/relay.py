"""Messages that workflows publish to brokers other than the fleet's: each such broker has an outbox, a courier and a link of its own.

Opened when the first message for it comes. What waits for a broker that no workflow names any more stays in its outbox until
it is named again or too old.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from agent.backoff import Backoff
from agent.clock import Clock
from agent.config import Limits
from agent.courier import Courier
from agent.link import Link
from agent.outbox import Figures, Kind, Outbox
from wire import local
from wire.enrol import Broker

log = logging.getLogger(__name__)

MAX_BROKERS = 4
"""Each costs a thread, a connection and a database."""
OUTBOX_BYTES = 32 * 1024 * 1024
CLOSE_S = 2.0
OPEN_S = 10.0


class Relay:
    """The way to one broker. `keep` before `run` is fine: a message waits in the outbox."""

    def __init__(
        self,
        address: local.BrokerAddress,
        key: str,
        state_dir: Path,
        client_id: str,
        backoff: Backoff,
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.name = f"{address.host}:{address.port}"
        self._outbox = Outbox(
            state_dir / f"relay-{key}.db", max_bytes=OUTBOX_BYTES, max_age_s=limits.outbox_age_s, clock=clock
        )
        broker = Broker(
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            tls=address.tls,
        )
        self._link = Link(
            broker,
            f"{client_id}.{key[:8]}",
            (),
            lambda: None,
            self,
            backoff,
            limits.connect_s,
            address.ca_file,
        )
        self._courier = Courier(
            self._outbox,
            self._link,
            clock,
            window=limits.in_flight,
            no_subscriber_retry_s=limits.no_subscriber_retry_s,
            settle_s=limits.settle_s,
        )
        self._outbox.on_added = self._courier.wake
        self._opened = asyncio.Event()

    async def run(self) -> None:
        """Carry messages until cancelled."""
        try:
            await self._outbox.start()
            self._opened.set()
            await asyncio.gather(self._link.run(), self._courier.run())
        finally:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._link.close(), CLOSE_S)
            await self._outbox.close()

    async def keep(self, message: local.Publication) -> bool:
        """Commit a message; True if its id was new."""
        await asyncio.wait_for(self._opened.wait(), OPEN_S)
        return await self._outbox.add(
            Kind.MESSAGE, message.id, message.topic, message.payload.encode(), retain=message.retain
        )

    def figures(self) -> Figures:
        return self._outbox.figures()

    # --- the link's handler -------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._courier.wake()

    def disconnected(self, _why: str) -> None:
        self._courier.disconnected()

    def acknowledged(self, token: int, reason: int) -> None:
        self._courier.acknowledged(token, reason)

    def received(self, topic: str, payload: bytes) -> None:
        """Nothing is subscribed to."""


class Relays:
    """To be used on the loop's thread."""

    def __init__(
        self, state_dir: Path, client_id: str, limits: Limits, clock: Clock, backoff: Callable[[], Backoff]
    ) -> None:
        self._state_dir = state_dir
        self._client_id = client_id
        self._limits = limits
        self._clock = clock
        self._backoff = backoff
        self.dropped = 0
        self._relays: dict[str, tuple[Relay, asyncio.Task[None]]] = {}
        self._leaving: set[asyncio.Task[None]] = set()

    def keep(self, message: local.Publication) -> asyncio.Future[bool]:
        """Keep a message for its broker; False, and it is dropped, where too many brokers are named."""
        assert message.broker is not None
        relay = self._relay(message.broker)
        if relay is None:
            self.dropped += 1
            if self.dropped == 1:
                log.error(
                    "workflows publish to too many brokers; messages are dropped",
                    extra={"most": MAX_BROKERS, "host": message.broker.host},
                )
            nothing: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            nothing.set_result(False)
            return nothing
        return asyncio.ensure_future(relay.keep(message))

    def _relay(self, address: local.BrokerAddress) -> Relay | None:
        key = hashlib.sha256(
            repr((address.host, address.port, address.username, address.tls)).encode()
        ).hexdigest()[:16]
        secret = hashlib.sha256(f"{address.password} {address.ca_file}".encode()).hexdigest()
        found = self._relays.get(key + secret)
        if found is not None and not found[1].done():
            return found[0]
        for name in [name for name, (_, task) in self._relays.items() if name.startswith(key) or task.done()]:
            task = self._relays.pop(name)[1]
            task.cancel()
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        if len(self._relays) >= MAX_BROKERS:
            return None
        relay = Relay(
            address, key, self._state_dir, self._client_id, self._backoff(), self._limits, self._clock
        )
        task = asyncio.get_running_loop().create_task(relay.run(), name=f"relay to {relay.name}")
        task.add_done_callback(_told)
        self._relays[key + secret] = (relay, task)
        return relay

    def figures(self) -> dict[str, Figures]:
        """What waits, by broker."""
        return {relay.name: relay.figures() for relay, _ in self._relays.values()}

    async def close(self) -> None:
        """Say goodbye to every broker and commit what waits."""
        tasks = [task for _, task in self._relays.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._leaving, return_exceptions=True)
        self._relays.clear()


def _told(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a relay has ended", extra={"relay": task.get_name(), "cause": str(error)})
