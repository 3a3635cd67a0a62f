"""What a device without a network needs, put together: its signed desired state, trust metadata, the list of objects."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from fleet.db import Database
from fleet.errors import NotFound
from fleet.tables import ArtifactFile, DesiredRevision, Device, StoredObject
from fleet.tuf import roles
from fleet.tuf.repository import Repository
from wire.bundle import Bundle
from wire.desired import Desired
from wire.doc import read
from wire.names import Name
from wire.problem import nearest
from wire.targets import role_of, target_path


class Bundles:
    """Thread-safe."""

    def __init__(self, fleet: str, database: Database, repository: Repository) -> None:
        self._fleet = fleet
        self._database = database
        self._repository = repository

    def make(self, devices: Sequence[str], revision: int | None, at_wall: float) -> Bundle:
        """The newest desired state of each device, or the one of a revision.

        :raises NotFound: no such device, or nothing is wanted of it
        """
        signed: dict[Name, dict[str, object]] = {}
        objects: dict[str, int] = {}
        needed: set[str] = set()
        with self._database.read() as session:
            for device in devices:
                row = _row(session, device, revision)
                signed[device] = row.signed
                objects |= _objects(session, row.digests)
                needed |= _roles(read(Desired, row.document))
        return Bundle(
            fleet=self._fleet,
            made_at=at_wall,
            devices=signed,
            metadata=self._metadata(needed),
            objects=objects,
        )

    def _metadata(self, needed: set[str]) -> dict[str, str]:
        """Every root, and of all else the newest."""
        files = self._repository.files()
        found = {f"{number}.root.json": root for number, root in enumerate(self._repository.roots(), 1)}
        for role in ("snapshot", "targets", *sorted(needed)):
            found[f"{roles.version_of(files[role])}.{role}.json"] = files[role]
        found["timestamp.json"] = files["timestamp"]
        return {name: content.decode() for name, content in found.items()}


def _row(session: Session, device: str, revision: int | None) -> DesiredRevision:
    if session.get(Device, device) is None:
        raise NotFound("device", device, nearest(device, session.scalars(select(Device.id))))
    query = select(DesiredRevision).where(DesiredRevision.device == device)
    if revision is not None:
        query = query.where(DesiredRevision.revision == revision)
    row = session.scalar(query.order_by(DesiredRevision.revision.desc()).limit(1))
    if row is None:
        raise NotFound(
            "desired state",
            device if revision is None else f"{device}, revision {revision}",
            "set one first: `outrider fleet device desired set`",
        )
    return row


def _objects(session: Session, digests: Sequence[str]) -> dict[str, int]:
    files = select(ArtifactFile.digest, ArtifactFile.size_bytes).where(ArtifactFile.artifact.in_(digests))
    own = select(StoredObject.digest, StoredObject.size_bytes).where(StoredObject.digest.in_(digests))
    return {row.digest: row.size_bytes for query in (own, files) for row in session.execute(query)}


def _roles(document: Desired) -> set[str]:
    models = {role_of(target_path("model", model.digest)) for model in document.models.values()}
    if document.agent is not None and document.agent.digest is not None:
        models.add(role_of(target_path("release", document.agent.digest)))
    return models | {role_of(target_path("workflow", w.digest)) for w in document.workflows.values()}
