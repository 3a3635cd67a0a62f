"""Devices: enrolment by one-time token, what they last said, their events and history."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, or_, select
from sqlalchemy.orm import Session

from fleet import accounts, audit
from fleet.auth import DEVICE_PREFIX, token_hash
from fleet.certificates import Certificates
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.enrolment import EnrolmentTokens, bad_token
from fleet.errors import NotFound, Refused, Taken
from fleet.health.tables import HealthRow
from fleet.selector import label_problems
from fleet.tables import Device, EnrolmentToken, EventRow, ResponseRow, Secret
from wire.enrol import EnrolRequest
from wire.names import DeviceId
from wire.problem import nearest
from wire.reasons import Reason

DAY_S = 86400.0


@dataclass(frozen=True)
class Identity:
    """What an enrolled device gets, shown this one time. A device with a certificate gets no token and no password. `replaced`: the
    name had an identity before, whose rules at the broker end."""

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
        authority = certificates.authority.fingerprint if certificates else ""
        self.enrolment_tokens = EnrolmentTokens(database, clock, ids, authority)
        self._database = database
        self._clock = clock
        self._ids = ids

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
            token = self.enrolment_tokens.valid(session, request.token)
            name = _name(token, request, self._ids)
            replaced = session.get(Device, name) is not None
            device = self._row(session, token, name, at)
            device.enrolled_at = at
            device.public_key = request.public_key[:64]
            device.sealing_key = request.sealing_key[:64]
            device.revoked_at = device.retired_at = None
            device.labels = _labels(request, token)
            device.token_hash = token_hash(api_token)
            device.broker_hash = accounts.password_hash(password, os.urandom(accounts.SALT_BYTES))
            self.enrolment_tokens.use(session, token, name)
            session.execute(delete(Secret).where(Secret.device == name))
            if self._certificates is not None:
                self._certificates.revoke_all(session, name)
            if self._certificates is not None and request.csr:
                certificate = self._certificates.issue(session, name, request.csr)
                api_token = ""  # what is stored is the hash of a secret that nobody has
                if mutual:
                    password, device.broker_hash = "", ""
            audit.record(session, at, f"device:{name}", "device.enrol", name, token=token.id)
        return Identity(DeviceId(name), api_token, password, certificate, replaced)

    def _row(self, session: Session, token: EnrolmentToken, name: str, at: float) -> Device:
        device = session.get(Device, name)
        if device is None:
            device = Device(id=name, created_at=at, presence="never")
            session.add(device)
        elif device.retired_at is not None:
            device.presence = "never"
        elif not (token.replace and token.device == name):
            raise Taken(
                Reason.NAME_TAKEN,
                f"a device is enrolled as {name!r} already; choose another name, or make a token with "
                f"`outrider fleet token create --device {name} --replace`",
            )
        return device

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

    def health_history(
        self, name: str, since_wall: float, limit: int, after: tuple[float, int] = (0.0, 0)
    ) -> list[HealthRow]:
        """Messages of the last hours since a time, oldest first, beginning after a pair of time and row.

        :raises NotFound: no such device
        """
        self.get(name)
        at, number = after
        later = or_(HealthRow.received_at > at, (HealthRow.received_at == at) & (HealthRow.row > number))
        query = select(HealthRow).where(HealthRow.device == name, HealthRow.received_at >= since_wall, later)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(HealthRow.received_at, HealthRow.row).limit(limit)))

    def forget_old(self, events_days: float) -> int:
        """Delete events and answers past their time; how many rows went."""
        at = self._clock.wall()
        bounds = (
            (EventRow, EventRow.received_at < at - events_days * DAY_S),
            (ResponseRow, ResponseRow.issued_at < at - events_days * DAY_S),
        )
        gone = 0
        for table, old in bounds:
            with self._database.write() as session:
                result: Any = session.execute(delete(table).where(old))
                gone += int(result.rowcount)
        return gone


def _labels(request: EnrolRequest, token: EnrolmentToken) -> dict[str, str]:
    """What the device says of itself, and what its token says, which goes first.

    :raises Refused: they cannot be labels
    """
    labels = {**request.labels, **token.labels}
    if found := label_problems(labels):
        raise Refused(found[0].reason, "; ".join(map(str, found)), found)
    return labels


def _name(token: EnrolmentToken, request: EnrolRequest, ids: Ids) -> str:
    if token.device and request.device and token.device != request.device:
        raise bad_token(f"is for the device {token.device!r}, not {request.device!r}")
    return token.device or request.device or f"device-{ids.unique()[:8]}"
