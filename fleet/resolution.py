"""What is asked of a device, made the document it is given: names of the registry become digests, and everything is checked together."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from fleet.errors import Refused
from fleet.registry import find
from fleet.tables import Device, Version
from wire import desired
from wire.doc import read
from wire.errors import Refused as WireRefused
from wire.problem import Problem, nearest, shown
from wire.reasons import Reason

SECTIONS = ("cameras", "models", "workflows", "pipelines", "schedules")
FIELDS = (*SECTIONS, "settings", "agent")
PLACEHOLDER = "sha256:" + "0" * 64
"""Stands for an artifact that was not found, so that the rest of the document can be checked all the same."""


def resolve(session: Session, wanted: object, header: Mapping[str, Any]) -> desired.Desired:
    """The document of a request: names of the registry become digests, and everything is checked.

    `models` and `workflows` map a name to a reference (`name`, `name@version`, digest) or to an object with such a reference
    in `model` or `workflow`, or a `digest`, beside the other fields; `agent` names one in `release`. `header` is device, revision and times.

    :raises Refused: with every problem
    """
    body, found = _shape(wanted)
    versions: dict[str, dict[str, Version]] = {"model": {}, "workflow": {}}
    for kind in versions:
        found += _resolve_section(session, kind, body, versions[kind])
    found += _resolve_agent(session, body, str(header["device"]))
    document, more = _read_all({**body, **header})
    found += more
    found += desired.problems(document)
    found += _unmapped(document, versions["workflow"])
    found += _cloud_only(document, versions["workflow"])
    if found:
        listed = "; ".join(map(str, found[:5])) + (" …" if len(found) > 5 else "")
        raise Refused(found[0].reason, f"the desired state has {len(found)} problem(s): {listed}", found)
    return document


def _shape(wanted: object) -> tuple[dict[str, Any], list[Problem]]:
    """The request as a dictionary of dictionaries, without what cannot be used."""
    if not isinstance(wanted, dict):
        problem = Problem(
            "", Reason.INVALID_FIELD, f"{shown(wanted)} is no JSON object", f"an object with {FIELDS}"
        )
        return {}, [problem]
    body, found = {}, []
    for field, value in wanted.items():
        if field not in FIELDS:
            remedy = nearest(str(field), FIELDS) or f"use one of {', '.join(FIELDS)}"
            found.append(
                Problem(str(field), Reason.INVALID_FIELD, "is no field of a desired state", remedy=remedy)
            )
        elif field == "agent" and isinstance(value, str):
            body[field] = {"release": value}
        elif not isinstance(value, dict):
            found.append(Problem(field, Reason.INVALID_FIELD, f"{shown(value)} cannot be used", "an object"))
        else:
            body[field] = copy.deepcopy(value)
    return body, found


def _resolve_section(
    session: Session, kind: str, body: dict[str, Any], versions: dict[str, Version]
) -> list[Problem]:
    found: list[Problem] = []
    section = body.get(f"{kind}s", {})
    for name, value in section.items():
        at = f"{kind}s.{name}"
        entry = value if isinstance(value, dict) else {kind: value}
        field = kind if kind in entry or "digest" not in entry else "digest"
        reference = entry.pop(field, None)
        section[name] = {**entry, "digest": PLACEHOLDER}
        if not isinstance(reference, str):
            expected = f"a name, name@version or digest of a {kind}"
            found.append(Problem(at, Reason.INVALID_FIELD, f"{shown(reference)} names no {kind}", expected))
            continue
        version = find(session, kind, reference)
        if isinstance(version, Problem):
            found.append(replace(version, path=at))
            continue
        section[name] |= {"digest": version.digest, "version": f"{version.name}@{version.version}"}
        versions[name] = version
    return found


def _resolve_agent(session: Session, body: dict[str, Any], device: str) -> list[Problem]:
    """The agent's own release: `release` (a name, name@version or digest), `digest`, or `installed: true`."""
    entry = body.get("agent")
    if entry is None or entry.get("installed"):
        return []
    reference = entry.pop("release", None) or entry.get("digest")
    entry["digest"] = PLACEHOLDER
    if not isinstance(reference, str):
        expected = "release: a name, name@version or digest; or installed: true"
        return [Problem("agent", Reason.INVALID_FIELD, f"{shown(reference)} names no release", expected)]
    version = find(session, "release", reference)
    if isinstance(version, Problem):
        return [replace(version, path="agent")]
    entry |= {"digest": version.digest, "version": f"{version.name}@{version.version}"}
    return _unfit(session, device, version)


def _unfit(session: Session, device: str, version: Version) -> list[Problem]:
    """What the device has said of itself, held against what the release is made for; a device that has said nothing finds out itself."""
    card = version.card.get("release", {})
    row = session.get(Device, device)
    inventory = ((row.reported if row else None) or {}).get("inventory") or {}
    python = ".".join(str(inventory.get("python") or "").split(".")[:2])
    machine = inventory.get("architecture")
    platform = f"linux-{machine}" if machine else ""
    return [
        Problem(
            "agent",
            Reason.RELEASE_UNFIT,
            f"{version.name}@{version.version} is for {asked}",
            f"{has}, as {device} has",
        )
        for asked, has in ((card.get("python"), python), (card.get("platform"), platform))
        if has and asked != has
    ]


def _read_all(body: dict[str, Any]) -> tuple[desired.Desired, list[Problem]]:
    """Read the document; entries that cannot be read give their problems and make room for the check of the others."""
    try:
        return read(desired.Desired, body), []
    except WireRefused as e:
        found = list(e.problems)
    stand_ins: dict[str, Any] = {
        "cameras": {"source": "-"},
        "models": {"digest": PLACEHOLDER},
        "workflows": {"digest": PLACEHOLDER},
    }
    for problem in found:
        section, _, rest = problem.path.partition(".")
        entries = body.get(section, {})
        for name in [name for name in entries if rest == name or rest.startswith(f"{name}.")]:
            if section in stand_ins:
                entries[name] = stand_ins[section]
            else:
                del entries[name]
    try:
        return read(desired.Desired, body), found
    except WireRefused:
        bare = {key: value for key, value in body.items() if key not in FIELDS}
        return read(desired.Desired, bare), found


def _unmapped(document: desired.Desired, workflows: Mapping[str, Version]) -> list[Problem]:
    """Model ids a workflow uses and its pipeline does not map to a model."""
    return [
        Problem(
            f"pipelines.{name}.models",
            Reason.UNKNOWN_REFERENCE,
            f"workflow {pipeline.workflow!r} uses model id {model_id!r}, which is mapped to no model",
            expected=f"{model_id!r}: one of {sorted(document.models)}",
            remedy=nearest(model_id, pipeline.models) or "add it to models of the pipeline",
        )
        for name, pipeline in document.pipelines.items()
        for model_id in _model_ids(workflows.get(pipeline.workflow))
        if model_id not in pipeline.models
    ]


def _cloud_only(document: desired.Desired, workflows: Mapping[str, Version]) -> list[Problem]:
    """Steps that do not run on a device, of workflows that are not to pass over them."""
    return [
        Problem(
            f"workflows.{name}.skip_cloud_blocks",
            Reason.BLOCK_CLOUD_ONLY,
            f"step {step.get('step')!r} uses {step.get('block')!r}, which does not run on a device",
            remedy=f"{step.get('instead')}; or set it to true, then the step gives None",
        )
        for name, workflow in document.workflows.items()
        if not workflow.skip_cloud_blocks and name in workflows
        for step in workflows[name].card.get("passed_over", [])
    ]


def _model_ids(workflow: Version | None) -> list[str]:
    """The model ids a checked workflow uses, as its card says."""
    used = workflow.card.get("model_ids", []) if workflow else []
    return [model_id for model_id in used if isinstance(model_id, str)]
