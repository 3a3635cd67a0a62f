"""Rows as the API shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fleet import shapes
from fleet.access.users import Person, bindings_of
from fleet.benchmarks import Measured
from fleet.health.figures import unpacked
from fleet.health.tables import HealthRow
from fleet.picture_rows import PictureRow
from fleet.rollout import decision
from fleet.rollout.board import Line
from fleet.rollout.desk import Preview
from fleet.rollout.plan import CANARY
from fleet.rollout.state import Member
from fleet.rollout.store import Rollout
from fleet.rollout.tables import RolloutNote, RolloutRow
from fleet.running import Artifact
from fleet.tables import (
    Alias,
    ApiToken,
    AuditRow,
    ClipRow,
    DesiredRevision,
    Device,
    EnrolmentToken,
    EventRow,
    Secret,
    Version,
)
from fleet.usage import Use
from wire.local import CheckResult
from wire.problem import Problem


def device(row: Device) -> shapes.DeviceView:
    reported = row.reported or {}
    return {
        "id": row.id,
        "labels": row.labels,
        "presence": row.presence,
        "presence_at": row.presence_at,
        "last_seen_at": row.last_seen_at,
        "enrolled_at": row.enrolled_at,
        "revoked_at": row.revoked_at,
        "retired_at": row.retired_at,
        "sealing_key": row.sealing_key,
        "agent_version": row.agent_version,
        "revision": reported.get("revision"),
        "phase": reported.get("phase"),
        "reason": reported.get("reason"),
    }


def device_detail(row: Device) -> shapes.DeviceDetail:
    return {
        **device(row),
        "reported": row.reported,
        "reported_at": row.reported_at,
        "health": row.health,
        "health_at": row.health_at,
    }


def picture(row: PictureRow, workflow_names: Mapping[str, str]) -> shapes.PictureView:
    workflow = str(row.about.get("workflow", ""))
    return {
        "id": row.id,
        "device": row.device,
        "camera": row.camera,
        "source": row.kind,
        "workflow": workflow_names.get(workflow, workflow),
        "media_type": row.media_type,
        "taken_wall": row.taken_wall,
        "received_at": row.received_at,
        "width": row.width,
        "height": row.height,
        "size_bytes": row.size_bytes,
        "about": row.about,
    }


def secret(row: Secret) -> shapes.SecretView:
    return {"name": row.name, "set_at": row.set_at, "set_by": row.set_by}


def version(row: Version, aliases: Sequence[str] = ()) -> shapes.VersionView:
    return {
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "size_bytes": row.size_bytes,
        "card": row.card,
        "notes": row.notes or {},
        "aliases": list(aliases),
        "created_at": row.created_at,
        "created_by": row.created_by,
    }


def alias(row: Alias, target: Version) -> shapes.AliasView:
    return {
        "name": row.name,
        "alias": row.alias,
        "version": row.version,
        "digest": target.digest,
        "set_at": row.set_at,
        "set_by": row.set_by,
    }


def use(found: Use, digest: str) -> shapes.UseView:
    return {
        "device": found.device,
        "wanted": digest in found.wanted,
        "running": digest in found.running,
        "kept": digest in found.kept,
    }


def running(found: Artifact) -> shapes.RunningView:
    return {
        "kind": found.kind,
        "digest": found.digest,
        "name": found.name,
        "devices": found.devices,
        "online": found.online,
        "troubled": found.troubled,
    }


def collectable(row: Version) -> shapes.Collectable:
    return {
        "kind": row.kind,
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "size_bytes": row.size_bytes,
        "created_at": row.created_at,
    }


def desired(row: DesiredRevision) -> shapes.DesiredView:
    return {
        "device": row.device,
        "revision": row.revision,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "document": row.document,
    }


def event(row: EventRow, workflow_names: Mapping[str, str]) -> shapes.EventView:
    """`workflow_names`: digest → what the registry calls it."""
    return {
        "cursor": row.row,
        "id": row.id,
        "device": row.device,
        "camera": row.camera,
        "workflow": workflow_names.get(row.workflow, row.workflow),
        "kind": row.kind,
        "frame_seq": row.frame_seq,
        "at": row.at,
        "received_at": row.received_at,
        "data": row.body,
    }


def clip(row: ClipRow) -> shapes.ClipView:
    return {
        "id": row.id,
        "device": row.device,
        "camera": row.camera,
        "media_type": row.media_type,
        "from_wall": row.from_wall,
        "to_wall": row.to_wall,
        "frames": row.frames,
        "width": row.width,
        "height": row.height,
        "size_bytes": row.size_bytes,
        "received_at": row.received_at,
    }


def health(row: HealthRow) -> shapes.HealthPoint:
    return {
        "at": row.at,
        "received_at": row.received_at,
        "revision": row.revision,
        "figures": unpacked(row.figures),
    }


def benchmark(measured: Measured) -> shapes.BenchmarkView:
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


def api_token(row: ApiToken) -> shapes.ApiTokenView:
    return {
        "id": row.id,
        "name": row.name,
        "role": row.role,
        "selector": row.selector,
        "owner": row.owner,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }


def enrolment_token(row: EnrolmentToken) -> shapes.EnrolmentTokenView:
    return {
        "id": row.id,
        "device": row.device,
        "replace": row.replace,
        "labels": row.labels,
        "uses": row.uses,
        "used": row.used,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "expires_at": row.expires_at,
        "used_at": row.used_at,
        "used_by": row.used_by,
        "revoked_at": row.revoked_at,
    }


def user(person: Person) -> shapes.UserView:
    row = person.row
    return {
        "name": row.name,
        "full_name": row.full_name,
        "bindings": [{"role": b["role"], "selector": b["selector"]} for b in bindings_of(person.rights)],
        "disabled": row.disabled,
        "password": row.password_hash is not None,
        "provider": row.subject is not None,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "last_sign_in_at": row.last_sign_in_at,
    }


def audit(row: AuditRow) -> shapes.AuditView:
    return {
        "seq": row.seq,
        "at": row.at,
        "actor": row.actor,
        "action": row.action,
        "subject": row.subject,
        "detail": row.detail,
        "request_id": row.request_id,
        "before": row.before,
        "after": row.after,
        "hash": row.hash,
    }


def rollout_row(row: RolloutRow, devices: dict[str, int]) -> shapes.RolloutView:
    return {
        "name": row.name,
        "phase": row.phase,
        "wave": row.wave + 1,
        "waves": len(row.plan["waves"]) if "waves" in row.plan else len(CANARY),
        "since": row.since,
        "judged": row.judged,
        "created_by": row.created_by,
        "devices": devices,
    }


def rollout(found: Rollout) -> shapes.RolloutDetail:
    state = found.state
    return {
        "name": found.plan.name,
        "phase": state.phase.value,
        "wave": state.wave + 1,
        "waves": len(found.plan.waves),
        "since": state.since,
        "judged": state.judged,
        "created_by": found.created_by,
        "devices": dict(Counter(member.status.value for member in state.members.values())),
        "plan": found.plan.to_json(),
        "settled_at": state.settled_at,
        "reach": decision.reach(found.plan, state),
    }


def rollout_member(member: Member) -> shapes.RolloutMemberView:
    return {
        "device": member.device,
        "status": member.status.value,
        "since": member.since,
        "attempts": member.attempts,
        "revision": max(member.revision, 0),
        "reason": member.reason,
        "message": member.message,
    }


def rollout_note(row: RolloutNote) -> shapes.RolloutNoteView:
    return {"at": row.at, "actor": row.actor, "words": row.words}


def rollout_gate(line: Line) -> shapes.RolloutGateView:
    return {"gate": line.gate, "figure": line.figure, "limit": line.limit, "opinion": line.opinion}


def rollout_preview(found: Preview) -> shapes.RolloutPreview:
    return {
        "devices": found.devices,
        "waves": found.waves,
        "first": found.first[:20],
        "problems": [problem_place(problem) for problem in found.problems],
    }


def problem_place(found: Problem) -> shapes.ProblemPlace:
    return {
        "path": found.path,
        "reason": found.reason.value,
        "message": found.message,
        "expected": found.expected,
        "remedy": found.remedy,
    }


def verdict(found: CheckResult) -> shapes.WorkflowVerdict:
    problems = [Problem.from_json(problem) for problem in found.problems]
    return {
        "ok": found.ok,
        "reason": found.reason,
        "message": found.message,
        "problems": [problem_place(problem) for problem in problems],
        "card": found.card,
    }
