"""Rows of health and faults as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping

from fleet import shapes
from fleet.health.desk import Overview, Told
from fleet.health.faults import BY_CODE, Kind
from fleet.health.series import Chart
from fleet.health.tables import FaultRow


def chart(device: str, found: Chart) -> shapes.ChartView:
    return {
        "device": device,
        "step_s": found.step_s,
        "times": found.times,
        "series": [
            {
                "scope": each.scope,
                "name": each.name,
                "figure": each.figure,
                "unit": each.unit,
                "counter": each.counter,
                "values": each.values,
                "low": each.low,
                "high": each.high,
            }
            for each in found.series
        ],
    }


def kind(found: Kind) -> shapes.FaultKindView:
    return {
        "code": found.code,
        "scope": found.scope.value,
        "severity": found.severity.value,
        "depends_on": list(found.depends_on),
        "visible_s": found.visible_s,
        "clear_s": found.clear_s,
        "text": found.text,
        "remedy": found.remedy,
    }


def fault(told: Told) -> shapes.FaultView:
    return _fault(told.row, told.consequences)


def fault_detail(told: Told, beneath: list[FaultRow]) -> shapes.FaultDetail:
    return {**fault(told), "beneath": [_fault(row, 0) for row in beneath]}


def _fault(row: FaultRow, consequences: int) -> shapes.FaultView:
    declared = BY_CODE.get(row.code)
    return {
        "id": row.id,
        "code": row.code,
        "severity": row.severity,
        "subject": row.subject,
        "site": row.site,
        "device": row.device,
        "part": row.part,
        "text": declared.text if declared else "",
        "remedy": declared.remedy if declared else "",
        "message": row.message,
        "opened_at": row.opened_at,
        "visible_at": row.visible_at,
        "clearing_at": row.clearing_at,
        "cleared_at": row.cleared_at,
        "parent": row.parent,
        "root": row.root,
        "returns": row.returns,
        "consequences": consequences,
    }


def overview(found: Overview, alerts: dict[str, int]) -> shapes.OverviewView:
    return {
        "at": found.at,
        "devices": sum(found.presence.values()),
        "presence": dict(found.presence),
        "versions": dict(found.versions),
        "faults": _by_severity(found.faults),
        "alerts": alerts,
        "sites": [
            {
                "site": site.name,
                "devices": site.devices,
                "online": site.online,
                "faults": _by_severity(site.faults),
            }
            for _, site in sorted(found.sites.items())
        ],
    }


def _by_severity(counts: Mapping[str, int]) -> dict[str, int]:
    return {severity: counts.get(severity, 0) for severity in ("critical", "warning", "info")}
