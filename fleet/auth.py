"""Who may do what: bearer tokens of people and programs, with roles, and of devices.

A token is 256 random bits behind a prefix that tells its kind. The database holds its SHA-256; no slow hash is needed,
because nothing of 256 random bits can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from fleet import audit
from fleet.access.grants import Grant, Rights
from fleet.access.grants import Role as Role
from fleet.access.tables import User
from fleet.access.users import grant_of, rights_of
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotAllowed, NotAuthenticated, NotFound
from fleet.tables import ApiToken, Device
from wire.names import DeviceId
from wire.reasons import Reason

API_PREFIX = "oa_"
DEVICE_PREFIX = "od_"
ENROLMENT_PREFIX = "oe_"
TOUCHED_EVERY_S = 60.0
"""How exact the time of the last use is; each use would be a write otherwise."""


@dataclass(frozen=True)
class Principal:
    """Who asks. `actor` is what the audit log says; `owner` the user a token belongs to; `credential` the secret that was shown."""

    name: str
    rights: Rights
    kind: str = "token"
    owner: str | None = None
    credential: str = field(default="", repr=False)

    @property
    def actor(self) -> str:
        return f"{self.kind}:{self.name}"

    def require(self, role: Role) -> None:
        """:raises NotAllowed: the role does not hold for the whole fleet"""
        if (self.rights.everywhere or 0) < role:
            raise self.refusal(role, "for the whole fleet")

    def require_somewhere(self, role: Role) -> None:
        """:raises NotAllowed: the role holds for no device"""
        if (self.rights.somewhere or 0) < role:
            raise self.refusal(role, "")

    def require_on(self, labels: Mapping[str, str], role: Role, what: str) -> None:
        """:raises NotAllowed: the role does not hold for a device with these labels"""
        if (self.rights.on(labels) or 0) < role:
            raise self.refusal(role, f"on {what}")

    def refusal(self, role: Role, where: str) -> NotAllowed:
        held = ", ".join(map(str, self.rights.grants)) or "nothing"
        needed = " ".join(filter(None, (role.label, where)))
        return NotAllowed(Reason.NOT_ALLOWED, f"{self.kind} {self.name!r} is {held}; this needs {needed}")


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
        self,
        name: str,
        grant: Grant,
        actor: str,
        expires_at_wall: float | None = None,
        owner: str | None = None,
    ) -> tuple[ApiToken, str]:
        """A new token: its row, and the token itself, which is shown this one time. It never may more than its `owner`."""
        token, at = API_PREFIX + self._ids.secret(), self._clock.wall()
        row = ApiToken(
            id=self._ids.unique(),
            hash=token_hash(token),
            name=name,
            role=grant.role.label,
            selector=str(grant.selector),
            owner=owner,
            created_at=at,
            created_by=actor,
            expires_at=expires_at_wall,
        )
        with self._database.write() as session:
            session.add(row)
            audit.record(
                session, at, actor, "token.create", row.id, name=name, role=row.role, selector=row.selector
            )
        return row, token

    def revoke(self, token_id: str, actor: str, owner: str | None = None) -> None:
        """With `owner`, only a token of that user.

        :raises NotFound: no such token
        """
        with self._database.write() as session:
            row = session.get(ApiToken, token_id)
            if row is None or owner not in (None, row.owner):
                raise NotFound("token", token_id)
            row.revoked_at = row.revoked_at or self._clock.wall()
            audit.record(session, self._clock.wall(), actor, "token.revoke", token_id, name=row.name)

    def page(self, after: tuple[float, str], limit: int, owner: str | None = None) -> list[ApiToken]:
        """By creation time and id, beginning after such a pair; with `owner`, the tokens of that user."""
        at, token_id = after
        later = or_(ApiToken.created_at > at, (ApiToken.created_at == at) & (ApiToken.id > token_id))
        query = select(ApiToken).where(later).order_by(ApiToken.created_at, ApiToken.id).limit(limit)
        if owner is not None:
            query = query.where(ApiToken.owner == owner)
        with self._database.read() as session:
            return list(session.scalars(query))

    def principal(self, token: str) -> Principal:
        """:raises NotAuthenticated: unknown, revoked or expired"""
        wanted, at = token_hash(token), self._clock.wall()
        with self._database.read() as session:
            row = session.scalar(select(ApiToken).where(ApiToken.hash == wanted))
            alive = row is not None and row.revoked_at is None and not self._over(row.expires_at)
            if row is None or not alive or not hmac.compare_digest(row.hash, wanted):
                raise NotAuthenticated(Reason.NOT_AUTHENTICATED, "the token is unknown, revoked or expired")
            rights = _rights(session, row)
        if row.last_used_at is None or at - row.last_used_at > TOUCHED_EVERY_S:
            with self._database.write(alone=False) as session:
                session.execute(update(ApiToken).where(ApiToken.id == row.id).values(last_used_at=at))
        return Principal(row.name, rights, owner=row.owner, credential=token)

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


def _rights(session: Session, row: ApiToken) -> Rights:
    rights = Rights((grant_of(row.role, row.selector),))
    if row.owner is None:
        return rights
    owner = session.get(User, row.owner)
    return rights.within(rights_of(session, row.owner)) if owner and not owner.disabled else Rights()
