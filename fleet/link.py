"""The control plane's connection to the broker: a persistent session, acknowledged only when the batch is stored.

A message is acknowledged (PUBACK) after the sink has returned, so that a control plane killed in between gets it again. With
MQTT 5 the receive maximum bounds what is under way; the broker keeps the rest.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aiomqtt import Client, MqttError, ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleet.broker import Endpoint
from fleet.errors import Transient
from fleet.properties import share_tables
from wire.reasons import Reason

log = logging.getLogger(__name__)

SESSION_EXPIRY_S = 7 * 24 * 3600
BATCH_MOST = 500
BATCH_WAIT_S = 0.05
"""How long the first message of a batch waits for others: one transaction, one fsync for all of them."""
QUIET_S = 2.0
"""A session to be emptied is empty when nothing has come for so long."""
PUBLISH_DEADLINE_S = 10.0
PUBLISHES_AT_ONCE = 64
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 10.0


@dataclass(frozen=True)
class Incoming:
    """One message as it came."""

    topic: str
    payload: bytes
    retained: bool


Sink = Callable[[Sequence[Incoming]], Awaitable[None]]


class Link:
    """Keeps the connection. `sink` gets batches in order; `on_connect` runs after each (re)connect."""

    def __init__(
        self,
        endpoint: Endpoint,
        subscriptions: Sequence[str],
        sink: Sink,
        on_connect: Callable[[], Awaitable[None]],
        receive_maximum: int,
        client_id: str = "",
    ) -> None:
        """`client_id` names the session; by default the user name does."""
        self._client_id = client_id or endpoint.username
        self._endpoint = endpoint
        self._subscriptions = subscriptions
        self._sink = sink
        self._on_connect = on_connect
        self._receive_maximum = receive_maximum
        self._client: Client | None = None
        self._slots = asyncio.Semaphore(PUBLISHES_AT_ONCE)
        self.connected = asyncio.Event()
        self.connects = 0

    async def run(self) -> None:
        """Connect, take in, reconnect with back-off; until cancelled."""
        delay_s = BACKOFF_FIRST_S
        while True:
            try:
                await self._session()
            except MqttError as e:
                if self.connected.is_set():
                    delay_s = BACKOFF_FIRST_S
                log.warning("broker lost", extra={"cause": str(e), "retry_s": delay_s})
            finally:
                self._client = None
                self.connected.clear()
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool, expires_in_s: float | None = None
    ) -> None:
        """Publish with QoS 1 and wait for the acknowledgement.

        :raises Transient: the broker is away or does not acknowledge in time
        """
        client = self._client
        if client is None:
            raise Transient(
                Reason.BROKER_UNAVAILABLE, "the broker is not connected; the control plane keeps trying"
            )
        try:
            async with self._slots:
                await client.publish(
                    topic,
                    payload,
                    qos=1,
                    retain=retain,
                    properties=self._expiry(expires_in_s),
                    timeout=PUBLISH_DEADLINE_S,
                )
        except MqttError as e:
            raise Transient(Reason.BROKER_UNAVAILABLE, f"the broker did not take {topic}: {e}") from e

    async def _session(self) -> None:
        client = make_client(self._endpoint, self._client_id, self._receive_maximum)
        async with client:
            await client.subscribe([(topic, 1) for topic in self._subscriptions])
            self._client = client
            self.connects += 1
            self.connected.set()
            log.info("broker connected", extra={"kind": self._endpoint.kind})
            greeting = asyncio.create_task(self._greet(), name="link-on-connect")
            try:
                await self._take_in(client)
            finally:
                greeting.cancel()
                await asyncio.gather(greeting, return_exceptions=True)

    async def _greet(self) -> None:
        try:
            await self._on_connect()
        except Transient as e:
            log.warning("work after connecting was cut short", extra={"cause": str(e)})
        except Exception:
            log.exception("work after connecting failed")

    async def _take_in(self, client: Client) -> None:
        messages = client.messages
        while True:
            batch = [await messages.__anext__()]
            await asyncio.sleep(BATCH_WAIT_S)
            while len(messages) and len(batch) < BATCH_MOST:
                batch.append(await messages.__anext__())
            await self._sink([_incoming(message) for message in batch])
            _acknowledge(client, batch)

    def _expiry(self, expires_in_s: float | None) -> Any:
        if expires_in_s is None or not self._endpoint.v5:
            return None
        properties = _properties(PacketTypes.PUBLISH)
        properties.MessageExpiryInterval = max(1, int(expires_in_s))
        return properties


def make_client(
    endpoint: Endpoint, client_id: str, receive_maximum: int, *, clean_start: bool = False
) -> Client:
    """A client for the session of this id, which acknowledges by hand; `clean_start` throws away what the broker keeps of it."""
    share_tables()
    common: dict[str, Any] = {
        "username": endpoint.username,
        "password": endpoint.password,
        "identifier": client_id,
        "logger": log.getChild("mqtt"),
        "keepalive": 30,
        "tls_context": _tls(endpoint),
        "max_inflight_messages": 1000,
    }
    if endpoint.v5:
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0 if clean_start else SESSION_EXPIRY_S
        properties.ReceiveMaximum = receive_maximum
        common |= {"protocol": ProtocolVersion.V5, "clean_start": clean_start, "properties": properties}
    else:
        common |= {"protocol": ProtocolVersion.V311, "clean_session": clean_start}
    client = Client(endpoint.host, endpoint.control_port or endpoint.port, **common)
    client.pending_calls_threshold = 10 * PUBLISHES_AT_ONCE
    paho: Any = client._client  # aiomqtt has no public way to acknowledge by hand
    paho.manual_ack_set(True)
    return client


async def empty_session(
    endpoint: Endpoint, client_id: str, shared: Sequence[str], sink: Sink, receive_maximum: int
) -> int:
    """Take in what the broker keeps for a session that nobody comes back to, and end it; how many messages there were.

    :raises MqttError: the connection was lost, as when its owner comes back after all
    """
    taken = 0
    async with make_client(endpoint, client_id, receive_maximum) as client:
        await client.unsubscribe(list(shared))
        messages = client.messages
        while True:
            try:
                first = await asyncio.wait_for(messages.__anext__(), QUIET_S)
            except asyncio.TimeoutError:
                break
            batch = [first]
            while len(messages) and len(batch) < BATCH_MOST:
                batch.append(await messages.__anext__())
            await sink([_incoming(message) for message in batch])
            _acknowledge(client, batch)
            taken += len(batch)
    async with make_client(endpoint, client_id, receive_maximum, clean_start=True):
        return taken


def _incoming(message: Any) -> Incoming:
    return Incoming(str(message.topic), _bytes(message.payload), message.retain)


def _acknowledge(client: Client, batch: Sequence[Any]) -> None:
    paho: Any = client._client
    for message in batch:
        if message.qos:
            paho.ack(message.mid, message.qos)


def _tls(endpoint: Endpoint) -> ssl.SSLContext | None:
    """Read anew for each connection: certificates are renewed meanwhile."""
    if not endpoint.tls:
        return None
    context = ssl.create_default_context(cafile=str(endpoint.authority) if endpoint.authority else None)
    if endpoint.certificate is not None:
        context.load_cert_chain(endpoint.certificate)
    return context


def _properties(packet: int) -> Any:
    make: Any = Properties
    return make(packet)


def _bytes(payload: object) -> bytes:
    return payload if isinstance(payload, bytes) else str(payload or "").encode()
