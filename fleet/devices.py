"""Devices: enrolment by one-time token, what they last said, their events and history."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from fleet import accounts, audit
from fleet.auth import DEVICE_PREFIX, ENROLMENT_PREFIX, token_hash
from fleet.certificates import Certificates
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Refused, Taken
from fleet.tables import Device, EnrolmentToken, EventRow, HealthRow, ResponseRow, Secret
from wire.enrol import EnrolRequest, parts_of, token_of
from wire.names import DeviceId
from wire.problem import nearest
from wire.reasons import Reason

DAY_S = 86400.0


@dataclass(frozen=True)
class Identity:
    """What an enrolled device gets, shown this one time. A device with a certificate gets no token and no password."""

    device: DeviceId
    api_token: str
    broker_password: str
    certificate: str
    replaced: bool


class Devices:
    """Enrols and shows devices."""

    def __init__(
        self, database: Database, clock: Clock, ids: Ids, certificates: Certificates | None = None
    ) -> None:
        """Without `certificates` every device gets a token and a password."""
        self._certificates = certificates
        self._database = database
        self._clock = clock
        self._ids = ids

    def create_token(
        self,
        actor: str,
        lifetime_s: float,
        device: str | None = None,
        replace: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[EnrolmentToken, str]:
        """A one-time enrolment token, shown this one time. `replace` lets an enrolled `device` be enrolled again.

        :raises Refused: `replace` without a device
        """
        if replace and device is None:
            raise Refused(Reason.INVALID_FIELD, "replace needs the name of the device that may be replaced")
        token, at = ENROLMENT_PREFIX + self._ids.secret(), self._clock.wall()
        row = EnrolmentToken(
            id=self._ids.unique(),
            hash=token_hash(token),
            device=device,
            replace=replace,
            labels=dict(labels or {}),
            created_at=at,
            created_by=actor,
            expires_at=at + lifetime_s,
        )
        with self._database.write() as session:
            session.add(row)
            audit.record(session, at, actor, "enrolment-token.create", row.id, device=device, replace=replace)
        authority = self._certificates.authority.fingerprint if self._certificates else ""
        return row, token_of(token, authority)

    def tokens(self) -> list[EnrolmentToken]:
        with self._database.read() as session:
            return list(session.scalars(select(EnrolmentToken).order_by(EnrolmentToken.created_at)))

    def enrol(self, request: EnrolRequest, mutual: bool = False) -> Identity:
        """Use the token up and make the device's identity, in one transaction: a refusal leaves the token good.

        A device that sends a request gets a certificate, and with it no token; and no password where the broker's clients show
        certificates (`mutual`). What an earlier identity of the name could do ends here.

        :raises Refused: the token is unknown, used or expired, or bound to another name; or no certificate can be made
        :raises Taken: the name is enrolled and the token may not replace it
        """
        at = self._clock.wall()
        api_token, password, certificate = DEVICE_PREFIX + self._ids.secret(), self._ids.secret(), ""
        with self._database.write() as session:
            token = self._valid_token(session, request.token, at)
            name = _name(token, request, self._ids)
            device = self._row(session, token, name, at)
            device.enrolled_at = at
            device.public_key = request.public_key[:64]
            device.sealing_key = request.sealing_key[:64]
            device.revoked_at = None
            device.labels = {**request.labels, **token.labels}
            device.token_hash = token_hash(api_token)
            device.broker_hash = accounts.password_hash(password, os.urandom(accounts.SALT_BYTES))
            taken: Any = session.execute(
                update(EnrolmentToken)
                .where(EnrolmentToken.id == token.id, EnrolmentToken.used_at.is_(None))
                .values(used_at=at, used_by=name)
            )
            if taken.rowcount != 1:
                raise _bad_token("has been used by another device at this moment")
            session.execute(delete(Secret).where(Secret.device == name))
            if self._certificates is not None:
                self._certificates.revoke_all(session, name)
            if self._certificates is not None and request.csr:
                certificate = self._certificates.issue(session, name, request.csr)
                api_token = ""  # what is stored is the hash of a secret that nobody has
                if mutual:
                    password, device.broker_hash = "", ""
            audit.record(session, at, f"device:{name}", "device.enrol", name, token=token.id)
        return Identity(DeviceId(name), api_token, password, certificate, token.replace)

    def _valid_token(self, session: Session, text: str, at: float) -> EnrolmentToken:
        secret, _ = parts_of(text)
        token = session.scalar(select(EnrolmentToken).where(EnrolmentToken.hash == token_hash(secret)))
        if token is None:
            raise _bad_token("is not known")
        if token.used_at is not None:
            raise _bad_token(f"has been used by {token.used_by}")
        if at > token.expires_at:
            raise _bad_token(f"expired {at - token.expires_at:.0f} s ago")
        return token

    def _row(self, session: Session, token: EnrolmentToken, name: str, at: float) -> Device:
        device = session.get(Device, name)
        if device is None:
            device = Device(id=name, created_at=at, presence="never")
            session.add(device)
        elif not (token.replace and token.device == name):
            raise Taken(
                Reason.NAME_TAKEN,
                f"a device is enrolled as {name!r} already; choose another name, or make a token with "
                f"`outrider fleet token create --device {name} --replace`",
            )
        return device

    def all(self) -> list[Device]:
        with self._database.read() as session:
            return list(session.scalars(select(Device).order_by(Device.id)))

    def get(self, name: str) -> Device:
        """:raises NotFound: no such device"""
        with self._database.read() as session:
            device = session.get(Device, name)
            if device is None:
                raise NotFound("device", name, nearest(name, session.scalars(select(Device.id))))
            return device

    def accounts(self) -> dict[str, str]:
        """Broker user → password hash, of devices that log in so."""
        query = select(Device.id, Device.broker_hash).where(
            Device.broker_hash != "", Device.revoked_at.is_(None)
        )
        with self._database.read() as session:
            return {row.id: row.broker_hash for row in session.execute(query)}

    def count(self) -> int:
        with self._database.read() as session:
            return int(session.scalar(select(func.count()).select_from(Device)) or 0)

    def events(self, name: str, after: int, limit: int, camera: str | None) -> list[EventRow]:
        """Events in the order of arrival, beginning after the row `after`; a negative `after` gives the newest ones.

        :raises NotFound: no such device
        """
        self.get(name)
        query = select(EventRow).where(EventRow.device == name)
        if camera is not None:
            query = query.where(EventRow.camera == camera)
        with self._database.read() as session:
            if after < 0:
                newest = session.scalars(query.order_by(EventRow.row.desc()).limit(limit))
                return list(newest)[::-1]
            return list(
                session.scalars(query.where(EventRow.row > after).order_by(EventRow.row).limit(limit))
            )

    def health_history(self, name: str, since_wall: float, limit: int) -> list[HealthRow]:
        """The kept figures since a time, oldest first.

        :raises NotFound: no such device
        """
        self.get(name)
        query = select(HealthRow).where(HealthRow.device == name, HealthRow.received_at >= since_wall)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(HealthRow.received_at).limit(limit)))

    def forget_old(self, history_days: float, events_days: float) -> int:
        """Delete history and events past their time; how many rows went."""
        at = self._clock.wall()
        bounds = (
            (HealthRow, HealthRow.received_at < at - history_days * DAY_S),
            (EventRow, EventRow.received_at < at - events_days * DAY_S),
            (ResponseRow, ResponseRow.issued_at < at - events_days * DAY_S),
        )
        gone = 0
        for table, old in bounds:
            with self._database.write() as session:
                result: Any = session.execute(delete(table).where(old))
                gone += int(result.rowcount)
        return gone


def _name(token: EnrolmentToken, request: EnrolRequest, ids: Ids) -> str:
    if token.device and request.device and token.device != request.device:
        raise _bad_token(f"is for the device {token.device!r}, not {request.device!r}")
    return token.device or request.device or f"device-{ids.unique()[:8]}"


def _bad_token(how: str) -> Refused:
    return Refused(
        Reason.TOKEN_INVALID,
        f"the enrolment token {how}; make a new one with `outrider fleet token create`",
    )
