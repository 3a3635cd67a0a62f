"""The audit log: whatever is changed, removed or reordered in it is found."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from fleet import audit
from fleet.audit import AuditLog
from fleet.chain import EMPTY, FIELDS, Head, breaks, link
from fleet.db import Database
from fleet.tables import AuditRow


def log(length: int) -> tuple[list[dict[str, Any]], Head]:
    """A log of rows with their hashes, and its head."""
    rows: list[dict[str, Any]] = []
    head = EMPTY
    for seq in range(1, length + 1):
        row: dict[str, Any] = {name: f"{name}-{seq}" for name in FIELDS} | {"seq": seq, "at": seq + 0.25}
        row["hash"] = link(row, head.hash)
        rows.append(row)
        head = Head(seq, row["hash"])
    return rows, head


@given(st.integers(0, 8))
def test_untouched_log_is_whole_and_so_are_the_heads_it_had(length: int) -> None:
    rows, head = log(length)
    assert breaks(rows) == []
    assert breaks(log(length + 3)[0], head) == []


@given(st.data())
def test_any_changed_field_is_found(data: st.DataObject) -> None:
    rows, _ = log(data.draw(st.integers(1, 8)))
    row = data.draw(st.sampled_from(rows))
    row[data.draw(st.sampled_from((*FIELDS, "hash")))] = data.draw(st.sampled_from([None, -7, "other"]))
    assert breaks(rows)


@given(st.data())
def test_any_removed_row_is_found(data: st.DataObject) -> None:
    rows, head = log(data.draw(st.integers(1, 8)))
    del rows[data.draw(st.integers(0, len(rows) - 1))]
    assert breaks(rows, head)


@given(st.data())
def test_any_other_order_is_found(data: st.DataObject) -> None:
    rows, _ = log(data.draw(st.integers(2, 8)))
    shuffled = data.draw(st.permutations(rows))
    assert bool(breaks(shuffled)) == (shuffled != rows)


def test_log_written_anew_is_found_by_an_exported_head() -> None:
    rows, head = log(5)
    rows[1]["actor"] = "somebody else"
    previous = rows[0]["hash"]
    for row in rows[1:]:
        row["hash"] = previous = link(row, previous)
    assert breaks(rows) == []
    assert breaks(rows, head)


def test_rows_of_the_database_are_a_chain_and_a_change_in_it_is_found(database: Database) -> None:
    for number in range(3):
        with database.write() as session:
            audit.record(session, 1.0 + number, "user:a", "thing.set", "x", after={"n": number}, how="well")
            audit.record(session, 1.5 + number, "user:b", "thing.remove", "x")
    kept = AuditLog(database)
    head = kept.head()
    rows = [vars(row) for row in kept.rows()]
    assert (head.count, breaks(rows, head)) == (6, [])
    assert rows[0]["after"].startswith("sha256:")
    with database.write() as session:
        session.execute(update(AuditRow).where(AuditRow.seq == 3).values(actor="user:c"))
    assert breaks([vars(row) for row in kept.rows()]) == [
        "row 3 or the one before it was changed: its hash does not fit"
    ]
    assert asdict(head)["count"] == 6


def test_change_that_fails_leaves_no_row_and_no_gap(database: Database) -> None:
    def fail() -> None:
        with database.write() as session:
            audit.record(session, 1.0, "user:a", "thing.set", "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with database.write() as session:
        audit.record(session, 2.0, "user:a", "thing.set", "y")
    kept = AuditLog(database)
    assert [(row.seq, row.subject) for row in kept.rows()] == [(1, "y")]
    assert breaks([vars(row) for row in kept.rows()], kept.head()) == []


def test_log_is_read_by_actor_action_and_subject(database: Database) -> None:
    with database.write() as session:
        for actor, action in (("user:a", "model.upload"), ("user:b", "model.alias"), ("user:a", "x")):
            audit.record(session, 1.0, actor, action, "yolo")
    kept = AuditLog(database)
    assert [row.seq for row in kept.page(0, 10, actor="user:a")] == [1, 3]
    assert [row.seq for row in kept.page(1, 10, action="model.*")] == [2]
    assert kept.page(0, 10, subject="other") == []
