"""Faults and alerts as they are counted for Prometheus."""

from __future__ import annotations

from fleet.alerts.tables import AlertRow
from fleet.db import Database
from fleet.health.tables import FaultRow
from fleet.metrics import census


def fault(name: str, site: str, root: str, cleared_at: float | None = None) -> FaultRow:
    return FaultRow(
        id=name, code="camera-lost", severity="critical", subject=name, site=site, device="d", part="", message="", opened_at=1.0,
        visible_at=1.0, cleared_at=cleared_at, root=root, returns=0,
    )  # fmt: skip


def alert(name: str, acknowledged_at: float | None, resolved_at: float | None = None) -> AlertRow:
    return AlertRow(
        id=name, key=name, rule="r", severity="critical", code="", subject="", site="", device="", part="", summary="", fault="",
        since=1.0, fired_at=1.0, acknowledged_at=acknowledged_at, resolved_at=resolved_at, notices=0, silence="",
    )  # fmt: skip


def test_causes_and_consequences_are_told_apart_and_what_is_over_is_not_counted(database: Database) -> None:
    with database.write() as session:
        session.add_all(
            [
                fault("a", "lyon", "a"),
                fault("b", "lyon", "a"),
                fault("c", "lyon", "a"),
                fault("d", "oslo", "d"),
            ]
        )
        session.add_all([fault("e", "oslo", "e", cleared_at=2.0)])
        session.add_all([alert("x", None), alert("y", 2.0), alert("z", None, resolved_at=3.0)])
    taken = census.take(database, "site", 10.0)
    assert taken.open_faults == {
        ("lyon", "camera-lost", "critical", "cause"): 1,
        ("lyon", "camera-lost", "critical", "consequence"): 2,
        ("oslo", "camera-lost", "critical", "cause"): 1,
    }
    assert taken.alerts == {("critical", "false"): 1, ("critical", "true"): 1}
