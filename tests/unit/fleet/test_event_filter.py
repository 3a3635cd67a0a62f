"""Which events a filter means."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import Refused
from fleet.events import export
from fleet.events.filter import Filter, parse_fields
from fleet.events.log import BATCH_ROWS, EventLog
from fleet.tables import EventRow

BODY = {
    "workflow": "w",
    "outputs": {
        "count": 3,
        "open": True,
        "a.b": "dotted",
        "found": {"predictions": [{"class": "cat", "confidence": 0.5}, {"class": "dog"}]},
    },
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("outputs.count=3", True),
        ("outputs.count=3.0", True),
        ("outputs.count=4", False),
        ("outputs.open=true", True),
        ("outputs.open=1", False),
        ("outputs.count=true", False),
        ("workflow=w", True),
        ("outputs.a.b=dotted", True),
        ("outputs.found.predictions.*.class=dog", True),
        ("outputs.found.predictions.0.class=dog", False),
        ("outputs.found.predictions.9.class=dog", False),
        ("outputs.*=3", True),
        ("outputs.none=null", False),
    ],
)
def test_a_field_is_compared_as_text_or_as_json(text: str, holds: bool) -> None:
    assert Filter(fields=parse_fields([text])).matches_body(BODY) is holds


@pytest.mark.parametrize("text", ["outputs.count", "=3", "a..b=1", ".".join("a" * 20) + "=1"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse_fields([text])


def test_a_sparse_filter_finds_all_over_many_batches_in_both_orders(database: Database, clock: Clock) -> None:
    count = 3 * BATCH_ROWS + 7
    with database.write() as session:
        session.execute(
            insert(EventRow),
            [
                {
                    "id": str(n), "device": f"d{n % 3}", "camera": "c", "frame_seq": n, "at": 1e9 + n, "received_at": 1e9 + n,
                    "body": {"outputs": {"n": n % 1000}}, "workflow": "", "kind": "result",
                }
                for n in range(count)
            ],
        )  # fmt: skip
    log = EventLog(database, clock, settled=True)
    wanted = Filter(devices=frozenset({"d0", "d1"}), fields=parse_fields(["outputs.n=5"]))
    want = [n for n in range(count) if n % 1000 == 5 and n % 3 != 2]
    oldest = log.after(wanted, 0, 100)
    assert ([row.frame_seq for row in oldest.rows], oldest.end) == (want, True)
    newest = log.before(wanted, 2**40, 1)
    assert ([row.frame_seq for row in newest.rows], newest.end) == (want[-1:], False)
    rest = log.before(wanted, newest.reached, 100)
    assert [row.frame_seq for row in rest.rows] == want[-2::-1]
    late = Filter(since_wall=1e9 + count - 2, until_wall=1e9 + count - 1)
    assert [row.frame_seq for row in log.after(late, 0, 10).rows] == [count - 2]


def test_a_cell_that_a_spreadsheet_would_run_is_a_text() -> None:
    assert [export._cell(value) for value in ("=1+1", "@x", "-5", -5, None, {"a": 1})] == [
        "'=1+1",
        "'@x",
        "'-5",
        -5,
        None,
        '{"a":1}',
    ]
