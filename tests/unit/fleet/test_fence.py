"""Of those who work on health only the last one writes, and only under the newest lease."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from fleet.db import Database
from fleet.errors import Transient
from fleet.keeper.fence import Fence, take
from fleet.lease import LEADER, Held
from fleet.tables import LeaseRow


def anybody(_session: Session) -> None:
    """Nobody else leads."""


def checked(database: Database, fence: Fence) -> None:
    with database.read() as session:
        fence.check(session)


def test_who_worked_before_writes_nothing_any_more(database: Database) -> None:
    first = take(database, anybody, None)
    checked(database, first)
    second = take(database, anybody, None)
    with pytest.raises(Transient, match="another process"):
        checked(database, first)
    checked(database, second)


def test_worker_whose_lease_is_over_writes_nothing(database: Database) -> None:
    with database.write() as session:
        session.merge(LeaseRow(name=LEADER, holder="a", token=4, until=9e9))
    fence = take(database, anybody, Held("a", 4))
    checked(database, fence)
    with database.write() as session:
        session.merge(LeaseRow(name=LEADER, holder="a", token=5, until=9e9))
    with pytest.raises(Transient, match="another replica"):
        checked(database, fence)


def test_who_does_not_lead_takes_nothing_from_who_works(database: Database) -> None:
    fence = take(database, anybody, None)

    def refused(_session: Session) -> None:
        raise Transient("superseded", "another replica leads")  # type: ignore[arg-type]

    with pytest.raises(Transient):
        take(database, refused, None)
    checked(database, fence)
