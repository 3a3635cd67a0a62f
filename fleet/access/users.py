"""Users: made, changed, listed; what each may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from fleet import audit, etag, selector
from fleet.access.grants import Grant, Rights, Role
from fleet.access.passwords import Passwords
from fleet.access.tables import Binding, SessionRow, User
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused, Taken
from fleet.tables import ApiToken
from wire.problem import Problem, nearest, shown
from wire.reasons import Reason

ROLES = {role.label: role for role in Role}
MOST_BINDINGS = 32


@dataclass(frozen=True)
class Person:
    """A user with what it may do."""

    row: User
    rights: Rights

    @property
    def editable(self) -> dict[str, Any]:
        """What an admin edits, as JSON; the entity tag is made of it."""
        return {
            "name": self.row.name,
            "full_name": self.row.full_name,
            "disabled": self.row.disabled,
            "bindings": bindings_of(self.rights),
        }

    @property
    def tag(self) -> str:
        return etag.etag_of(self.editable)


@dataclass(frozen=True)
class Change:
    """What is to be different; None leaves it."""

    full_name: str | None = None
    disabled: bool | None = None
    rights: Rights | None = None
    password: str | None = None


def bindings_of(rights: Rights) -> list[dict[str, str]]:
    return [{"role": grant.role.label, "selector": str(grant.selector)} for grant in rights.grants]


def read_rights(bindings: Sequence[tuple[str, str]], path: str = "bindings") -> Rights:
    """Roles and selectors as they were written.

    :raises Refused: with every problem
    """
    grants, found = [], []
    for number, (role, text) in enumerate(bindings):
        if role not in ROLES:
            found.append(
                Problem(f"{path}.{number}.role", Reason.INVALID_FIELD, f"{shown(role)} is no role", f"one of {list(ROLES)}")
            )  # fmt: skip
        try:
            chosen = selector.parse(text)
        except Refused as e:
            found.append(Problem(f"{path}.{number}.selector", e.reason, str(e)))
            continue
        if role in ROLES:
            grants.append(Grant(ROLES[role], chosen))
    if len(bindings) > MOST_BINDINGS:
        found.append(
            Problem(path, Reason.INVALID_FIELD, f"holds {len(bindings)}", f"at most {MOST_BINDINGS}")
        )
    if found:
        raise Refused(found[0].reason, "; ".join(map(str, found)), found)
    return Rights(tuple(grants))


class Users:
    """Keeps users."""

    def __init__(self, database: Database, clock: Clock, passwords: Passwords) -> None:
        self._database = database
        self._clock = clock
        self.passwords = passwords

    def create(
        self, name: str, full_name: str, rights: Rights, actor: str, password: str | None = None
    ) -> Person:
        """:raises Refused: the password is too weak
        :raises Taken: there is a user of that name
        """
        hashed = None if password is None else self.passwords.hash(password, name)
        at = self._clock.wall()
        with self._database.write() as session:
            if session.get(User, name) is not None:
                raise Taken(Reason.NAME_TAKEN, f"there is a user called {name!r} already")
            row = User(
                name=name,
                full_name=full_name,
                password_hash=hashed,
                disabled=False,
                created_at=at,
                created_by=actor,
            )
            session.add(row)
            session.flush()
            bind(session, name, rights)
            person = Person(row, rights)
            audit.record(session, at, actor, "user.create", name, after=person.editable)
        return person

    def change(self, name: str, change: Change, actor: str, if_match: str | None = None) -> Person:
        """:raises NotFound: no such user
        :raises Overtaken: it is not as it was read
        :raises Refused: the password is too weak, or nobody would be left who may administer
        """
        hashed = None if change.password is None else self.passwords.hash(change.password, name)
        with self._database.write() as session:
            person = _get(session, name)
            etag.check(if_match, person.tag)
            before, row = person.editable, person.row
            row.full_name = row.full_name if change.full_name is None else change.full_name
            row.disabled = row.disabled if change.disabled is None else change.disabled
            row.password_hash = hashed or row.password_hash
            if change.rights is not None:
                bind(session, name, change.rights)
            if row.disabled or hashed is not None:
                session.execute(delete(SessionRow).where(SessionRow.user == name))
            changed = Person(row, change.rights or person.rights)
            session.flush()
            require_an_admin(session)
            audit.record(
                session, self._clock.wall(), actor, "user.change", name,
                before=before, after=changed.editable, password=hashed is not None,
            )  # fmt: skip
        return changed

    def remove(self, name: str, actor: str, if_match: str | None = None) -> None:
        """With its sessions; its tokens end.

        :raises NotFound: no such user
        :raises Refused: nobody would be left who may administer
        """
        at = self._clock.wall()
        with self._database.write() as session:
            person = _get(session, name)
            etag.check(if_match, person.tag)
            for table in (SessionRow, Binding):
                session.execute(delete(table).where(table.user == name))
            session.execute(
                update(ApiToken)
                .where(ApiToken.owner == name, ApiToken.revoked_at.is_(None))
                .values(revoked_at=at)
            )
            session.delete(person.row)
            session.flush()
            require_an_admin(session)
            audit.record(session, at, actor, "user.remove", name, before=person.editable)

    def get(self, name: str) -> Person:
        """:raises NotFound: no such user"""
        with self._database.read() as session:
            return _get(session, name)

    def page(self, after: str, limit: int) -> list[Person]:
        """By name, beginning after one."""
        with self._database.read() as session:
            rows = session.scalars(select(User).where(User.name > after).order_by(User.name).limit(limit))
            return [Person(row, rights_of(session, row.name)) for row in rows]


def require_an_admin(session: Session) -> None:
    """Somebody, or an API token of nobody, must be left who may administer everything.

    :raises Refused: nobody would be
    """
    if session.scalar(select(ApiToken.id).where(_lasting_admin_token()).limit(1)) is not None:
        return
    admins = select(Binding.user).join(User, User.name == Binding.user)
    admins = admins.where(Binding.role == Role.ADMIN.label, Binding.selector == "", User.disabled.is_(False))
    if session.scalar(admins.limit(1)) is None:
        raise Refused(Reason.IN_USE, "this is the last admin; make another one first")


def _lasting_admin_token() -> Any:
    return (
        (ApiToken.role == Role.ADMIN.label)
        & (ApiToken.selector == "")
        & ApiToken.owner.is_(None)
        & ApiToken.revoked_at.is_(None)
        & ApiToken.expires_at.is_(None)
    )


def rights_of(session: Session, name: str) -> Rights:
    """What a user may do by its bindings."""
    rows = session.scalars(select(Binding).where(Binding.user == name).order_by(Binding.place))
    return Rights(tuple(Grant(ROLES[row.role], selector.parse(row.selector)) for row in rows))


def bind(session: Session, name: str, rights: Rights) -> None:
    """Give a user these rights instead of those it has."""
    session.execute(delete(Binding).where(Binding.user == name))
    for place, grant in enumerate(rights.grants):
        session.add(Binding(user=name, place=place, role=grant.role.label, selector=str(grant.selector)))


def _get(session: Session, name: str) -> Person:
    row = session.get(User, name)
    if row is None:
        raise NotFound("user", name, nearest(name, session.scalars(select(User.name))))
    return Person(row, rights_of(session, name))


def grant_of(role: str, text: str) -> Grant:
    """One role and its selector.

    :raises Refused: one of them cannot be read
    """
    return read_rights([(role, text)], "grant").grants[0]
