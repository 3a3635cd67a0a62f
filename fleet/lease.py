"""Which replica does what only one may: a lease in the database, with a fencing token that grows with each new holder.

A holder believes in its lease for less long than others wait before they take it, on monotonic clocks of its own; and whoever
writes as the holder checks the token in the same transaction. So there are never two, however long a process was stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import Transient
from fleet.tables import LeaseRow
from wire.reasons import Reason

log = logging.getLogger(__name__)

LEADER = "leader"
RENEWALS_IN_TERM = 3
MARGIN = 0.2
"""The share of a term by which a holder gives up before others may take over."""


@dataclass(frozen=True)
class Lease:
    """A lease as the database has it. Times are the database's wall clock, in seconds."""

    holder: str
    token: int
    until_wall: float


@dataclass(frozen=True)
class Held:
    """A lease as its holder knows it: whose it is, and its fencing token."""

    holder: str
    token: int


def decide(current: Lease | None, me: str, at_wall: float, term_s: float) -> Lease | None:
    """The lease as it is to be, if it is to be mine: renewed, taken over, or None while somebody else has it."""
    if current is None:
        return Lease(me, 1, at_wall + term_s)
    if current.until_wall <= at_wall:
        return Lease(me, current.token + 1, at_wall + term_s)
    if current.holder == me:
        return Lease(me, current.token, at_wall + term_s)
    return None


class Leadership:
    """One replica's part. `run` competes until cancelled; `leads` and `check` say whether this one may act."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        replica: str,
        term_s: float,
        gained: Callable[[], Awaitable[None]],
    ) -> None:
        """`gained` runs after this replica has become the leader."""
        self._database = database
        self._clock = clock
        self._replica = replica
        self._term_s = term_s
        self._gained = gained
        self._until_mono = float("-inf")
        self._token = 0

    @property
    def leads(self) -> bool:
        return self._clock.mono() < self._until_mono

    @property
    def held(self) -> Held:
        """The lease last held."""
        return Held(self._replica, self._token)

    def check(self, session: Session) -> None:
        """Within a transaction that only the leader may make.

        :raises Transient: another replica leads by now; nothing must be written
        """
        row = session.get(LeaseRow, LEADER)
        if row is None or row.holder != self._replica or row.token != self._token:
            raise Transient(Reason.SUPERSEDED, "another replica of the control plane leads by now")

    async def run(self) -> None:
        while True:
            led = self.leads
            try:
                await asyncio.to_thread(self.compete)
            except SQLAlchemyError as e:
                log.warning("the lease cannot be asked for", extra={"cause": str(e)[:300]})
            if self.leads and not led:
                log.info("this replica leads", extra={"replica": self._replica, "token": self._token})
                await self._told()
            await asyncio.sleep(self._term_s / RENEWALS_IN_TERM)

    async def _told(self) -> None:
        try:
            await self._gained()
        except Exception:
            log.exception("work of a new leader failed; it is tried again with the maintenance")

    def compete(self) -> None:
        """Take or renew the lease, if it is to be had."""
        asked_mono = self._clock.mono()
        with self._database.write() as session:
            at_wall = _wall(session, self._clock)
            row = session.get(LeaseRow, LEADER)
            current = Lease(row.holder, row.token, row.until) if row else None
            lease = decide(current, self._replica, at_wall, self._term_s)
            if lease is not None:
                session.merge(
                    LeaseRow(name=LEADER, holder=lease.holder, token=lease.token, until=lease.until_wall)
                )
        if lease is None:
            self._until_mono = float("-inf")
        else:
            self._token, self._until_mono = lease.token, asked_mono + self._term_s * (1 - MARGIN)

    def release(self) -> None:
        """Let the next one lead at once."""
        if not self.leads:
            return
        self._until_mono = float("-inf")
        with self._database.write() as session:
            row = session.get(LeaseRow, LEADER)
            if row is not None and (row.holder, row.token) == (self._replica, self._token):
                row.until = 0.0

    def renew_presence(self, client_id: str) -> list[str]:
        """Say that this replica lives, with the client id of its session; the client ids of those that have not for three terms."""
        with self._database.write() as session:
            at_wall = _wall(session, self._clock)
            session.merge(
                LeaseRow(
                    name=f"replica:{client_id}",
                    holder=self._replica,
                    token=0,
                    until=at_wall + 3 * self._term_s,
                )
            )
            gone = select(LeaseRow.name).where(LeaseRow.name.like("replica:%"), LeaseRow.until < at_wall)
            return [name.partition(":")[2] for name in session.scalars(gone)]

    def forget(self, client_id: str) -> None:
        """The session of a replica that is gone has been emptied."""
        with self._database.write() as session:
            row = session.get(LeaseRow, f"replica:{client_id}")
            if row is not None and row.until < _wall(session, self._clock):
                session.delete(row)


def _wall(session: Session, clock: Clock) -> float:
    """One clock for all: the database's. SQLite has one machine."""
    if session.get_bind().dialect.name == "postgresql":
        return float(session.scalar(select(func.extract("epoch", func.clock_timestamp()))) or 0.0)
    return clock.wall()
