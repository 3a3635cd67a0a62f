"""Care for devices in service, and their end: silence told, bundles of diagnostics taken in, devices retired."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import Select, delete, select, update

from fleet import audit
from fleet.certificates import Certificates
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.objects import Objects
from fleet.tables import DesiredRevision, Device, DiagnosticsRow, Secret
from wire.names import DeviceId, FleetId
from wire.reasons import Reason
from wire.topics import DeviceTopics

DAY_S = 86400.0
PRESENT = ("online", "polling")
SILENT = "silent"
AT_ONCE = 500
SILENT_PERIODS = 4
"""Health messages that do not come before a device is called silent."""
HEALTH_S = 30.0
TAKE_S = 900.0
"""How long after it was asked for a bundle is taken."""

Publish = Callable[[str, bytes], Awaitable[None]]


class Upkeep:
    """Retires devices, keeps bundles, marks the silent."""

    def __init__(
        self,
        fleet: FleetId,
        database: Database,
        objects: Objects,
        certificates: Certificates,
        clock: Clock,
        ids: Ids,
        publish: Publish,
    ) -> None:
        """`publish` publishes retained."""
        self._fleet = fleet
        self._database = database
        self._objects = objects
        self._certificates = certificates
        self._clock = clock
        self._ids = ids
        self._publish = publish

    def retire(self, device: str, actor: str) -> None:
        """Take a device out of service: its identity ends, its secrets go, its history stays, its name is free.

        :raises NotFound: no such device
        """
        self._certificates.revoke(device, actor)
        at = self._clock.wall()
        with self._database.write() as session:
            session.execute(
                update(Device)
                .where(Device.id == device)
                .values(retired_at=at, presence="retired", presence_at=at)
            )
            session.execute(delete(Secret).where(Secret.device == device))
            audit.record(session, at, actor, "device.retire", device)

    async def clear_retained(self, device: str) -> None:
        """Let the broker forget what it retains of a device.

        :raises Transient: the broker is away
        """
        topics = DeviceTopics(self._fleet, DeviceId(device))
        for topic in (topics.desired, topics.conn, topics.reported):
            await self._publish(topic, b"")

    def mark_silent(self) -> int:
        """Call those silent that say they are there and have not been heard of; how many there were."""
        at = self._clock.wall()
        late = Device.last_seen_at < at - SILENT_PERIODS * HEALTH_S
        quiet = select(Device.id, Device.last_seen_at).where(Device.presence.in_(PRESENT), late)
        with self._database.read() as session:
            found = [
                row.id
                for row in session.execute(quiet)
                if row.last_seen_at < at - SILENT_PERIODS * _period_s(session.scalar(_newest(row.id)))
            ]
        marked = 0
        for start in range(0, len(found), AT_ONCE):
            some = Device.id.in_(found[start : start + AT_ONCE])
            with self._database.write() as session:  # those not heard of meanwhile
                silent = update(Device).where(some, Device.presence.in_(PRESENT), late)
                result: Any = session.execute(silent.values(presence=SILENT, presence_at=at))
                marked += int(result.rowcount)
        return marked

    def ask_for_bundle(self, device: str, actor: str) -> str:
        """The id under which the device may send one."""
        bundle = "".join(c for c in self._ids.unique() if c.isalnum())
        with self._database.write() as session:
            session.add(
                DiagnosticsRow(
                    id=bundle, device=device, asked_at=self._clock.wall(), asked_by=actor, size_bytes=0
                )
            )
        return bundle

    async def take_bundle(self, device: str, bundle: str, content: bytes) -> None:
        """:raises NotFound: none was asked for of this device, or too long ago
        :raises Refused: it has come already
        """
        with self._database.read() as session:
            row = session.get(DiagnosticsRow, bundle)
        at = self._clock.wall()
        if row is None or row.device != device or row.asked_at < at - TAKE_S:
            raise NotFound("bundle of diagnostics", bundle)
        if row.received_at is not None:
            raise Refused(Reason.INVALID_FIELD, f"the bundle {bundle} has been received already")
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        await self._objects.put(digest, content)
        with self._database.write() as session:
            values = {"received_at": at, "digest": digest, "size_bytes": len(content)}
            session.execute(update(DiagnosticsRow).where(DiagnosticsRow.id == bundle).values(**values))

    def bundle(self, device: str, bundle: str) -> DiagnosticsRow:
        """:raises NotFound: there is none, or it has not come"""
        with self._database.read() as session:
            row = session.get(DiagnosticsRow, bundle)
        if row is None or row.device != device or row.digest is None:
            raise NotFound("bundle of diagnostics", bundle)
        return row

    async def forget_old(self, days: float) -> int:
        """Remove bundles past their time; how many."""
        with self._database.read() as session:
            old = DiagnosticsRow.asked_at < self._clock.wall() - days * DAY_S
            rows = list(session.scalars(select(DiagnosticsRow).where(old)))
        for row in rows:
            if row.digest is not None:
                await self._objects.remove(row.digest)
            with self._database.write() as session:
                session.execute(delete(DiagnosticsRow).where(DiagnosticsRow.id == row.id))
        return len(rows)


def _newest(device: str) -> Select[tuple[dict[str, Any]]]:
    query = select(DesiredRevision.document).where(DesiredRevision.device == device)
    return query.order_by(DesiredRevision.revision.desc()).limit(1)


def _period_s(document: dict[str, object] | None) -> float:
    """How often the device tells its health."""
    settings = (document or {}).get("settings")
    period = settings.get("health_s") if isinstance(settings, dict) else None
    return float(period) if isinstance(period, (int, float)) else HEALTH_S
