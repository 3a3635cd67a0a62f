"""The conversation with the control plane: the link to its broker, what comes by it, and HTTPS where the broker is out of reach.

Revisions and commands are opened here and handed on; nothing is carried out here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from agent.backoff import Backoff
from agent.clock import Clock
from agent.commands import Commands
from agent.config import Config, Limits
from agent.courier import Courier
from agent.errors import AgentError, Disconnected
from agent.exchange import Exchange
from agent.identity import Identity
from agent.link import Link
from agent.outbox import Outbox
from agent.outgoing import Outgoing
from agent.reach import Ends
from agent.tls import Trust
from agent.trust import Gate, SignedNonsense
from agent.twin import Twin
from agent.update.journal import Journal
from agent.update.updater import Updater
from agent.vouch import Vouch
from wire import envelope
from wire.errors import WireError
from wire.reasons import Reason
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

DOUBTED = 32
"""Messages whose signer is not known that wait for trust metadata."""
LEARN_S = 10.0
WATCH_S = 5.0


class Ways:
    """The link to the broker; HTTPS while that is away."""

    def __init__(self, link: Link, exchange: Exchange) -> None:
        self._link = link
        self._exchange = exchange

    @property
    def connected(self) -> bool:
        return self._link.connected or self._exchange.connected

    @property
    def receive_maximum(self) -> int:
        return self._link.receive_maximum if self._link.connected else self._exchange.receive_maximum

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """:raises Disconnected: nothing was sent"""
        way = self._link if self._link.connected else self._exchange
        return way.publish(topic, payload, retain=retain)


class Uplink:
    """For the loop's thread. `on_change`: the link came or went."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        clock: Clock,
        topics: DeviceTopics,
        outbox: Outbox,
        out: Outgoing,
        journal: Journal,
        updater: Updater,
        twin: Twin,
        gate: Gate,
        commands: Commands,
        client: httpx.AsyncClient,
        trust: Trust,
        vouch: Vouch,
        ends: Ends,
    ) -> None:
        limits = config.limits
        self._limits = limits
        self._mode = config.network.mqtt
        self._uses_mqtt = self._mode != "off"
        self._identity = identity
        self._clock = clock
        self._topics = topics
        self._out = out
        self._journal = journal
        self._updater = updater
        self._twin = twin
        self._gate = gate
        self._commands = commands
        self._client = client
        self._trust = trust
        self._vouch = vouch
        self._doubted: deque[Callable[[], None]] = deque(maxlen=DOUBTED)
        self._doubt = asyncio.Event()
        self._link = self._make_link(limits, ends)
        self._exchange = self._make_exchange(limits)
        self._ways = Ways(self._link, self._exchange)
        self._courier = Courier(
            outbox,
            self._ways,
            clock,
            window=limits.in_flight,
            no_subscriber_retry_s=limits.no_subscriber_retry_s,
            settle_s=limits.settle_s,
        )
        self._offline_since_mono = clock.mono()
        self._unkept: object | None = None
        self.on_change: Callable[[], None] = lambda: None

    def _make_link(self, limits: Limits, ends: Ends) -> Link:
        identity = self._identity
        return Link(
            ends.broker,
            f"{identity.fleet}.{identity.device}",
            (self._topics.desired, self._topics.commands),
            lambda: self._out.connection("offline"),
            self,
            Backoff(limits.reconnect_min_s, limits.reconnect_max_s, random.random),
            limits.connect_s,
            tls=self._tls,
            routes=ends.routes(self._mode),
            proxy=ends.for_mqtt,
        )

    def _make_exchange(self, limits: Limits) -> Exchange:
        return Exchange(
            self._client,
            self._identity.url,
            self._identity.api_token,
            self._topics,
            _OverHttps(self),
            self.offered,
            self._journal.highest,
            Backoff(limits.reconnect_min_s, limits.reconnect_max_s, random.random),
            limits.poll_s,
        )

    @property
    def is_connected(self) -> bool:
        return self._ways.connected

    @property
    def by_mqtt(self) -> bool:
        """Whether the broker that is to be used now is reached."""
        return self._link.arrived

    def move(self, ends: Ends) -> None:
        """Go to another broker, or by another way, from now on."""
        self._link.move(ends.broker, ends.routes(self._mode), ends.for_mqtt)

    @property
    def settling(self) -> int:
        """Messages that the broker has acknowledged and that are kept a while longer."""
        return self._courier.settling

    def wake(self) -> None:
        """Something is to be sent."""
        self._courier.wake()

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled, side by side."""
        mqtt = [self._link.run()] if self._uses_mqtt else []
        return [*mqtt, self._courier.run(), *self._exchange.work(), self._watch(), self._learn()]

    async def close(self) -> None:
        """Say goodbye."""
        if self._link.connected:
            self._courier.finish()
        await self._link.close(self._out.connection("offline"))

    def _tls(self) -> ssl.SSLContext:
        self._trust.refresh()
        return self._trust.context

    # --- the link's handler -------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._exchange.switch(on=False)
        self._greet("online")

    def _greet(self, state: str) -> None:
        self._out.connected = True
        birth = self._out.connection(state)
        with contextlib.suppress(Disconnected):
            self._ways.publish(birth.topic, birth.payload, retain=True)
        self._twin.tell(again=True)
        self.on_change()
        self._courier.wake()

    def disconnected(self, _why: str) -> None:
        self._offline_since_mono = self._clock.mono()
        self.parted()

    def parted(self) -> None:
        """Nothing can be sent now, and what was on its way is unknown."""
        self._out.connected = False
        self._courier.disconnected()
        self.on_change()

    def acknowledged(self, token: int, reason: int) -> None:
        self._courier.acknowledged(token, reason)

    def received(self, topic: str, payload: bytes) -> None:
        if not payload:  # a retained message that was cleared
            return
        try:
            message = envelope.decode(payload)
        except WireError as e:
            log.warning("message is dropped", extra={"topic": topic, "cause": str(e)})
            if topic == self._topics.desired:
                self._updater.reject(0, e.reason, str(e), ())
            return
        if topic == self._topics.desired:
            self.offered(message.data)
        elif topic.startswith(self._topics.command("")):
            self._asked(topic.rsplit("/", 1)[-1], message.data, message.rid)

    def _asked(self, name: str, data: object, rid: str | None) -> None:
        if self._is_strange(data):
            self._ask_again(lambda: self._commands.received(name, data, rid))
        else:
            self._commands.received(name, data, rid)

    def offered(self, document: object, again: bool = True) -> None:
        """A signed desired state has come, by whatever way."""
        self._unkept = None
        try:
            desired = self._gate.open_desired(document, self._journal.highest())
            if desired is not None:
                self._updater.offer(desired)
        except SignedNonsense as e:
            self._updater.reject(e.revision, e.reason, str(e), e.problems)
        except WireError as e:
            if not again and e.reason is Reason.SIGNATURE_INVALID:
                return  # it was told when it came, and what came since is not to look refused
            self._updater.reject(0, e.reason, str(e), getattr(e, "problems", ()))
            if again and self._is_strange(document):
                self._ask_again(lambda: self.offered(document, again=False))
        except OSError as e:
            self._unkept = document
            self._updater.reject(0, Reason.DISK_FULL, f"the document cannot be kept: {e}", ())

    # --- keys that are not known yet ----------------------------------------------------------------------------------

    def _is_strange(self, document: object) -> bool:
        """Whether another key has signed than those known, of which the root may tell."""
        return self._vouch.has_root and not self._gate.knows_signer(document)

    def _ask_again(self, what: Callable[[], None]) -> None:
        """Look at a message once more after trust metadata has been refreshed. Of too many the oldest go."""
        self._doubted.append(what)
        self._doubt.set()

    async def _learn(self) -> None:
        """Refresh trust metadata where a message came whose signer is not known; not more often than `LEARN_S`."""
        while True:
            await self._doubt.wait()
            self._doubt.clear()
            try:
                await self._vouch.refresh()
            except (AgentError, OSError) as e:
                log.warning("a signer is not known and metadata cannot be had", extra={"cause": str(e)})
            waiting = list(self._doubted)
            self._doubted.clear()
            for look in waiting:
                look()
            await asyncio.sleep(LEARN_S)

    # --- without the broker -------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """HTTPS where the broker has been unreachable for a while.

        And once more a document that the disk did not take: the broker delivers it only once.
        """
        limits = self._limits
        while True:
            if not self._exchange.on and not self._link.connected:
                offline_s = self._clock.mono() - self._offline_since_mono
                if offline_s >= limits.poll_after_s or not self._uses_mqtt:
                    self._exchange.switch(on=True)
            await asyncio.sleep(min(limits.poll_s, limits.poll_after_s, WATCH_S))
            if self._unkept is not None:
                self.offered(self._unkept)

    def met_over_https(self) -> None:
        """The control plane has answered over HTTPS, while MQTT is away."""
        self._greet("polling")


class _OverHttps:
    """What the exchange tells."""

    def __init__(self, uplink: Uplink) -> None:
        self._uplink = uplink

    def connected(self) -> None:
        self._uplink.met_over_https()

    def disconnected(self, _why: str) -> None:
        self._uplink.parted()

    def acknowledged(self, token: int, reason: int) -> None:
        self._uplink.acknowledged(token, reason)

    def received(self, topic: str, payload: bytes) -> None:
        self._uplink.received(topic, payload)
