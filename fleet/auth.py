"""Who may do what: bearer tokens of people and programs, with roles, and of devices.

A token is 256 random bits behind a prefix that tells its kind. The database holds its SHA-256; no slow hash is needed,
because nothing of 256 random bits can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum

from sqlalchemy import select

from fleet import audit
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotAllowed, NotAuthenticated, NotFound
from fleet.tables import ApiToken, Device
from wire.names import DeviceId
from wire.reasons import Reason

API_PREFIX = "oa_"
DEVICE_PREFIX = "od_"
ENROLMENT_PREFIX = "oe_"


class Role(IntEnum):
    """Each role may do what the ones below it may."""

    VIEWER = 10
    OPERATOR = 20
    APPROVER = 30
    ADMIN = 40

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True)
class Principal:
    """Who asks. `actor` is what the audit log says."""

    name: str
    role: Role

    @property
    def actor(self) -> str:
        return f"token:{self.name}"

    def require(self, role: Role) -> None:
        """:raises NotAllowed: the role is below"""
        if self.role < role:
            raise NotAllowed(
                Reason.NOT_ALLOWED, f"token {self.name!r} is {self.role.label}; this needs {role.label}"
            )


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """The token in an Authorization header.

    :raises NotAuthenticated: there is none
    """
    kind, _, token = (header or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise NotAuthenticated(
            Reason.NOT_AUTHENTICATED, "no bearer token; send Authorization: Bearer <token>"
        )
    return token.strip()


class Tokens:
    """Makes and checks API tokens, and checks those of devices."""

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    def create(
        self, name: str, role: Role, actor: str, expires_at_wall: float | None = None
    ) -> tuple[str, str]:
        """A new token: its id, and the token itself, which is shown this one time."""
        token, token_id = API_PREFIX + self._ids.secret(), self._ids.unique()
        at = self._clock.wall()
        row = ApiToken(
            id=token_id,
            hash=token_hash(token),
            name=name,
            role=role.label,
            created_at=at,
            created_by=actor,
            expires_at=expires_at_wall,
        )
        with self._database.write() as session:
            session.add(row)
            audit.record(session, at, actor, "token.create", token_id, name=name, role=role.label)
        return token_id, token

    def revoke(self, token_id: str, actor: str) -> None:
        """:raises NotFound: no such token"""
        with self._database.write() as session:
            row = session.get(ApiToken, token_id)
            if row is None:
                raise NotFound("token", token_id)
            row.revoked_at = row.revoked_at or self._clock.wall()
            audit.record(session, self._clock.wall(), actor, "token.revoke", token_id)

    def all(self) -> list[ApiToken]:
        with self._database.read() as session:
            return list(session.scalars(select(ApiToken).order_by(ApiToken.created_at)))

    def principal(self, token: str) -> Principal:
        """:raises NotAuthenticated: unknown, revoked or expired"""
        wanted = token_hash(token)
        with self._database.read() as session:
            row = session.scalar(select(ApiToken).where(ApiToken.hash == wanted))
        alive = row is not None and row.revoked_at is None and not self._over(row.expires_at)
        if row is None or not alive or not hmac.compare_digest(row.hash, wanted):
            raise NotAuthenticated(Reason.NOT_AUTHENTICATED, "the token is unknown, revoked or expired")
        return Principal(row.name, Role[row.role.upper()])

    def device(self, token: str) -> DeviceId:
        """The device a token belongs to.

        :raises NotAuthenticated: of no device
        """
        wanted = token_hash(token)
        with self._database.read() as session:
            found = session.execute(
                select(Device.id, Device.token_hash, Device.revoked_at).where(Device.token_hash == wanted)
            ).first()
        if found is None or not hmac.compare_digest(found.token_hash, wanted):
            raise NotAuthenticated(
                Reason.NOT_AUTHENTICATED, "the token belongs to no device; enrol the device again"
            )
        if found.revoked_at is not None:
            raise NotAuthenticated(
                Reason.CERTIFICATE_REVOKED, f"the identity of {found.id!r} is revoked; enrol the device again"
            )
        return DeviceId(found.id)

    def _over(self, expires_at: float | None) -> bool:
        return expires_at is not None and self._clock.wall() > expires_at
