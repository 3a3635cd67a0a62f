"""Several control planes beside each other: who leads, who lives, and what the broker still keeps for one that is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from aiomqtt import MqttError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.broker import Endpoint
from fleet.lease import Held, Leadership
from fleet.link import Incoming, Sink, empty_session
from wire.errors import Malformed
from wire.topics import SHARE, parse

log = logging.getLogger(__name__)


class Alone:
    """The only control plane, which the lock of its directory makes sure of: it leads."""

    leads = True
    held = None

    def check(self, _session: Session) -> None:
        """Nobody else writes."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def release(self) -> None:
        """Nobody waits for it."""


class Replica:
    """One of several. `run` competes for the lease, and as the leader empties the sessions of those that are gone."""

    def __init__(
        self,
        leadership: Leadership,
        endpoint: Endpoint,
        client_id: str,
        subscriptions: Sequence[str],
        sink: Sink,
        receive_maximum: int,
        term_s: float,
    ) -> None:
        self._leadership = leadership
        self._endpoint = endpoint
        self._client_id = client_id
        self._shared = tuple(topic for topic in subscriptions if topic.startswith(SHARE))
        self._sink = sink
        self._receive_maximum = receive_maximum
        self._term_s = term_s

    @property
    def leads(self) -> bool:
        return self._leadership.leads

    @property
    def held(self) -> Held:
        """The lease last held."""
        return self._leadership.held

    def check(self, session: Session) -> None:
        """:raises Transient: another replica leads by now"""
        self._leadership.check(session)

    def release(self) -> None:
        self._leadership.release()

    async def run(self) -> None:
        await asyncio.gather(self._leadership.run(), self._look_after())

    async def _look_after(self) -> None:
        while True:
            try:
                gone = await asyncio.to_thread(self._leadership.renew_presence, self._client_id)
                if self.leads:
                    for client_id in gone:
                        await self._empty(client_id)
            except (SQLAlchemyError, MqttError) as e:
                log.warning("sessions of other replicas are looked at later", extra={"cause": str(e)[:300]})
            await asyncio.sleep(self._term_s)

    async def _empty(self, client_id: str) -> None:
        taken = await empty_session(
            self._endpoint, client_id, self._shared, self._take_events, self._receive_maximum
        )
        await asyncio.to_thread(self._leadership.forget, client_id)
        log.warning("a replica is gone", extra={"client_id": client_id, "messages_taken_over": taken})

    async def _take_events(self, messages: Sequence[Incoming]) -> None:
        """Of what has waited only events are still worth something: each stands for itself, however late."""
        events = [message for message in messages if _is_event(message.topic)]
        if events:
            await self._sink(events)


def _is_event(topic: str) -> bool:
    try:
        return parse(topic).kind == "event"
    except Malformed:
        return False
