"""The audit log: every change, by whom. Rows are only added, in the transaction of the change itself, chained by their hashes."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet import chain
from fleet.db import Database
from fleet.tables import AuditHead, AuditRow

HEAD_ID = 1
BATCH = 1000
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the HTTP request that is being worked on; empty outside of one."""


def record(
    session: Session,
    at_wall: float,
    actor: str,
    action: str,
    subject: str,
    *,
    before: Any = None,
    after: Any = None,
    **detail: Any,
) -> None:
    """Add a row. `detail` never holds a secret; of `before` and `after` (JSON values) only the digest is kept."""
    head = session.get(AuditHead, HEAD_ID, with_for_update=True)
    if head is None:
        head = AuditHead(id=HEAD_ID, count=0, hash=chain.START)
        session.add(head)
    values: dict[str, Any] = {
        "seq": head.count + 1,
        "at": at_wall,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail,
        "request_id": request_id.get(),
        "before": None if before is None else chain.digest_of(before),
        "after": None if after is None else chain.digest_of(after),
    }
    head.count, head.hash = values["seq"], chain.link(values, head.hash)
    session.add(AuditRow(**values, hash=head.hash))


class AuditLog:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self) -> chain.Head:
        with self._database.read() as session:
            row = session.get(AuditHead, HEAD_ID)
            return chain.EMPTY if row is None else chain.Head(row.count, row.hash)

    def page(
        self,
        after: int,
        limit: int,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
        newest: bool = False,
    ) -> list[AuditRow]:
        """Rows in their order, beginning after the row number `after`, or against it, beginning before; `action` may end in `*`."""
        query = select(AuditRow).limit(limit)
        if newest:
            query = query.where(AuditRow.seq < after).order_by(AuditRow.seq.desc())
        else:
            query = query.where(AuditRow.seq > after).order_by(AuditRow.seq)
        if actor is not None:
            query = query.where(AuditRow.actor == actor)
        if action is not None and action.endswith("*"):
            query = query.where(AuditRow.action.startswith(action[:-1], autoescape=True))
        elif action is not None:
            query = query.where(AuditRow.action == action)
        if subject is not None:
            query = query.where(AuditRow.subject == subject)
        with self._database.read() as session:
            return list(session.scalars(query))

    def rows(self) -> Iterator[AuditRow]:
        """Every row in its order."""
        after = 0
        while batch := self.page(after, BATCH):
            yield from batch
            after = batch[-1].seq
