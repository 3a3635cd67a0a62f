"""Whose writing counts: a token in the database that grows with each new worker, checked in every one of its transactions.

A worker may be cut off at any moment, in another process or in a thread that ends late. Who took the token last is the only one that
writes, and only while the lease under which it was taken is the newest one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from fleet.db import Database
from fleet.errors import Transient
from fleet.lease import LEADER, Held
from fleet.tables import LeaseRow
from wire.reasons import Reason

KEEPER = "keeper"


@dataclass(frozen=True)
class Fence:
    """A worker's right to write. `held` is None where there is one control plane only."""

    token: int
    held: Held | None

    def check(self, session: Session) -> None:
        """Within a transaction that only this worker may make.

        :raises Transient: another one has begun, or another replica leads by now; nothing must be written
        """
        row = session.get(LeaseRow, KEEPER)
        if row is None or row.token != self.token:
            raise Transient(Reason.SUPERSEDED, "another process works on health by now")
        if self.held is not None:
            lease = session.get(LeaseRow, LEADER)
            if lease is None or Held(lease.holder, lease.token) != self.held:
                raise Transient(Reason.SUPERSEDED, "another replica of the control plane leads by now")


def take(database: Database, guard: Callable[[Session], None], held: Held | None) -> Fence:
    """Begin; who has worked until now writes nothing any more.

    :raises Transient: by `guard`, where another replica leads
    """
    with database.write() as session:
        guard(session)
        row = session.get(LeaseRow, KEEPER)
        fence = Fence(row.token + 1 if row is not None else 1, held)
        session.merge(LeaseRow(name=KEEPER, holder=held.holder if held else "", token=fence.token, until=0.0))
    return fence
