"""Events by webhook, as CloudEvents: in the order of arrival, at least once, each receiver at its own pace.

How far a receiver has come is kept in the database, so that a restart, or another leader, goes on there. A receiver that is away is tried
again with longer and longer pauses; what it refuses (4xx) is told in the log, counted, and passed over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from fleet.clock import Clock
from fleet.config import Webhook
from fleet.db import Database
from fleet.errors import FleetError
from fleet.events.filter import Filter, parse_fields
from fleet.events.log import EventLog
from fleet.outward.tables import CursorRow
from fleet.roster import Roster
from fleet.selector import parse as parse_selector
from fleet.tables import EventRow
from wire import cloudevents

log = logging.getLogger(__name__)

POLL_S = 1.0
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 300.0
TIMEOUT_S = 15.0
AGAIN = frozenset({408, 425, 429})
SELECTED_S = 1.0
"""How long the devices of a selector are taken to be the same: an event that is passed over does not come again."""


@dataclass
class Figures:
    """Of one receiver since the start."""

    delivered: int = 0
    refused: int = 0
    failures: int = 0
    failing: str = ""


class Hooks:
    """`run` serves every receiver, while `leads`."""

    def __init__(
        self,
        fleet: str,
        hooks: Sequence[tuple[Webhook, str]],
        database: Database,
        event_log: EventLog,
        clock: Clock,
        leads: Callable[[], bool],
        client: httpx.AsyncClient,
    ) -> None:
        """`hooks`: each with its secret."""
        self._fleet = fleet
        self._database = database
        self._log = event_log
        self._clock = clock
        self._leads = leads
        self._client = client
        self._roster = Roster(database, clock)
        self._hooks = hooks
        self.figures = {hook.name: Figures() for hook, _ in hooks}

    async def run(self) -> None:
        try:
            await asyncio.gather(*(self._serve(hook, secret) for hook, secret in self._hooks))
        finally:
            await self._client.aclose()

    async def _serve(self, hook: Webhook, secret: str) -> None:
        delay_s, row = RETRY_FIRST_S, -1
        wanted, wanted_mono = Filter(), -1e18
        while True:
            if not self._leads():
                row = -1
                await asyncio.sleep(POLL_S)
                continue
            try:
                if row < 0:
                    row = await asyncio.to_thread(self._begin, hook.name)
                if await asyncio.to_thread(self._log.newest_row) <= row:
                    await asyncio.sleep(POLL_S)
                    continue
                if self._clock.mono() - wanted_mono > SELECTED_S:
                    wanted = await asyncio.to_thread(self._meant, hook)
                    wanted_mono = self._clock.mono()
                found = await asyncio.to_thread(self._log.after, wanted, row, hook.batch)
                if found.rows:
                    await self._post(hook, secret, found.rows)
                if found.reached > row:
                    row = found.reached
                    await asyncio.to_thread(self._keep, hook.name, row)
                delay_s, self.figures[hook.name].failing = RETRY_FIRST_S, ""
                if found.end:
                    await asyncio.sleep(POLL_S)
            except (httpx.HTTPError, FleetError) as e:
                self._failed(hook.name, e, delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MOST_S)
            except Exception:  # the boundary: other receivers go on
                log.exception("a webhook cannot be served", extra={"webhook": hook.name})
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_MOST_S)

    def _failed(self, name: str, error: Exception, delay_s: float) -> None:
        figures = self.figures[name]
        figures.failures += 1
        why = str(error) or type(error).__name__
        if why != figures.failing:
            figures.failing = why
            log.warning("a webhook is not reached", extra={"webhook": name, "cause": why, "retry_s": delay_s})

    async def _post(self, hook: Webhook, secret: str, rows: Sequence[EventRow]) -> None:
        """:raises httpx.HTTPError: it is to be tried again"""
        names = await asyncio.to_thread(self._log.workflow_names, [row.workflow for row in rows])
        events = [event_of(self._fleet, row, names.get(row.workflow, row.workflow)) for row in rows]
        for some in [events] if hook.batch > 1 else [[event] for event in events]:
            content, media_type = cloudevents.body(some, batch=hook.batch > 1)
            message_id = f"{self._fleet}-{some[0]['id']}-{len(some)}"
            headers = cloudevents.signed_headers(secret, message_id, self._clock.wall(), content)
            answer = await self._client.post(
                hook.url, content=content, headers={**headers, "Content-Type": media_type}, timeout=TIMEOUT_S
            )
            self._judge(hook.name, answer, len(some))

    def _judge(self, name: str, answer: httpx.Response, count: int) -> None:
        status = answer.status_code
        if 400 <= status < 500 and status not in AGAIN:
            self.figures[name].refused += count
            log.error("a webhook refuses events", extra={"webhook": name, "status": status, "events": count})
            return
        if not answer.is_success:
            raise httpx.HTTPStatusError(f"HTTP {status}", request=answer.request, response=answer)
        self.figures[name].delivered += count

    def _meant(self, hook: Webhook) -> Filter:
        devices = None
        selector = parse_selector(hook.selector)
        if not selector.everything:
            devices = frozenset(self._roster.matching(selector))
        workflows = self._log.workflow_digests(hook.workflow) if hook.workflow else None
        return Filter(
            devices,
            hook.camera or None,
            workflows,
            hook.kind,
            having=frozenset(hook.having),
            fields=parse_fields(hook.fields),
        )

    def _begin(self, name: str) -> int:
        """Where it goes on; a new receiver begins with what comes from now on."""
        with self._database.read() as session:
            row = session.get(CursorRow, f"webhook:{name}")
        if row is not None:
            return row.row
        newest = self._log.newest_row()
        self._keep(name, newest)
        return newest

    def _keep(self, name: str, row: int) -> None:
        with self._database.write() as session:
            session.merge(CursorRow(name=f"webhook:{name}", row=row, at=self._clock.wall()))


def event_of(fleet: str, row: EventRow, workflow: str) -> dict[str, object]:
    """An event as a CloudEvent: `source` is the device, `subject` the camera."""
    return cloudevents.envelope(
        f"outrider.event.{row.kind}",
        row.id,
        f"/outrider/{fleet}/{row.device}",
        row.at,
        row.body,
        row.camera,
        {"device": row.device, "workflow": workflow, "sequence": str(row.row)},
    )
