"""Rows as the API shows them."""

from __future__ import annotations

from typing import Any

from fleet.benchmarks import Measured
from fleet.tables import ApiToken, DesiredRevision, Device, EnrolmentToken, EventRow, HealthRow, Version


def device(row: Device, full: bool = False) -> dict[str, Any]:
    """A device; `full` with its whole reported state and health."""
    reported = row.reported or {}
    view: dict[str, Any] = {
        "id": row.id,
        "labels": row.labels,
        "presence": row.presence,
        "presence_at": row.presence_at,
        "last_seen_at": row.last_seen_at,
        "enrolled_at": row.enrolled_at,
        "revoked_at": row.revoked_at,
        "sealing_key": row.sealing_key,
        "agent_version": row.agent_version,
        "revision": reported.get("revision"),
        "phase": reported.get("phase"),
        "reason": reported.get("reason"),
    }
    if full:
        view |= {
            "reported": row.reported,
            "reported_at": row.reported_at,
            "health": row.health,
            "health_at": row.health_at,
        }
    return view


def version(row: Version) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "size_bytes": row.size_bytes,
        "card": row.card,
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


def desired(row: DesiredRevision) -> dict[str, Any]:
    return {
        "device": row.device,
        "revision": row.revision,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "document": row.document,
    }


def event(row: EventRow) -> dict[str, Any]:
    return {
        "cursor": row.row,
        "id": row.id,
        "device": row.device,
        "camera": row.camera,
        "frame_seq": row.frame_seq,
        "at": row.at,
        "received_at": row.received_at,
        "data": row.body,
    }


def health(row: HealthRow) -> dict[str, Any]:
    return {"at": row.at, "received_at": row.received_at, "revision": row.revision, "figures": row.figures}


def benchmark(measured: Measured) -> dict[str, Any]:
    row = measured.row
    return {
        "device": row.device,
        "at": row.at,
        "hardware": row.hardware,
        "model": row.model,
        "digest": row.digest,
        "names": list(measured.names),
        "engine": row.engine,
        "figures": row.figures,
    }


def api_token(row: ApiToken) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }


def enrolment_token(row: EnrolmentToken) -> dict[str, Any]:
    return {
        "id": row.id,
        "device": row.device,
        "replace": row.replace,
        "labels": row.labels,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "used_at": row.used_at,
        "used_by": row.used_by,
    }
