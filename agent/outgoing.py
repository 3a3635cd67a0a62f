"""What goes up, put into envelopes and into the outbox: reported state, health, events, responses; and the birth and the will."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from agent.errors import AgentError
from agent.link import Will
from agent.outbox import Kind, Outbox
from agent.stamp import Stamp, finite
from wire import local
from wire.command import Response
from wire.errors import TooLarge
from wire.health import Health
from wire.reported import Connection, ObjectState, Reported
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

TELEMETRY_AGE_S = 86400.0
RESPONSE_AGE_S = 3600.0
PHASES_KEPT = 16
"""Reported states that wait while connected, so that every phase is seen; offline only the newest is worth anything."""
PROBLEMS_KEPT = 20
TEXT_KEPT_CHARS = 1000
"""Of each text of a reported state that would be too large."""


class Outgoing:
    """To be used on the loop's thread. `connected` is kept by the agent."""

    def __init__(
        self, outbox: Outbox, topics: DeviceTopics, stamp: Stamp, clock: Clock, agent_version: str
    ) -> None:
        self.connected = False
        self.too_large = 0
        self._outbox = outbox
        self._topics = topics
        self._stamp = stamp
        self._clock = clock
        self._version = agent_version
        self.on_reported_lost: Callable[[], None] = lambda: None
        """The state that was to be told could not be kept."""

    def event(self, event: local.Event) -> asyncio.Future[bool]:
        """Keep an event under its own id, so that a repeat is no double.

        :raises Degraded: the outbox takes nothing
        """
        try:
            payload = self._stamp.envelope(finite(event.body), message_id=event.id).encode()
        except TooLarge as e:
            self.too_large += 1
            log.warning("event is too large and dropped", extra={"camera": event.camera, "cause": str(e)})
            nothing: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            nothing.set_result(False)
            return nothing
        return self._outbox.add(Kind.EVENT, event.id, self._topics.event(event.camera), payload)

    def publication(self, message: local.Publication) -> asyncio.Future[bool]:
        """Keep a message of a workflow, for the fleet's broker, below the device's own topics.

        :raises Degraded: the outbox takes nothing
        """
        topic = self._topics.data(message.topic)
        return self._outbox.add(
            Kind.MESSAGE, message.id, topic, message.payload.encode(), retain=message.retain
        )

    def reported(self, reported: Reported) -> None:
        """Tell the state; what makes it longer than a message may be is cut short."""
        try:
            self._report(reported)
        except TooLarge:
            try:
                self._report(_shortened(reported))
            except TooLarge as e:
                self.too_large += 1
                log.error("reported state is too large and not told", extra={"cause": str(e)})

    def health(self, health: Health) -> None:
        data = finite(health.to_json())
        self._add(Kind.TELEMETRY, self._topics.health, data, until_s=TELEMETRY_AGE_S)

    def response(self, response: Response) -> None:
        topic = self._topics.response(response.rid)
        self._add(Kind.RESPONSE, topic, finite(response.to_json()), until_s=RESPONSE_AGE_S, rid=response.rid)

    def connection(self, state: str) -> Will:
        """The birth (`online`) or the last will (`offline`)."""
        document = Connection(state=state, agent_version=self._version, boot=self._stamp.boot)
        return Will(self._topics.conn, self._stamp.envelope(document.to_json()).encode())

    def _report(self, reported: Reported) -> None:
        latest = PHASES_KEPT if self.connected else 1
        data = finite(reported.to_json())
        self._add(
            Kind.STATE,
            self._topics.reported,
            data,
            retain=True,
            keep_latest=latest,
            lost=self.on_reported_lost,
        )

    def _add(
        self,
        kind: Kind,
        topic: str,
        data: dict[str, Any],
        *,
        until_s: float | None = None,
        rid: str | None = None,
        retain: bool = False,
        keep_latest: int | None = None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        envelope = self._stamp.envelope(data, rid=rid)
        until_wall = self._clock.wall() + until_s if until_s else None
        payload = envelope.encode()
        try:
            commit = self._outbox.add(
                kind,
                envelope.id,
                topic,
                payload,
                retain=retain,
                until_wall=until_wall,
                keep_latest=keep_latest,
            )
        except AgentError as e:
            log.error("message is lost", extra={"topic": topic, "cause": str(e)})
            lost()
            return
        commit.add_done_callback(lambda commit: _look_for_loss(commit, lost))


def _shortened(reported: Reported) -> Reported:
    """The same, with few problems, short texts, and of the objects only models and pipelines."""
    problems = tuple(
        {key: item[:TEXT_KEPT_CHARS] if isinstance(item, str) else item for key, item in problem.items()}
        for problem in reported.problems[:PROBLEMS_KEPT]
    )
    message = reported.message[:TEXT_KEPT_CHARS] if reported.message else None
    kept = {"models": _quiet(reported.models), "pipelines": _quiet(reported.pipelines)}
    left: dict[str, Any] = {"problems": problems, "message": message, "workflows": {}, "cameras": {}}
    return reported.model_copy(update={**left, **kept})


def _quiet(objects: dict[str, ObjectState]) -> dict[str, ObjectState]:
    return {name: state.model_copy(update={"message": None}) for name, state in objects.items()}


def _look_for_loss(commit: asyncio.Future[bool], lost: Callable[[], None]) -> None:
    if not commit.cancelled() and (error := commit.exception()) is not None:
        log.error("message is lost", extra={"cause": str(error)})
        lost()
