"""Sign-in and sessions: a password against a cookie, slowed down where it fails too often."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.orm import Session

from fleet import audit
from fleet.access import throttle
from fleet.access.grants import Rights
from fleet.access.tables import Attempts, SessionRow, User
from fleet.access.users import Users, rights_of
from fleet.auth import token_hash
from fleet.clock import Clock, Ids
from fleet.config import Access
from fleet.db import Database
from fleet.errors import NotAuthenticated, Throttled
from wire.reasons import Reason

TOUCHED_EVERY_S = 60.0
"""How exact the time of the last use is; each use would be a write otherwise."""
HOUR_S = 3600.0


@dataclass(frozen=True)
class SignedIn:
    """A session. `cookie` is the secret of the browser, known only when it begins."""

    user: str
    rights: Rights
    csrf: str
    expires_at: float
    cookie: str = ""


class Sessions:
    """Begins, finds and ends sessions."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, users: Users, access: Access) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._users = users
        self._access = access

    def sign_in(self, name: str, password: str, address: str) -> SignedIn:
        """:raises NotAuthenticated: name and password do not fit; which of them is not said
        :raises Throttled: too many attempts have failed
        """
        counted = throttle.scopes(name, address)
        self._count(counted)
        with self._database.read() as session:
            row = session.get(User, name)
            hashed = row.password_hash if row is not None and not row.disabled else None
        if not self._users.passwords.fits(password, hashed):
            self._refused(name if row is not None else "an unknown name", address)
            raise NotAuthenticated(Reason.SIGN_IN_REFUSED, "name and password do not fit")
        assert hashed is not None
        stronger = self._users.passwords.hash(password, name) if self._outdated(hashed) else None
        with self._database.write() as session:
            _uncount(session, counted)
            begun = self.begin(session, name, "password")
            user = session.get_one(User, name)
            user.password_hash = stronger or user.password_hash
        return begun

    def _outdated(self, hashed: str) -> bool:
        return self._users.passwords.outdated(hashed)

    def begin(self, session: Session, name: str, way: str) -> SignedIn:
        """A session for a user who has shown who it is, in the caller's transaction."""
        at = self._clock.wall()
        cookie, csrf = self._ids.secret(), self._ids.secret()
        expires_at = at + self._access.session_hours * HOUR_S
        session.add(
            SessionRow(
                hash=token_hash(cookie),
                user=name,
                csrf=csrf,
                created_at=at,
                used_at=at,
                expires_at=expires_at,
            )
        )
        session.get_one(User, name).last_sign_in_at = at
        audit.record(session, at, f"user:{name}", "session.begin", name, way=way)
        return SignedIn(name, rights_of(session, name), csrf, expires_at, cookie)

    def find(self, cookie: str) -> SignedIn:
        """:raises NotAuthenticated: no session, over, idle for too long, or its user is disabled"""
        at = self._clock.wall()
        with self._database.read() as session:
            row = session.get(SessionRow, token_hash(cookie))
            user = session.get(User, row.user) if row is not None else None
            over = row is None or at > row.expires_at or at > row.used_at + self._idle_s
            if row is None or user is None or user.disabled or over:
                raise NotAuthenticated(Reason.NOT_AUTHENTICATED, "the session is over; sign in again")
            found = SignedIn(row.user, rights_of(session, row.user), row.csrf, row.expires_at)
            stale = at - row.used_at > TOUCHED_EVERY_S
        if stale:
            with self._database.write() as session:
                touched = session.get(SessionRow, token_hash(cookie))
                if touched is not None:
                    touched.used_at = at
        return found

    @property
    def _idle_s(self) -> float:
        return self._access.session_idle_hours * HOUR_S

    def end(self, cookie: str) -> None:
        """Sign out; a session that is over already is no error."""
        with self._database.write() as session:
            row = session.get(SessionRow, token_hash(cookie))
            if row is not None:
                session.delete(row)
                audit.record(session, self._clock.wall(), f"user:{row.user}", "session.end", row.user)

    def forget_old(self) -> None:
        """Delete what is over."""
        at = self._clock.wall()
        with self._database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.expires_at < at))
            session.execute(delete(Attempts).where(Attempts.last_at < at - throttle.FORGOTTEN_S))

    def _count(self, counted: tuple[throttle.Scope, ...]) -> None:
        """Count the attempt as failed before it is made, so that a thousand at once are not one."""
        at = self._clock.wall()
        with self._database.write() as session:
            waits = [throttle.wait_s(_failures(session, scope), scope.free, at) for scope in counted]
            if (wait_s := max(waits)) > 0:
                raise Throttled(
                    Reason.TOO_MANY_ATTEMPTS, f"too many sign-ins have failed; wait {wait_s:.0f} s", wait_s
                )
            for scope in counted:
                now = throttle.after(_failures(session, scope), at)
                session.merge(Attempts(key=scope.key, failures=now.count, last_at=now.last_at))

    def _refused(self, name: str, address: str) -> None:
        with self._database.write() as session:
            audit.record(session, self._clock.wall(), "nobody", "session.refused", name, address=address)


def _uncount(session: Session, counted: tuple[throttle.Scope, ...]) -> None:
    """The attempt has succeeded: the name from this address begins anew, the others lose one failure."""
    session.execute(delete(Attempts).where(Attempts.key == counted[0].key))
    for scope in counted[1:]:
        row = session.get(Attempts, scope.key)
        if row is not None:
            row.failures = max(0, row.failures - 1)


def _failures(session: Session, scope: throttle.Scope) -> throttle.Failures:
    row = session.get(Attempts, scope.key)
    return throttle.Failures() if row is None else throttle.Failures(row.failures, row.last_at)


def require_csrf(signed_in: SignedIn, shown: str | None) -> None:
    """:raises NotAuthenticated: the change does not carry the session's token"""
    if shown is None or not hmac.compare_digest(shown.encode(), signed_in.csrf.encode()):
        raise NotAuthenticated(
            Reason.CSRF_MISSING, "the header X-CSRF-Token is missing or is another session's"
        )
