"""The desired state of a device: asked for by names, resolved to digests, checked as a whole, signed, published.

The newest revision is the only one that is ever published. Publishing takes a lock per device and reads the newest row under
it, so an older one never replaces a newer on the broker.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet import audit, secrets
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Overtaken, Refused, Transient
from fleet.registry import find
from fleet.signing import Signer
from fleet.tables import DesiredRevision, Device, Version
from wire import desired
from wire.doc import read
from wire.envelope import MAX_BYTES, Envelope
from wire.errors import Refused as WireRefused
from wire.errors import TooLarge
from wire.names import DeviceId, FleetId
from wire.problem import Problem, nearest, shown
from wire.reasons import Reason
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

SECTIONS = ("cameras", "models", "workflows", "pipelines", "schedules")
FIELDS = (*SECTIONS, "settings")
PLACEHOLDER = "sha256:" + "0" * 64
"""Stands for an artifact that was not found, so that the rest of the document can be checked all the same."""
LOCK_STRIPES = 64
MOST_BELIEVED = 2**40
"""A device that claims to have seen a higher revision is not believed."""
SIGN = "outrider fleet sign export, sign with the offline key, outrider fleet sign import"
DAY_S = 86400.0

Unsigned = Callable[[Iterable[tuple[str, str]]], set[str]]
"""Of these (kind, digest), the digests that no trust metadata vouches for."""
Also = Callable[[Session, DesiredRevision], None]
Publish = Callable[[str, bytes], Awaitable[None]]
"""Publishes retained, acknowledged; raises Transient where the broker is away."""


class DesiredStates:
    """Sets, keeps and publishes desired states."""

    def __init__(
        self,
        fleet: FleetId,
        database: Database,
        signer: Signer,
        clock: Clock,
        ids: Ids,
        lifetime_days: float,
        publish: Publish,
        unsigned: Unsigned = lambda _artifacts: set(),
    ) -> None:
        self._fleet = fleet
        self._database = database
        self._signer = signer
        self._clock = clock
        self._ids = ids
        self._lifetime_s = lifetime_days * DAY_S
        self._publish = publish
        self.guard: Callable[[Session], None] = lambda _session: None
        """Raises within a transaction that only the leading replica may make, and this one is not."""
        self._unsigned = unsigned
        self._boot = ids.unique()
        self._seq = 0
        self._locks = [asyncio.Lock() for _ in range(LOCK_STRIPES)]

    def newest(self, device: str) -> DesiredRevision | None:
        """:raises NotFound: no such device"""
        with self._database.read() as session:
            if session.get(Device, device) is None:
                raise NotFound("device", device, nearest(device, session.scalars(select(Device.id))))
            return _newest(session, device)

    def revisions(self, device: str, below: int, limit: int) -> list[DesiredRevision]:
        """Revisions under a number, newest first."""
        query = select(DesiredRevision).where(
            DesiredRevision.device == device, DesiredRevision.revision < below
        )
        with self._database.read() as session:
            return list(session.scalars(query.order_by(DesiredRevision.revision.desc()).limit(limit)))

    async def set(
        self,
        device: str,
        wanted: object,
        actor: str,
        above: int | None = None,
        also: Also = lambda _session, _row: None,
    ) -> tuple[DesiredRevision, bool]:
        """Make a new revision; whether the broker has taken it yet. `above` is the revision the caller has seen; `also` is done in
        the same transaction.

        :raises Refused: with every problem of the document
        :raises Overtaken: another revision came in between
        :raises NotFound: no such device
        """
        row = await asyncio.to_thread(self._store, device, wanted, actor, above, also)
        try:
            await self.publish(device)
        except Transient as e:
            log.warning("desired state waits for the broker", extra={"device": device, "cause": str(e)})
            return row, False
        return row, True

    def _store(
        self, device: str, wanted: object, actor: str, above: int | None, also: Also
    ) -> DesiredRevision:
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(Device, device)
            if row is None:
                raise NotFound("device", device, nearest(device, session.scalars(select(Device.id))))
            newest = session.scalar(
                select(func.max(DesiredRevision.revision)).where(DesiredRevision.device == device)
            )
            if above is not None and above != (newest or 0):
                raise Overtaken(
                    Reason.REVISION_OLD, f"the newest revision is {newest or 0}, not {above}; read it again"
                )
            above_all = max(newest or 0, _seen(row)) + 1
            header = {"device": device, "revision": above_all, "issued_at": at}
            document = resolve(session, wanted, {**header, "expires_at": at + self._lifetime_s})
            self._check_vouched(document)
            made = self._signed_row(_with_secrets(session, document), actor)
            session.add(made)
            audit.record(session, at, actor, "desired.set", device, revision=document.revision)
            also(session, made)
        return made

    def _check_vouched(self, document: desired.Desired) -> None:
        """:raises Refused: an artifact that no device would accept yet"""
        artifacts = {f"models.{name}": ("model", model.digest) for name, model in document.models.items()}
        artifacts |= {f"workflows.{name}": ("workflow", w.digest) for name, w in document.workflows.items()}
        waiting = self._unsigned(artifacts.values())
        found = [
            Problem(path, Reason.SIGNATURE_PENDING, f"{kind} {digest[:19]} is not signed yet", remedy=SIGN)
            for path, (kind, digest) in artifacts.items()
            if digest in waiting
        ]
        if found:
            raise Refused(found[0].reason, "; ".join(map(str, found)), found)

    async def take_secrets(self, device: str, actor: str) -> bool:
        """Make a new revision of the newest with the secrets as they are now; whether there is one to make it of."""
        if not await asyncio.to_thread(self._store_secrets, device, actor):
            return False
        try:
            await self.publish(device)
        except Transient as e:
            log.warning("desired state waits for the broker", extra={"device": device, "cause": str(e)})
        return True

    def _store_secrets(self, device: str, actor: str) -> bool:
        at = self._clock.wall()
        with self._database.write() as session:
            newest = _newest(session, device)
            if newest is None:
                return False
            above_all = max(newest.revision, _seen(session.get(Device, device))) + 1
            times = {"revision": above_all, "issued_at": at, "expires_at": at + self._lifetime_s}
            document = read(desired.Desired, newest.document).model_copy(update=times)
            session.add(self._signed_row(_with_secrets(session, document), actor))
            audit.record(session, at, actor, "desired.set", device, revision=document.revision)
        return True

    def _signed_row(self, document: desired.Desired, actor: str) -> DesiredRevision:
        signed = self._signer.desired(document)
        row = DesiredRevision(
            device=document.device,
            revision=document.revision,
            document=document.to_json(),
            signed=signed,
            digests=sorted(document.digests),
            created_at=document.issued_at,
            created_by=actor,
            expires_at=document.expires_at,
        )
        try:
            self._envelope(row)
        except TooLarge as e:
            message = f"the document is too large for one message of {MAX_BYTES} bytes: {e}"
            raise Refused(Reason.TOO_LARGE, message) from e
        return row

    async def publish(self, device: str) -> None:
        """Publish the newest revision, retained.

        :raises Transient: the broker does not take it
        """
        async with self._locks[hash(device) % LOCK_STRIPES]:
            row, published = await asyncio.to_thread(self.newest, device), 0
            while row is not None and row.revision > published:
                topic = DeviceTopics(self._fleet, DeviceId(device)).desired
                await self._publish(topic, self._envelope(row))
                # Once more where another replica has made and published a newer one meanwhile.
                published, row = row.revision, await asyncio.to_thread(self.newest, device)

    async def publish_all(self) -> None:
        """Publish every device's newest revision again: a broker that died may have lost what it retained."""
        with self._database.read() as session:
            served = select(Device.id).where(Device.retired_at.is_(None))
            query = select(DesiredRevision.device).where(DesiredRevision.device.in_(served)).distinct()
            devices = list(session.scalars(query))
        slots = asyncio.Semaphore(32)

        async def one(device: str) -> None:
            async with slots:
                await self.publish(device)

        for start in range(0, len(devices), 500):
            await asyncio.gather(*(one(device) for device in devices[start : start + 500]))

    async def renew(self, everything: bool = False) -> int:
        """Sign anew, under the same revision, what has lived half of its time, or `everything`; how many there were.

        A device that runs the revision passes it over; one that comes back after long finds it still valid.
        """
        renewed = await asyncio.to_thread(self._renew, everything)
        for device in renewed:
            await self.publish(device)
        return len(renewed)

    def _renew(self, everything: bool) -> list[str]:
        at = self._clock.wall()
        renewed = []
        with self._database.write() as session:
            self.guard(session)
            soon = DesiredRevision.expires_at < at + self._lifetime_s / 2
            query = select(DesiredRevision) if everything else select(DesiredRevision).where(soon)
            for row in session.scalars(query):
                if _newest(session, row.device) is not row:
                    continue
                document = read(desired.Desired, row.document).model_copy(
                    update={"issued_at": at, "expires_at": at + self._lifetime_s}
                )
                row.document, row.signed = document.to_json(), self._signer.desired(document)
                row.expires_at = document.expires_at
                renewed.append(row.device)
        return renewed

    def _envelope(self, row: DesiredRevision) -> bytes:
        self._seq += 1
        return Envelope(
            id=self._ids.unique(), at=self._clock.wall(), boot=self._boot, seq=self._seq, data=row.signed
        ).encode()


def _seen(device: Device | None) -> int:
    """The highest revision that the device says it has seen: after a restore it may have seen more than the database knows."""
    reported = (device.reported if device is not None else None) or {}
    numbers = (reported.get("revision"), reported.get("offered"))
    return max((n for n in numbers if isinstance(n, int) and 0 <= n <= MOST_BELIEVED), default=0)


def _with_secrets(session: Session, document: desired.Desired) -> desired.Desired:
    """With every secret of the device, sealed: a workflow may name one too, and none can be read on the way."""
    return document.model_copy(update={"secrets": secrets.of_device(session, document.device)})


def _newest(session: Session, device: str) -> DesiredRevision | None:
    query = select(DesiredRevision).where(DesiredRevision.device == device)
    return session.scalar(query.order_by(DesiredRevision.revision.desc()).limit(1))


def resolve(session: Session, wanted: object, header: Mapping[str, Any]) -> desired.Desired:
    """The document of a request: names of the registry become digests, and everything is checked.

    `models` and `workflows` map a name to a reference (`name`, `name@version`, digest) or to an object with such a reference
    in `model` or `workflow`, or a `digest`, beside the other fields. `header` is device, revision and times.

    :raises Refused: with every problem
    """
    body, found = _shape(wanted)
    versions: dict[str, dict[str, Version]] = {"model": {}, "workflow": {}}
    for kind in versions:
        found += _resolve_section(session, kind, body, versions[kind])
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
