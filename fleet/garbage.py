"""Clean-up of the registry: versions that nothing needs, and the objects that only they had.

Never goes what a device is told to run, runs or may go back to, what an alias points to, the newest versions of a name, and what
is young. A plan is made first and shown; only that very plan can be carried out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from fleet import audit, usage
from fleet.chain import digest_of
from fleet.clock import Clock
from fleet.db import Database
from fleet.errors import Overtaken
from fleet.objects import Objects
from fleet.tables import Alias, ArtifactFile, StoredObject, Version
from wire.reasons import Reason

DAY_S = 86400.0
CHUNK = 500

Pins = Callable[[Session], Iterable[str]]
"""Digests that somebody else needs, a rollout for instance."""


@dataclass(frozen=True)
class Rules:
    """What stays in any case: the newest so many versions of each name, and what is younger than so many days."""

    keep_newest: int = 2
    older_than_days: float = 30.0


@dataclass(frozen=True)
class Plan:
    """What nothing needs. `objects`: digest → bytes."""

    versions: tuple[Version, ...]
    objects: dict[str, int]

    @property
    def name(self) -> str:
        """Names exactly this plan."""
        return digest_of([[[v.kind, v.name, v.version] for v in self.versions], sorted(self.objects)])


class Garbage:
    """Plans clean-ups and carries them out."""

    def __init__(self, database: Database, objects: Objects, clock: Clock, pins: Sequence[Pins] = ()) -> None:
        self._database = database
        self._objects = objects
        self._clock = clock
        self._pins = tuple(pins)

    def plan(self, rules: Rules) -> Plan:
        with self._database.read() as session:
            return self._plan(session, rules)

    def collect(self, rules: Rules, name: str, actor: str) -> Plan:
        """Carry out the plan of that name. Takes as long as the store takes to delete.

        :raises Overtaken: something has changed, and the plan is another one now
        """
        with self._database.write() as session:
            plan = self._plan(session, rules)
            if plan.name != name:
                raise Overtaken(
                    Reason.CHANGED_MEANWHILE, "the registry or a device has changed; make the plan again"
                )
            for version in plan.versions:
                session.delete(version)
            session.flush()
            self._forget(session, list(plan.objects))
            audit.record(
                session, self._clock.wall(), actor, "registry.collect", name,
                versions=[f"{v.kind} {v.name}@{v.version}" for v in plan.versions], objects=len(plan.objects),
            )  # fmt: skip
        self._delete(list(plan.objects))
        return plan

    def _plan(self, session: Session, rules: Rules) -> Plan:
        needed = self._needed(session)
        at = self._clock.wall() - rules.older_than_days * DAY_S
        query = select(Version).order_by(Version.kind, Version.name, Version.version.desc())
        going, staying = [], set(needed)
        place: dict[tuple[str, str], int] = {}
        for version in session.scalars(query):
            nth = place[version.kind, version.name] = place.get((version.kind, version.name), 0) + 1
            if nth <= rules.keep_newest or version.created_at > at or version.digest in needed:
                staying.add(version.digest)
            else:
                going.append(version)
        return Plan(tuple(going), self._orphans(session, staying, at))

    def _needed(self, session: Session) -> set[str]:
        needed = {digest for use in usage.of_fleet(session) for digest in use.kept}
        pointed = (
            select(Version.digest)
            .join(Alias, (Alias.kind == Version.kind) & (Alias.name == Version.name))
            .where(Alias.version == Version.version)
        )
        return needed.union(session.scalars(pointed), *(pins(session) for pins in self._pins))

    @staticmethod
    def _orphans(session: Session, staying: set[str], at: float) -> dict[str, int]:
        """Objects that no artifact which stays consists of; young ones may belong to an upload that is on its way."""
        files = session.execute(select(ArtifactFile.artifact, ArtifactFile.digest))
        used = staying | {row.digest for row in files if row.artifact in staying}
        stored = session.execute(
            select(StoredObject.digest, StoredObject.size_bytes).where(StoredObject.created_at <= at)
        )
        return {row.digest: row.size_bytes for row in stored if row.digest not in used}

    @staticmethod
    def _forget(session: Session, digests: list[str]) -> None:
        for start in range(0, len(digests), CHUNK):
            chunk = digests[start : start + CHUNK]
            session.execute(
                delete(ArtifactFile).where(ArtifactFile.artifact.in_(chunk) | ArtifactFile.digest.in_(chunk))
            )
            session.execute(delete(StoredObject).where(StoredObject.digest.in_(chunk)))

    def _delete(self, digests: list[str]) -> None:
        """Delete the bytes of what is still named by nothing. Under the writers' lock: an upload that names one of them again does
        so before, and it stays, or afterwards, and then finds the bytes gone and stores them again."""
        for start in range(0, len(digests), CHUNK):
            chunk = digests[start : start + CHUNK]
            with self._database.write() as session:
                named = set(
                    session.scalars(select(StoredObject.digest).where(StoredObject.digest.in_(chunk)))
                )
                for digest in chunk:
                    if digest not in named:
                        asyncio.run(self._objects.remove(digest))
