"""Rows of health and faults as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fleet import shapes
from fleet.health.desk import Overview, Told
from fleet.health.drifts import VersionRow
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


def drift(device: str, camera: str, figures: Mapping[str, Any]) -> shapes.DriftView:
    return {
        "device": device,
        "camera": camera,
        "score_psi": figures["score_psi"],
        "class_psi": figures["class_psi"],
        "recent": figures["recent"],
        "reference": figures["reference"],
    }


def version(row: VersionRow) -> shapes.ModelVersionView:
    found, sight = row.figures, row.figures.sight
    asked, total, most = found.p95
    return {
        "model": row.name,
        "version": row.version,
        "digest": row.digest,
        "devices": found.devices,
        "cameras": found.cameras,
        "requests": found.requests,
        "error_share": found.errors / found.requests if found.requests else None,
        "restarts": found.restarts,
        "infer_p95_ms": total / asked if asked else None,
        "infer_p95_most_ms": most if asked else None,
        "seen": {
            "asked": sight.asked,
            "detections": sight.detections,
            "empty_share": sight.empty_share,
            "confidence": sight.confidence,
            "brightness": sight.brightness,
            "scores": sight.scores,
            "classes": dict(sight.classes.most_common(20)),
        },
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
