"""Certificates of devices: issued at enrolment, renewed by the device, revoked by an operator; and who asks over HTTPS."""

from __future__ import annotations

import base64
import binascii

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from fleet import audit
from fleet.authority import Authority, serial_of
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotAuthenticated, NotFound
from fleet.tables import Certificate, Device
from wire import proof
from wire.errors import NotTrusted, WireError
from wire.names import DeviceId
from wire.reasons import Reason


class Certificates:
    """Issues, renews, revokes and judges."""

    def __init__(self, database: Database, authority: Authority, clock: Clock, lifetime_s: float) -> None:
        self.authority = authority
        self._database = database
        self._clock = clock
        self._lifetime_s = lifetime_s
        self._list_wall = 0.0

    def issue(self, session: Session, device: str, csr: str) -> str:
        """A certificate chain, PEM, in the caller's transaction.

        :raises Refused: the request cannot be used
        """
        issued = self.authority.device(csr, device, self._lifetime_s)
        session.add(
            Certificate(
                serial=issued.serial, device=device, issued_at=self._clock.wall(), not_after=issued.not_after
            )
        )
        return issued.chain

    def renew(self, device: DeviceId, csr: str) -> str:
        """Another certificate; the ones before stay good until they are over.

        :raises Refused: the request cannot be used
        """
        with self._database.write() as session:
            chain = self.issue(session, device, csr)
            audit.record(session, self._clock.wall(), f"device:{device}", "certificate.renew", device)
        return chain

    def revoke(self, device: str, actor: str) -> None:
        """End the device's identity: certificates, tokens, login.

        :raises NotFound: no such device
        """
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(Device, device)
            if row is None:
                raise NotFound("device", device)
            row.revoked_at = row.revoked_at or at
            self.revoke_all(session, device)
            audit.record(session, at, actor, "device.revoke", device)

    def revoke_all(self, session: Session, device: str) -> None:
        """Revoke every certificate the device has, in the caller's transaction."""
        session.execute(
            update(Certificate)
            .where(Certificate.device == device, Certificate.revoked_at.is_(None))
            .values(revoked_at=self._clock.wall())
        )

    def revocation_list(self) -> bytes:
        """The certificates that are revoked and not over yet, as a signed list in PEM."""
        with self._database.read() as session:
            rows = session.scalars(select(Certificate.serial).where(Certificate.revoked_at.is_not(None)))
            content, self._list_wall = self.authority.revocation_list(rows, self._list_wall)
        return content

    def revoked_devices(self) -> list[str]:
        with self._database.read() as session:
            return list(session.scalars(select(Device.id).where(Device.revoked_at.is_not(None))))

    def forget_old(self) -> None:
        """Delete the rows of certificates that are over."""
        with self._database.write() as session:
            session.execute(delete(Certificate).where(Certificate.not_after < self._clock.wall()))

    def by_certificate(self, der: bytes) -> DeviceId:
        """The device a certificate belongs to, whose chain TLS has verified.

        :raises NotAuthenticated: not issued to a device, or revoked
        """
        serial, name = serial_of(der)
        with self._database.read() as session:
            row = session.get(Certificate, serial)
        if row is None or row.device != name:
            raise NotAuthenticated(Reason.CERTIFICATE_INVALID, f"certificate {serial[:16]} is of no device")
        if row.revoked_at is not None:
            raise _revoked(name)
        return DeviceId(name)

    def by_token(self, token: str) -> DeviceId:
        """The device that has signed a short-lived token (`wire.proof`).

        :raises NotAuthenticated: the token does not hold, or the device is revoked
        """
        try:
            name = proof.claimed(token)
            with self._database.read() as session:
                row = session.get(Device, name)
            if row is None or not (key := _raw_key(row.public_key)):
                raise NotTrusted(f"no device {name[:80]!r} with a key is enrolled", Reason.NOT_AUTHENTICATED)
            proof.verify(token, name, key, self._clock.wall())
        except WireError as e:
            raise NotAuthenticated(e.reason, str(e)) from e
        if row.revoked_at is not None:
            raise _revoked(name)
        return DeviceId(name)


def _revoked(name: str) -> NotAuthenticated:
    return NotAuthenticated(
        Reason.CERTIFICATE_REVOKED, f"the identity of {name!r} is revoked; enrol the device again"
    )


def _raw_key(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    return raw if len(raw) == 32 else b""
