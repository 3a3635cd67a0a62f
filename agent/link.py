"""The link to the broker: paho-mqtt driven by the event loop, so that every callback runs on the loop's thread.

A client lives for one connection. What is to be sent again after a reconnect is known to the outbox alone; the broker keeps
the session (subscriptions, queued commands) by client id. MQTT 5 is tried first; a broker that does not speak it is spoken to
in 3.1.1. A handler's exception is logged here and ends nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.backoff import Backoff
from agent.errors import Disconnected
from agent.proxy import Proxy
from agent.routes import Routes
from wire.enrol import Broker

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
SESSION_EXPIRY_S = 7 * 86400
STABLE_S = 10.0
"""A connection that held so long was a good one: the next failure waits only shortly."""
MISC_S = 1.0
NO_MATCHING_SUBSCRIBERS = 0x10
"""MQTT 5.0, 3.4.2.1: a PUBACK that says that nobody has got the message."""
UNSUPPORTED_VERSION = 0x84
CLOSED_EARLY = 3
"""A broker that closes so many connections in a row unanswered is tried in the other version."""


@dataclass(frozen=True)
class Will:
    """What the broker says of us when we vanish."""

    topic: str
    payload: bytes


class Handler(Protocol):
    """What the link tells, all on the loop's thread."""

    def connected(self) -> None:
        """The link is up and the subscriptions have been sent."""

    def disconnected(self, why: str) -> None:
        """The link is down; what was in flight is unknown."""

    def acknowledged(self, token: int, reason: int) -> None:
        """The broker has answered the publish of this token, with an MQTT 5 reason code (0 on 3.1.1)."""

    def received(self, topic: str, payload: bytes) -> None:
        """A message has come."""


class Link:
    """`run` keeps the link up until cancelled. `publish` and `connected` are for the loop's thread."""

    def __init__(
        self,
        broker: Broker,
        client_id: str,
        subscriptions: tuple[str, ...],
        will: Callable[[], Will | None],
        handler: Handler,
        backoff: Backoff,
        connect_s: float,
        ca_file: str = "",
        tls: Callable[[], ssl.SSLContext] | None = None,
        routes: Routes | None = None,
        proxy: Proxy | None = None,
    ) -> None:
        """`tls` is asked before each connection with TLS; without it, who is in `ca_file` is trusted, or the system's. `routes`: by
        which ways; by default TCP alone."""
        self._routes = routes or Routes(broker)
        self._proxy = proxy
        self._tls = tls or (lambda: ssl.create_default_context(cafile=ca_file or None))
        self._broker = broker
        self._client_id = client_id
        self._subscriptions = subscriptions
        self._will = will
        self._handler = handler
        self._backoff = backoff
        self._connect_s = connect_s
        self._protocol = MQTTProtocolVersion.MQTTv5
        self._client: mqtt.Client | None = None
        self._session: _Session | None = None
        self._closed_early = 0
        self._moved = asyncio.Event()
        self.connected = False
        self.receive_maximum = 20

    @property
    def arrived(self) -> bool:
        """Whether the broker is reached by the way that holds now."""
        return self.connected and not self._moved.is_set()

    def move(self, broker: Broker, routes: Routes, proxy: Proxy | None) -> None:
        """Go to another broker, or by another way, at once: with a goodbye to the one before it."""
        self._broker, self._routes, self._proxy = broker, routes, proxy
        self._backoff.reset()
        self._moved.set()
        will = self._will()
        if self.connected and self._client is not None and will is not None:
            with contextlib.suppress(Disconnected):
                self.publish(will.topic, will.payload, retain=True)
            self._client.disconnect()
        elif self._session is not None:
            self._session.end("another way is taken")

    async def run(self) -> None:
        """Connect, serve, wait, for ever."""
        while True:
            self._moved.clear()
            why = await self._serve_once()
            if self._moved.is_set():
                continue
            delay_s = self._backoff.next_s()
            log.warning(
                "broker connection lost",
                extra={"host": self._routes.current.host, "cause": why, "retry_s": round(delay_s, 1)},
            )
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._moved.wait(), delay_s)

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Send with QoS 1; the token comes back by `acknowledged`.

        :raises Disconnected: nothing was sent
        """
        if not self.connected or self._client is None:
            raise Disconnected
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise Disconnected(f"publish failed: {mqtt.error_string(info.rc)}")
        return info.mid

    async def close(self, farewell: Will | None = None) -> None:
        """Say goodbye, so that the last will is not sent."""
        if self._client is None or not self.connected:
            return
        if farewell is not None:
            with contextlib.suppress(Disconnected):
                self.publish(farewell.topic, farewell.payload, retain=True)
        self._client.disconnect()
        if self._session is not None:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._session.over), 2.0)

    async def _serve_once(self) -> str:
        client = self._new_client()
        session = self._session = _Session(asyncio.get_running_loop(), client, self)
        self._client = client
        try:
            await asyncio.wait_for(asyncio.to_thread(self._connect, client), self._connect_s + 5.0)
            session.attach()
            session.watch_answer(self._connect_s)
            return await session.over
        except (OSError, ValueError, asyncio.TimeoutError) as e:
            return str(e) or type(e).__name__
        finally:
            session.detach()
            self._client = self._session = None
            if not self.connected:
                self._routes.failed()
            else:
                self.connected = False
                _guarded(self._handler.disconnected, "the connection is over")

    def _new_client(self) -> mqtt.Client:
        v5, route = self._protocol == MQTTProtocolVersion.MQTTv5, self._routes.current
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            transport="websockets" if route.path else "tcp",
            client_id=self._client_id,
            clean_session=None if v5 else False,
            protocol=self._protocol,
            reconnect_on_failure=False,
        )
        if self._broker.username:
            client.username_pw_set(self._broker.username, self._broker.password or None)
        if route.path:
            client.ws_set_options(route.path)
        if route.tls:
            client.tls_set_context(self._tls())
        if self._proxy is not None:
            client.proxy_set(**self._proxy.for_mqtt)
        client.connect_timeout = self._connect_s
        client.max_inflight_messages_set(65535)  # the courier bounds what is in flight
        will = self._will()
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        return client

    def _connect(self, client: mqtt.Client) -> None:
        """Blocking, in a thread of its own: name look-up, TCP, TLS."""
        v5, route = self._protocol == MQTTProtocolVersion.MQTTv5, self._routes.current
        properties: Properties | None = None
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            client.connect(route.host, route.port, KEEPALIVE_S, clean_start=False, properties=properties)
        else:
            client.connect(route.host, route.port, KEEPALIVE_S)

    def opened(self, reason: int, properties: Any) -> str | None:
        """The broker has answered; why it refuses, or None. Called by the session."""
        if reason != 0:
            if reason in (UNSUPPORTED_VERSION, 1):
                self._speak_other_version()
            return f"the broker refuses with reason code {reason}"
        self.receive_maximum = int(getattr(properties, "ReceiveMaximum", 0) or 65535)
        self.connected = True
        assert self._client is not None
        for topic in self._subscriptions:
            self._client.subscribe(topic, qos=1)
        self._routes.held()
        route = self._routes.current
        log.info(
            "connected to the broker",
            extra={"host": route.host, "protocol": self._protocol.name, "websocket": bool(route.path)},
        )
        _guarded(self._handler.connected)
        return None

    def closed_early(self) -> None:
        """The broker closed before it accepted; after some such times, perhaps it does not speak this version."""
        self._closed_early += 1
        if self._closed_early >= CLOSED_EARLY:
            self._speak_other_version()

    def _speak_other_version(self) -> None:
        self._closed_early = 0
        v5 = self._protocol == MQTTProtocolVersion.MQTTv5
        self._protocol = MQTTProtocolVersion.MQTTv311 if v5 else MQTTProtocolVersion.MQTTv5

    def stable(self) -> None:
        """The connection has held for a while."""
        self._closed_early = 0
        self._backoff.reset()

    def acknowledged(self, token: int, reason: int) -> None:
        _guarded(self._handler.acknowledged, token, reason)

    def received(self, topic: str, payload: bytes) -> None:
        _guarded(self._handler.received, topic, payload)


class _Session:
    """One connection: bridges a paho client's socket to the event loop. `over` ends with the cause."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: mqtt.Client, link: Link) -> None:
        self.over: asyncio.Future[str] = loop.create_future()
        self._loop = loop
        self._client = client
        self._link = link
        self._socket: Any = None
        self._accepted = False
        self._misc: asyncio.Task[None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def attach(self) -> None:
        """Take over the socket that `connect` has opened; on the loop's thread."""
        sock = self._client.socket()
        if sock is None:
            raise OSError("the broker closed the connection at once")
        self._socket = sock
        self._client.on_socket_register_write = self._want_write
        self._client.on_socket_unregister_write = self._no_write
        self._client.on_socket_close = self._on_close
        self._loop.add_reader(sock, self._readable)
        if self._client.want_write():
            self._loop.add_writer(sock, self._writable)
        self._misc = self._loop.create_task(self._keep_alive())

    def watch_answer(self, deadline_s: float) -> None:
        """End the session when the broker has not accepted it by then."""
        self._timers.append(self._loop.call_later(deadline_s, self._unanswered))

    def detach(self) -> None:
        for timer in self._timers:
            timer.cancel()
        if self._misc is not None:
            self._misc.cancel()
        self._forget_socket()
        for name in ("on_connect", "on_disconnect", "on_message", "on_publish"):
            setattr(self._client, name, None)
        sock = self._client.socket()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def _forget_socket(self) -> None:
        if self._socket is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket = None

    def end(self, why: str) -> None:
        if not self.over.done():
            self.over.set_result(why)

    def _unanswered(self) -> None:
        if not self._accepted:
            self.end("the broker did not answer the connect")

    async def _keep_alive(self) -> None:
        while not self.over.done():
            await asyncio.sleep(MISC_S)
            if self._client.loop_misc() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.end("the broker is silent")

    def _readable(self) -> None:
        while True:
            self._checked(self._client.loop_read())
            pending = getattr(self._socket, "pending", None)
            if self.over.done() or pending is None or not pending():
                return

    def _writable(self) -> None:
        self._checked(self._client.loop_write())

    def _checked(self, code: MQTTErrorCode) -> None:
        if code not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_AGAIN):
            self._closed(mqtt.error_string(code))

    def _closed(self, why: str) -> None:
        if not self._accepted and not self.over.done():
            self._link.closed_early()
        self.end(why)

    # --- paho's callbacks ---------------------------------------------------------------------------------------------

    def _want_write(self, _client: Any, _data: Any, sock: Any) -> None:
        if self._socket is not None:
            self._loop.add_writer(sock, self._writable)

    def _no_write(self, _client: Any, _data: Any, sock: Any) -> None:
        if self._socket is not None:
            self._loop.remove_writer(sock)

    def _on_close(self, _client: Any, _data: Any, _sock: Any) -> None:
        self._forget_socket()

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        self._accepted = True
        if (why := self._link.opened(int(reason.value), properties)) is not None:
            self.end(why)
            return
        self._timers.append(self._loop.call_later(STABLE_S, self._link.stable))

    def _on_disconnect(
        self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any = None
    ) -> None:
        self._closed(str(reason))

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._link.received(message.topic, bytes(message.payload))

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        self._link.acknowledged(mid, int(reason.value))


def _guarded(call: Callable[..., None], *arguments: Any) -> None:
    try:
        call(*arguments)
    except Exception:  # the boundary: paho would swallow it in the middle of its packet
        log.exception("a handler of the link failed", extra={"handler": getattr(call, "__name__", "")})
