"""The desired state of a device: resolved and checked as a whole (`fleet.resolution`), signed, kept, published.

The newest revision is the only one that is ever published. Publishing takes a lock per device and reads the newest row under
it, so an older one never replaces a newer on the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from fleet import audit, secrets
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Overtaken, Refused, Transient
from fleet.resolution import resolve
from fleet.signing import Signer
from fleet.tables import DesiredRevision, Device
from wire import desired
from wire.doc import read
from wire.envelope import MAX_BYTES, Envelope
from wire.errors import TooLarge
from wire.names import DeviceId, FleetId
from wire.problem import Problem, nearest
from wire.reasons import Reason
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

LOCK_STRIPES = 64
MOST_BELIEVED = 2**40
"""A device that claims to have seen a higher revision is not believed."""
SIGN = "outrider fleet sign export, sign with the offline key, outrider fleet sign import"
DAY_S = 86400.0

Unsigned = Callable[[Iterable[tuple[str, str]]], set[str]]
"""Of these (kind, digest), the digests that no trust metadata vouches for."""
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
            return newest_of(session, device)

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
    ) -> tuple[DesiredRevision, bool]:
        """Make a new revision; whether the broker has taken it yet. `above` is the revision the caller has seen.

        :raises Refused: with every problem of the document
        :raises Overtaken: another revision came in between
        :raises NotFound: no such device
        """
        row = await asyncio.to_thread(self._store, device, wanted, actor, above)
        try:
            await self.publish(device)
        except Transient as e:
            log.warning("desired state waits for the broker", extra={"device": device, "cause": str(e)})
            return row, False
        return row, True

    def _store(self, device: str, wanted: object, actor: str, above: int | None) -> DesiredRevision:
        with self._database.write() as session:
            newest = session.scalar(
                select(func.max(DesiredRevision.revision)).where(DesiredRevision.device == device)
            )
            if above is not None and above != (newest or 0):
                raise Overtaken(
                    Reason.REVISION_OLD, f"the newest revision is {newest or 0}, not {above}; read it again"
                )
            return self.add(session, device, wanted, actor, newest or 0)

    def add(self, session: Session, device: str, wanted: object, actor: str, newest: int) -> DesiredRevision:
        """A new revision within a writing transaction in which `newest` is the newest one; it is published afterwards.

        :raises Refused: with every problem of the document; nothing has been added
        :raises NotFound: no such device
        """
        at = self._clock.wall()
        row = session.execute(select(Device.reported).where(Device.id == device)).one_or_none()
        if row is None:
            raise NotFound("device", device, nearest(device, session.scalars(select(Device.id))))
        above_all = max(newest, _seen(row.reported)) + 1
        header = {"device": device, "revision": above_all, "issued_at": at}
        document = resolve(session, wanted, {**header, "expires_at": at + self._lifetime_s})
        self._check_vouched(document)
        made = self._signed_row(_with_secrets(session, document), actor)
        session.add(made)
        audit.record(session, at, actor, "desired.set", device, revision=document.revision)
        return made

    def _check_vouched(self, document: desired.Desired) -> None:
        """:raises Refused: an artifact that no device would accept yet"""
        artifacts = {f"models.{name}": ("model", model.digest) for name, model in document.models.items()}
        artifacts |= {f"workflows.{name}": ("workflow", w.digest) for name, w in document.workflows.items()}
        if document.agent is not None and document.agent.digest is not None:
            artifacts["agent"] = ("release", document.agent.digest)
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
            newest = newest_of(session, device)
            if newest is None:
                return False
            reported = session.scalar(select(Device.reported).where(Device.id == device))
            above_all = max(newest.revision, _seen(reported)) + 1
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
            row, published = await asyncio.to_thread(self._newest, device), 0
            while row is not None and row.revision > published:
                topic = DeviceTopics(self._fleet, DeviceId(device)).desired
                await self._publish(topic, self._envelope(row))
                # Once more where another replica has made and published a newer one meanwhile.
                published, row = row.revision, await asyncio.to_thread(self._newest, device)

    def _newest(self, device: str) -> DesiredRevision | None:
        with self._database.read() as session:
            return newest_of(session, device)

    async def publish_all(self) -> None:
        """Publish every device's newest revision again: a broker that died may have lost what it retained."""
        with self._database.read() as session:
            served = select(Device.id).where(Device.retired_at.is_(None))
            query = select(DesiredRevision.device).where(DesiredRevision.device.in_(served)).distinct()
            devices = list(session.scalars(query))
        await self.publish_some(devices)

    async def publish_some(self, devices: Sequence[str]) -> None:
        """Publish the newest revisions of these devices, several at a time.

        :raises Transient: the broker does not take one of them
        """
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
                if newest_of(session, row.device) is not row:
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


def _seen(reported: Mapping[str, Any] | None) -> int:
    """The highest revision that a device says it has seen: after a restore it may have seen more than the database knows."""
    reported = reported or {}
    numbers = (reported.get("revision"), reported.get("offered"))
    return max((n for n in numbers if isinstance(n, int) and 0 <= n <= MOST_BELIEVED), default=0)


def _with_secrets(session: Session, document: desired.Desired) -> desired.Desired:
    """With every secret of the device, sealed: a workflow may name one too, and none can be read on the way."""
    return document.model_copy(update={"secrets": secrets.of_device(session, document.device)})


def newest_of(session: Session, device: str) -> DesiredRevision | None:
    """Of a device."""
    query = select(DesiredRevision).where(DesiredRevision.device == device)
    return session.scalar(query.order_by(DesiredRevision.revision.desc()).limit(1))
