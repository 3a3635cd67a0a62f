"""The messages of the broker over HTTPS, for networks that let no MQTT through: what goes up in batches, what comes down by long polls.

Only while `on`. The control plane hands what it gets to its broker under the same rules, so whoever listens there misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from agent import download
from agent.backoff import Backoff
from agent.download import bearer
from agent.errors import AgentError, Disconnected, Transient
from agent.link import Handler
from wire import exchange
from wire.doc import read
from wire.errors import Refused
from wire.reasons import Reason
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

WAIT_S = 20.0
ANSWER_S = 15.0
BATCH_BYTES = 512 * 1024
IDLE_S = 1.0
FAILURE = 0x80


class Exchange:
    """Publishes as the link does; its tokens are negative. `work` is to run; `on` is set by whoever knows that MQTT is away."""

    receive_maximum = 100

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        token: str,
        topics: DeviceTopics,
        handler: Handler,
        offered: Callable[[object], None],
        highest: Callable[[], int],
        backoff: Backoff,
        poll_s: float,
    ) -> None:
        """`offered` takes signed desired states; `highest` is the highest revision seen."""
        self._client = client
        self._url = f"{url.rstrip('/')}/api/v1/device"
        self._base = url
        self._token = token
        self._topics = topics
        self._handler = handler
        self._offered = offered
        self._highest = highest
        self._backoff = backoff
        self._poll_s = poll_s
        self._pending: dict[int, exchange.Message] = {}
        self._wake = asyncio.Event()
        self._next_token = 0
        self._cursor = 0.0
        self._last_desired: object | None = None
        self._complaint: Reason | None = None
        self.on = False
        self.connected = False

    def publish(self, topic: str, payload: bytes, *, retain: bool) -> int:
        """Send soon; the token comes back by the handler's `acknowledged`.

        :raises Disconnected: HTTPS does not work either
        """
        if not self.connected:
            raise Disconnected
        self._next_token -= 1
        self._pending[self._next_token] = exchange.Message(
            topic=topic, payload=payload.decode(), retain=retain
        )
        self._wake.set()
        return self._next_token

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run until it is cancelled, side by side."""
        return [self._down(), self._up()]

    def switch(self, on: bool) -> None:
        """MQTT is away, or there again."""
        self.on = on
        if not on:
            self._lost("MQTT is there again")

    def _lost(self, why: str) -> None:
        self._pending.clear()
        if self.connected:
            self.connected = False
            self._handler.disconnected(why)

    async def _down(self) -> None:
        while True:
            if not self.on:
                await asyncio.sleep(min(IDLE_S, self._poll_s))
                continue
            try:
                await self._poll()
                self._complaint = None
                self._backoff.reset()
            except (AgentError, Refused, httpx.HTTPError, ValueError) as e:
                self._complain(e)
                self._lost("HTTPS does not work either")
                await asyncio.sleep(min(self._poll_s, self._backoff.next_s()))

    async def _poll(self) -> None:
        answer = await self._client.get(
            f"{self._url}/inbox",
            params={
                "revision": self._highest(),
                "after": self._cursor,
                "wait_s": WAIT_S if self.connected else 0,
            },
            headers=bearer(self._token),
            timeout=WAIT_S + ANSWER_S,
        )
        if answer.status_code == 404:
            await self._poll_older()
            return
        _check(answer)
        inbox = read(exchange.Inbox, answer.json())
        if not self.on:
            return
        if not self.connected:
            self.connected = True
            self._handler.connected()
        if again := inbox.desired is not None and inbox.desired == self._last_desired:
            pass  # refused before; once more after a while
        elif inbox.desired is not None:
            self._offered(inbox.desired)
        self._last_desired = None if again else inbox.desired
        for message in inbox.commands:
            self._cursor = max(self._cursor, message.issued_at)
            self._handler.received(self._topics.command(message.name), message.envelope.encode())
        if again:
            await asyncio.sleep(self._poll_s)

    async def _poll_older(self) -> None:
        """A control plane without an inbox has the desired state at least."""
        document = await download.desired_state(self._client, self._base, self._token)
        if document is not None:
            self._offered(document)
        await asyncio.sleep(self._poll_s)

    async def _up(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending and self.connected:
                try:
                    await self._post(self._batch())
                except (AgentError, httpx.HTTPError) as e:
                    self._complain(e)
                    self._lost("HTTPS does not work either")

    def _batch(self) -> dict[int, exchange.Message]:
        taken: dict[int, exchange.Message] = {}
        size = 0
        for token, message in self._pending.items():
            size += len(message.payload)
            if taken and size > BATCH_BYTES:
                break
            taken[token] = message
        return taken

    async def _post(self, batch: dict[int, exchange.Message]) -> None:
        body = exchange.Outbox(messages=tuple(batch.values())).to_json()
        answer = await self._client.post(
            f"{self._url}/messages", json=body, headers=bearer(self._token), timeout=ANSWER_S + 15.0
        )
        _check(answer)
        accepted = read(exchange.Accepted, answer.json()).accepted
        for token, ok in zip(batch, accepted, strict=False):
            if self._pending.pop(token, None) is not None:
                self._handler.acknowledged(token, 0 if ok else FAILURE)

    def _complain(self, error: Exception) -> None:
        """An unreachable control plane is no news; another answer is, once."""
        reason = getattr(error, "reason", Reason.ARTIFACT_UNREACHABLE)
        told = log.debug if reason in (Reason.ARTIFACT_UNREACHABLE, self._complaint) else log.error
        self._complaint = reason
        told("the exchange over HTTPS failed", extra={"reason": reason.value, "cause": str(error)[:300]})


def _check(answer: httpx.Response) -> None:
    """:raises Transient: with the reason of the answer, as far as it has one"""
    if answer.is_success:
        return
    try:
        reason = Reason(answer.json()["reason"])
    except (ValueError, KeyError, TypeError):
        reason = Reason.NOT_AUTHENTICATED if answer.status_code == 401 else Reason.ARTIFACT_UNREACHABLE
    raise Transient(reason, f"the control plane answers {answer.status_code}: {answer.text[:200]}")
