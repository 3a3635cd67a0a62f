"""Aliases: names for versions that may be moved (`yolox@production`). A desired state holds what they pointed to when it was set."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet import audit, etag
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import NotFound, Refused
from fleet.tables import Alias, Version
from wire.problem import nearest
from wire.reasons import Reason

NONE_YET = etag.etag_of(None)
"""The tag of an alias that is not there: `If-Match` with it makes one and moves none."""


class Aliases:
    """Sets, removes and lists aliases."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def set(
        self, kind: str, name: str, alias: str, version: int, actor: str, if_match: str | None = None
    ) -> tuple[Alias, Version]:
        """Make an alias or move it.

        :raises Refused: the alias is a number, which names a version already
        :raises NotFound: no such version
        :raises Overtaken: it points elsewhere than was read
        """
        if alias.isdigit():
            raise Refused(Reason.INVALID_FIELD, f"alias {alias!r} reads like a version; use a word")
        at = self._clock.wall()
        with self._database.write() as session:
            target = session.get(Version, (kind, name, version))
            if target is None:
                raise NotFound(f"version of {kind} {name}", str(version))
            row = session.get(Alias, (kind, name, alias))
            etag.check(if_match, tag_of(row))
            before = row.version if row is not None else None
            if row is None:
                row = Alias(kind=kind, name=name, alias=alias)
                session.add(row)
            row.version, row.set_at, row.set_by = version, at, actor
            audit.record(
                session, at, actor, f"{kind}.alias", f"{name}@{alias}",
                before=before, after=version, version=version, digest=target.digest,
            )  # fmt: skip
        return row, target

    def remove(self, kind: str, name: str, alias: str, actor: str, if_match: str | None = None) -> None:
        """:raises NotFound: no such alias"""
        with self._database.write() as session:
            row = session.get(Alias, (kind, name, alias))
            if row is None:
                known = session.scalars(select(Alias.alias).where(Alias.kind == kind, Alias.name == name))
                raise NotFound(f"alias of {kind} {name}", alias, nearest(alias, known))
            etag.check(if_match, tag_of(row))
            session.delete(row)
            at = self._clock.wall()
            audit.record(session, at, actor, f"{kind}.unalias", f"{name}@{alias}", before=row.version)

    def of(self, kind: str, name: str) -> list[tuple[Alias, Version]]:
        """The aliases of a name, with what they point to."""
        with self._database.read() as session:
            rows = session.scalars(
                select(Alias).where(Alias.kind == kind, Alias.name == name).order_by(Alias.alias)
            )
            return [(row, session.get_one(Version, (kind, name, row.version))) for row in rows]


def tag_of(row: Alias | None) -> str:
    """The entity tag of an alias."""
    return NONE_YET if row is None else etag.etag_of([row.name, row.alias, row.version])


def by_version(session: Session, kind: str) -> dict[tuple[str, int], list[str]]:
    """Name and version → aliases."""
    found: dict[tuple[str, int], list[str]] = {}
    for row in session.scalars(select(Alias).where(Alias.kind == kind).order_by(Alias.alias)):
        found.setdefault((row.name, row.version), []).append(row.alias)
    return found
