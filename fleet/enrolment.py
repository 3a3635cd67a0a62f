"""Enrolment tokens: for one device or several, expiring, revocable, with the labels that their devices get."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from fleet import audit
from fleet.auth import ENROLMENT_PREFIX, token_hash
from fleet.clock import Clock, Ids
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.selector import label_problems
from fleet.tables import EnrolmentToken
from wire.enrol import parts_of, token_of
from wire.problem import Problem
from wire.reasons import Reason

MOST_USES = 100_000


@dataclass(frozen=True)
class Wanted:
    """A token to be made. `device` binds it to a name; `replace` lets an enrolled device of that name be enrolled again."""

    lifetime_s: float
    device: str | None = None
    replace: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    uses: int = 1

    def problems(self) -> list[Problem]:
        found = label_problems(self.labels)
        if self.replace and self.device is None:
            found.append(
                Problem(
                    "device", Reason.INVALID_FIELD, "is missing", "the device that `replace` lets be replaced"
                )
            )
        if not 1 <= self.uses <= MOST_USES:
            found.append(Problem("uses", Reason.INVALID_FIELD, f"is {self.uses}", f"1 to {MOST_USES}"))
        if self.device is not None and self.uses != 1:
            found.append(
                Problem("uses", Reason.INVALID_FIELD, f"is {self.uses}", "1, because the token names its device")
            )  # fmt: skip
        return found


class EnrolmentTokens:
    """Makes, lists, revokes and uses up enrolment tokens."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, authority: str = "") -> None:
        """`authority` is the fingerprint that tokens carry; empty where there is no authority."""
        self._database = database
        self._clock = clock
        self._ids = ids
        self._authority = authority

    def create(self, wanted: Wanted, actor: str) -> tuple[EnrolmentToken, str]:
        """The token's row, and its text, which is shown this one time.

        :raises Refused: with every problem
        """
        if found := wanted.problems():
            raise Refused(found[0].reason, "; ".join(map(str, found)), found)
        secret, at = ENROLMENT_PREFIX + self._ids.secret(), self._clock.wall()
        row = EnrolmentToken(
            id=self._ids.unique(),
            hash=token_hash(secret),
            device=wanted.device,
            replace=wanted.replace,
            labels=dict(wanted.labels),
            uses=wanted.uses,
            used=0,
            created_at=at,
            created_by=actor,
            expires_at=at + wanted.lifetime_s,
        )
        with self._database.write() as session:
            session.add(row)
            audit.record(
                session, at, actor, "enrolment-token.create", row.id,
                device=wanted.device, replace=wanted.replace, uses=wanted.uses, labels=row.labels,
            )  # fmt: skip
        return row, token_of(secret, self._authority)

    def get(self, token_id: str) -> EnrolmentToken:
        """:raises NotFound: no such token"""
        with self._database.read() as session:
            row = session.get(EnrolmentToken, token_id)
            if row is None:
                raise NotFound("enrolment token", token_id)
            return row

    def revoke(self, token_id: str, actor: str) -> None:
        """No device is enrolled with it from now on; those that are stay.

        :raises NotFound: no such token
        """
        at = self._clock.wall()
        with self._database.write() as session:
            row = session.get(EnrolmentToken, token_id)
            if row is None:
                raise NotFound("enrolment token", token_id)
            row.revoked_at = row.revoked_at or at
            audit.record(session, at, actor, "enrolment-token.revoke", token_id)

    def page(self, after: tuple[float, str], limit: int) -> list[EnrolmentToken]:
        """By creation time and id, beginning after such a pair."""
        at, token_id = after
        table = EnrolmentToken
        later = or_(table.created_at > at, (table.created_at == at) & (table.id > token_id))
        query = select(table).where(later).order_by(table.created_at, table.id).limit(limit)
        with self._database.read() as session:
            return list(session.scalars(query))

    def valid(self, session: Session, text: str) -> EnrolmentToken:
        """The token of a text, in the caller's transaction.

        :raises Refused: unknown, used up, revoked or expired
        """
        secret, _ = parts_of(text)
        at = self._clock.wall()
        token = session.scalar(select(EnrolmentToken).where(EnrolmentToken.hash == token_hash(secret)))
        if token is None:
            raise bad_token("is not known")
        if token.revoked_at is not None:
            raise bad_token("has been revoked")
        if token.used >= token.uses:
            raise bad_token(
                f"has been used by {token.used_by}" if token.uses == 1 else f"has had its {token.uses} uses"
            )
        if at > token.expires_at:
            raise bad_token(f"expired {at - token.expires_at:.0f} s ago")
        return token

    def use(self, session: Session, token: EnrolmentToken, device: str) -> None:
        """Count one use, in the caller's transaction.

        :raises Refused: another device has taken the last one at this moment
        """
        table = EnrolmentToken
        taken = session.execute(
            update(table)
            .where(table.id == token.id, table.used < table.uses, table.revoked_at.is_(None))
            .values(used=table.used + 1, used_at=self._clock.wall(), used_by=device)
            .returning(table.id)
        )
        if taken.first() is None:
            raise bad_token("has been used by another device at this moment")


def bad_token(how: str) -> Refused:
    """Why a device is not enrolled."""
    return Refused(
        Reason.TOKEN_INVALID,
        f"the enrolment token {how}; make a new one with `outrider fleet token create`",
    )
