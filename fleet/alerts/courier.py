"""Delivers what is queued: each message until a target has taken it, at growing intervals, for a day at most.

Only the leading replica delivers. A message that was taken just before this one died is sent again, under the same id.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from fleet.alerts import store
from fleet.alerts.senders import Senders
from fleet.alerts.tables import DeliveryRow
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import FleetError

log = logging.getLogger(__name__)

TICK_S = 1.0
AT_ONCE = 16
RETRY_FIRST_S = 5.0
RETRY_MOST_S = 900.0
GIVE_UP_S = 86_400.0


class Courier:
    """`run` delivers until cancelled, while `leads` says so."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        senders: Senders,
        leads: Callable[[], bool],
        guard: Callable[[Session], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._senders = senders
        self._leads = leads
        self._guard = guard

    async def run(self) -> None:
        while True:
            try:
                more = self._leads() and await self.deliver()
            except FleetError as e:
                log.info("alerts are delivered later", extra={"cause": str(e)})
                more = False
            except Exception:  # the boundary: it is tried again
                log.exception("alerts cannot be delivered")
                more = False
            await asyncio.sleep(0.0 if more else TICK_S)

    async def deliver(self) -> bool:
        """Those that are due, some at once; whether there may be more."""
        rows = await asyncio.to_thread(self._due)
        await asyncio.gather(*(self._one(row) for row in rows))
        return len(rows) == AT_ONCE

    def _due(self) -> list[DeliveryRow]:
        query = select(DeliveryRow).where(DeliveryRow.open, DeliveryRow.next_at <= self._clock.wall())
        with self._database.read() as session:
            return list(session.scalars(query.order_by(DeliveryRow.next_at).limit(AT_ONCE)))

    async def _one(self, row: DeliveryRow) -> None:
        with self._database.read() as session:
            target = store.targets(session).get(row.target)
        error = "the target is gone or switched off" if target is None or not target.enabled else ""
        given_up = bool(error)
        if target is not None and not error:
            try:
                await self._senders.send(target, row.body)
            except FleetError as e:
                error = str(e)
        await asyncio.to_thread(self._note, row, error, given_up)

    def _note(self, row: DeliveryRow, error: str, given_up: bool) -> None:
        at, attempts = self._clock.wall(), row.attempts + 1
        given_up = given_up or at - row.created_at >= GIVE_UP_S
        values: dict[str, Any] = {"attempts": attempts, "error": error}
        if not error:
            values |= {"open": False, "delivered_at": at}
        elif given_up:
            values |= {"open": False}
        else:
            values |= {"next_at": at + retry_s(attempts)}
        with self._database.write() as session:
            self._guard(session)
            session.execute(update(DeliveryRow).where(DeliveryRow.id == row.id).values(**values))
        if error and (attempts == 1 or given_up):
            log.warning(
                "an alert was not taken",
                extra={"target": row.target, "cause": error, "given_up": given_up},
            )

    def forget_old(self, days: float) -> None:
        """Remove what was delivered or given up longer ago."""
        until = self._clock.wall() - days * 86_400.0
        with self._database.write() as session:
            session.execute(
                delete(DeliveryRow).where(DeliveryRow.open.is_(False), DeliveryRow.created_at < until)
            )


def retry_s(attempts: int) -> float:
    """How long until the next attempt."""
    return float(min(RETRY_FIRST_S * 2.0 ** min(attempts - 1, 20), RETRY_MOST_S))
