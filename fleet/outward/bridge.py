"""A session with somebody else's broker, for as long as this process leads: made anew with longer and longer pauses."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import aiomqtt

from fleet.config import ElsewhereBroker
from fleet.errors import Misconfigured
from wire.reasons import Reason

log = logging.getLogger(__name__)

LEAD_S = 1.0
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 60.0
KEEP_ALIVE_S = 30
FAREWELL_S = 2.0


@dataclass(frozen=True)
class Will:
    """What the broker says when the session is lost."""

    topic: str
    payload: bytes
    retain: bool


class Talk(Protocol):
    """What is said in a session."""

    async def will(self) -> Will:
        """Asked before each session."""

    async def session(self, client: aiomqtt.Client) -> None:
        """Until this process leads no more, or `aiomqtt.MqttError`."""

    async def farewell(self, client: aiomqtt.Client) -> None:
        """The last words of a session that ends in good order, for which the broker says no will."""


class Bridge:
    """`run` until cancelled. `connected` says whether there is a session."""

    def __init__(
        self, name: str, broker: ElsewhereBroker, password: str, talk: Talk, leads: Callable[[], bool]
    ) -> None:
        """:raises Misconfigured: no broker can be meant"""
        self._name = name
        self._broker = broker
        self._password = password
        self._talk = talk
        self._leads = leads
        self._host, self._port, self._tls = _address(broker)
        self.connected = False

    async def run(self) -> None:
        delay_s, told = RETRY_FIRST_S, ""
        while True:
            if not self._leads():
                await asyncio.sleep(LEAD_S)
                continue
            try:
                await self._once()
                delay_s, told = RETRY_FIRST_S, ""
            except (aiomqtt.MqttError, OSError) as e:
                if self.connected:
                    delay_s = RETRY_FIRST_S
                if str(e) != told:
                    told = str(e)
                    log.warning("a broker is not reached", extra={"bridge": self._name, "cause": told})
            except Exception:  # the boundary: the control plane goes on without its bridges
                log.exception("a bridge has ended; it begins anew", extra={"bridge": self._name})
            finally:
                self.connected = False
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, RETRY_MOST_S)

    async def _once(self) -> None:
        will = await self._talk.will()
        client = aiomqtt.Client(
            self._host,
            self._port,
            username=self._broker.username or None,
            password=self._password or None,
            identifier=self._broker.client_id or f"outrider-{self._name}",
            protocol=aiomqtt.ProtocolVersion.V311,
            will=aiomqtt.Will(will.topic, will.payload, 1, will.retain),
            clean_session=True,
            keepalive=KEEP_ALIVE_S,
            tls_context=ssl.create_default_context(cafile=self._broker.authority or None)
            if self._tls
            else None,
        )
        async with client:
            self.connected = True
            log.info("bridge is connected", extra={"bridge": self._name, "host": self._host})
            try:
                await self._talk.session(client)
            except asyncio.CancelledError:
                with contextlib.suppress(aiomqtt.MqttError, asyncio.TimeoutError):
                    await asyncio.wait_for(self._talk.farewell(client), FAREWELL_S)
                raise
            await self._talk.farewell(client)


def _address(broker: ElsewhereBroker) -> tuple[str, int, bool]:
    parts = urlsplit(broker.broker)
    tls = parts.scheme == "mqtts"
    if (
        parts.scheme not in ("mqtt", "mqtts")
        or not parts.hostname
        or parts.username
        or parts.path not in ("", "/")
    ):
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"broker {broker.broker!r} cannot be used; expected mqtt://HOST:PORT or mqtts://HOST:PORT, with username "
            "and password beside it",
        )
    return parts.hostname, parts.port or (8883 if tls else 1883), tls
