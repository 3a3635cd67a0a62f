"""Models, workflows and releases of the agent: taken in, checked in a child process, stored by content, numbered.

A version is immutable. The same content under the same name is the same version, so an upload may be repeated. A model or a
release is stored file by file; its digest is that of its manifest. A workflow is one object.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from fleet import aliases, archive, audit, packing, usage
from fleet.checker import Checker
from fleet.clock import Clock
from fleet.config import Limits
from fleet.db import Database, insert_ignoring
from fleet.errors import NotFound, Refused
from fleet.manifests import Package, manifest_of
from fleet.objects import Objects
from fleet.packing import NO_WISHES, Wishes
from fleet.tables import Alias, ArtifactFile, DesiredRevision, StoredObject, Version
from wire import local
from wire.manifest import Manifest, digest_of
from wire.names import is_digest, is_name
from wire.problem import Problem, nearest
from wire.reasons import Reason

INT32_MOST = 2**31 - 1
CARD_LEFT_OUT = frozenset({"directory"})
"""Where the check found the package: a path that is gone afterwards."""


@dataclass(frozen=True)
class Upload:
    """Whose upload it is. `name` is the name in the registry; by default the one the package says. `wishes` are of an ONNX file."""

    actor: str
    name: str | None = None
    wishes: Wishes = NO_WISHES


class Registry:
    """Takes uploads in and finds versions."""

    def __init__(
        self,
        database: Database,
        objects: Objects,
        checker: Checker,
        clock: Clock,
        limits: Limits,
        uploads: Path,
    ) -> None:
        self._database = database
        self._objects = objects
        self._checker = checker
        self._clock = clock
        self._limits = limits
        self._uploads = uploads
        self._families: dict[str, str] = {}
        self._turn = asyncio.Semaphore(limits.checks_at_once)

    def clear_uploads(self) -> None:
        """Remove what an upload cut short by a crash has left."""
        archive.discard(self._uploads)
        self._uploads.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def scratch(self) -> Any:
        """A directory for one upload, removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self._uploads, ignore_cleanup_errors=True) as folder:
            yield Path(folder)

    async def add_package(self, kind: Package, packed: Path, upload: Upload) -> Version:
        """Take in an archive of a directory: a model's package, or the wheels of a release. An ONNX file is packed first.

        :raises Refused: no archive, or the check refuses it; nothing of it is kept
        """
        with self.scratch() as folder:
            target = folder / "package"
            if kind == "model" and packing.is_onnx(packed):
                root, card = target, await self._pack(packed, target, upload)
            else:
                packing.refuse_wishes(upload.wishes)
                target.mkdir()
                root = await asyncio.to_thread(archive.unpack, packed, target, self._limits.unpacked_bytes)
                card = await self._checked(kind, root)
            name = _named(upload, card)
            manifest = await asyncio.to_thread(manifest_of, root, card, kind)
            await self._put_package(manifest, root)
            row = await asyncio.to_thread(self._store, kind, name, manifest, b"", card, upload.actor)
            # Once more: a clean-up may have taken bytes that nothing had named yet.
            await self._put_package(manifest, root)
        return row

    async def _put_package(self, manifest: Manifest, root: Path) -> None:
        for entry in manifest.files:
            await self._objects.put_file(entry.sha256, root / entry.path)
        await self._objects.put(manifest.digest, manifest.encode())

    async def add_workflow(self, content: bytes, upload: Upload) -> Version:
        """Take in a workflow definition.

        :raises Refused: the runtime refuses it; nothing of it is kept
        """
        with self.scratch() as folder:
            path = folder / "workflow.json"
            path.write_bytes(content)
            card = await self._checked("workflow", path)
        name = _named(upload, card)
        await self._objects.put(digest_of(content), content)
        row = await asyncio.to_thread(self._store, "workflow", name, None, content, card, upload.actor)
        await self._objects.put(digest_of(content), content)
        return row

    async def check_workflow(self, content: bytes) -> local.CheckResult:
        """The verdict on a definition that nobody keeps."""
        with self.scratch() as folder:
            path = folder / "workflow.json"
            path.write_bytes(content)
            async with self._turn:
                return await self._checker.check("workflow", path)

    def lookup(self, kind: str, reference: str) -> Version | Problem:
        """A version by a reference, or what is wrong with the reference (path not set)."""
        with self._database.read() as session:
            return find(session, kind, reference)

    async def families(self) -> dict[str, str]:
        """Every family of models that the runtime knows here, with the outputs it expects; the child is asked once.

        :raises Refused: the child cannot tell
        """
        if not self._families:
            card = await self._checked("families", "-")
            self._families = {str(name): str(expects) for name, expects in card["families"].items()}
        return self._families

    async def _pack(self, graph: Path, target: Path, upload: Upload) -> dict[str, Any]:
        """Make a package of an ONNX file in a confined child, which loads and runs it as the check does."""
        if not upload.name:
            raise Refused(Reason.INVALID_FIELD, "an ONNX file does not say what it is called; give a name")
        source = graph.rename(graph.with_name(f"{upload.name}.onnx"))
        return await self._checked("pack", packing.request(source, target, upload.name, upload.wishes))

    async def _checked(self, kind: str, asked: Path | str) -> dict[str, Any]:
        async with self._turn:
            verdict = await self._checker.check(kind, asked)
        if verdict.ok:
            return {key: value for key, value in verdict.card.items() if key not in CARD_LEFT_OUT}
        if kind == "pack":
            raise refusal("model", packing.worded(verdict))
        raise refusal(kind, verdict)

    def _store(
        self,
        kind: str,
        name: str,
        manifest: Manifest | None,
        content: bytes,
        card: dict[str, Any],
        actor: str,
    ) -> Version:
        at = self._clock.wall()
        if manifest is not None:
            digest, size_bytes = manifest.digest, manifest.total_bytes
            sizes = {entry.sha256: entry.size for entry in manifest.files} | {digest: len(manifest.encode())}
        else:
            digest, size_bytes = digest_of(content), len(content)
            sizes = {digest: size_bytes}
        with self._database.write() as session:
            rows = [{"digest": d, "size_bytes": size, "created_at": at} for d, size in sizes.items()]
            insert_ignoring(session, StoredObject, rows)
            insert_ignoring(session, ArtifactFile, _file_rows(digest, manifest))
            same = select(Version).where(Version.kind == kind, Version.name == name, Version.digest == digest)
            if (existing := session.scalar(same)) is not None:
                return existing
            newest = session.scalar(
                select(func.max(Version.version)).where(Version.kind == kind, Version.name == name)
            )
            version = Version(
                kind=kind,
                name=name,
                version=(newest or 0) + 1,
                digest=digest,
                size_bytes=size_bytes,
                card=card,
                created_at=at,
                created_by=actor,
            )
            session.add(version)
            audit.record(session, at, actor, f"{kind}.upload", f"{name}@{version.version}", digest=digest)
            return version

    def page(self, kind: str, after: tuple[str, int], limit: int) -> list[Version]:
        """Versions of a kind by name, newest first, beginning after a pair of name and version."""
        name, number = after[0], min(after[1], INT32_MOST)
        later = or_(Version.name > name, (Version.name == name) & (Version.version < number))
        query = select(Version).where(Version.kind == kind, later)
        with self._database.read() as session:
            return list(session.scalars(query.order_by(Version.name, Version.version.desc()).limit(limit)))

    def of_name(self, kind: str, name: str, below: int, limit: int) -> list[Version]:
        """Versions of one name under a number, newest first.

        :raises NotFound: the registry holds none of that name
        """
        query = select(Version).where(
            Version.kind == kind, Version.name == name, Version.version < min(below, INT32_MOST)
        )
        with self._database.read() as session:
            _known(session, kind, name)
            return list(session.scalars(query.order_by(Version.version.desc()).limit(limit)))

    def get(self, kind: str, name: str, reference: str) -> Version:
        """A version by number or alias.

        :raises NotFound: no such version
        """
        with self._database.read() as session:
            found = find(session, kind, f"{name}@{reference}")
            if isinstance(found, Problem):
                raise NotFound(
                    kind, f"{name}@{reference}", "; ".join(filter(None, (found.expected, found.remedy)))
                )
            return found

    def aliases_of(self, kind: str) -> dict[tuple[str, int], list[str]]:
        """Name and version → aliases."""
        with self._database.read() as session:
            return aliases.by_version(session, kind)

    def set_notes(self, kind: str, name: str, version: int, notes: dict[str, Any], actor: str) -> Version:
        """:raises NotFound: no such version"""
        with self._database.write() as session:
            row = session.get(Version, (kind, name, version))
            if row is None:
                raise NotFound(kind, f"{name}@{version}")
            before, row.notes = row.notes, notes
            audit.record(
                session,
                self._clock.wall(),
                actor,
                f"{kind}.notes",
                f"{name}@{version}",
                before=before,
                after=notes,
            )
            return row

    def uses(self, digest: str) -> list[usage.Use]:
        """Every device that has to do with an artifact, by name."""
        with self._database.read() as session:
            return [use for use in usage.of_fleet(session) if digest in use.kept]

    def size_of(self, digest: str) -> int:
        """Bytes of an object.

        :raises NotFound: no such object
        """
        with self._database.read() as session:
            row = session.get(StoredObject, digest)
            if row is None:
                raise NotFound("object", digest)
            return row.size_bytes

    def may_fetch(self, device: str, digest: str) -> bool:
        """Whether the device's newest desired states need the object, as an artifact or as a file of one."""
        newest = (
            select(DesiredRevision.digests)
            .where(DesiredRevision.device == device)
            .order_by(DesiredRevision.revision.desc())
            .limit(usage.NEWEST)
        )
        with self._database.read() as session:
            needed = {artifact for digests in session.scalars(newest) for artifact in digests}
            if digest in needed:
                return True
            part_of = select(ArtifactFile.artifact).where(
                ArtifactFile.digest == digest, ArtifactFile.artifact.in_(needed)
            )
            return session.scalar(part_of.limit(1)) is not None


def find(session: Session, kind: str, reference: str) -> Version | Problem:
    """A version by `name` (the newest), `name@version`, `name@alias` or digest; or what is wrong with the reference (path not set)."""
    query = select(Version).where(Version.kind == kind)
    if is_digest(reference):
        version = session.scalar(query.where(Version.digest == reference).limit(1))
        if version is not None:
            return version
        return Problem(
            "",
            Reason.ARTIFACT_MISSING,
            f"the registry holds no {kind} {reference}",
            remedy=f"upload the {kind}",
        )
    name, _, number = reference.partition("@")
    query = query.where(Version.name == name)
    if _counts(number):
        version = session.scalar(query.where(Version.version == int(number)))
    elif number:
        alias = session.get(Alias, (kind, name, number))
        version = session.get(Version, (kind, name, alias.version)) if alias is not None else None
    else:
        version = session.scalar(query.order_by(Version.version.desc()).limit(1))
    return version if version is not None else _unknown(session, kind, name, reference)


def _counts(number: str) -> bool:
    return number.isascii() and number.isdigit() and len(number) <= 9


def _unknown(session: Session, kind: str, name: str, reference: str) -> Problem:
    versions: Mapping[str, int] = {
        row.name: row.newest
        for row in session.execute(
            select(Version.name, func.max(Version.version).label("newest"))
            .where(Version.kind == kind)
            .group_by(Version.name)
        )
    }
    if name in versions:
        return Problem(
            "",
            Reason.UNKNOWN_REFERENCE,
            f"{kind} {name!r} has no version {reference.partition('@')[2]!r}",
            expected=" or ".join([f"1 to {versions[name]}", *_aliases(session, kind, name)]),
        )
    return Problem(
        "",
        Reason.UNKNOWN_REFERENCE,
        f"the registry holds no {kind} {name!r}",
        expected=f"one of {sorted(versions)[:20]}" if versions else "",
        remedy=nearest(name, versions) or f"upload it: `outrider fleet {kind} upload`",
    )


def _aliases(session: Session, kind: str, name: str) -> list[str]:
    query = select(Alias.alias).where(Alias.kind == kind, Alias.name == name).order_by(Alias.alias)
    return list(session.scalars(query.limit(20)))


def _known(session: Session, kind: str, name: str) -> None:
    known = select(Version.name).where(Version.kind == kind).distinct()
    if session.scalar(known.where(Version.name == name).limit(1)) is None:
        raise NotFound(kind, name, nearest(name, session.scalars(known)))


def _file_rows(artifact: str, manifest: Manifest | None) -> list[dict[str, Any]]:
    entries = manifest.files if manifest else ()
    return [
        {"artifact": artifact, "path": entry.path, "digest": entry.sha256, "size_bytes": entry.size}
        for entry in entries
    ]


def _named(upload: Upload, card: Mapping[str, Any]) -> str:
    name = upload.name or card.get("name")
    if isinstance(name, str) and is_name(name):
        return name
    raise Refused(
        Reason.INVALID_FIELD,
        f"name {name!r} cannot be used; give one with --name: letters, digits, '.', '_' and '-', at most 64",
    )


def refusal(kind: str, verdict: local.CheckResult) -> Refused:
    """What a check has found, as the error to raise."""
    try:
        reason = Reason(verdict.reason)
        problems = [Problem.from_json(problem) for problem in verdict.problems]
    except (ValueError, KeyError):
        reason, problems = Reason.CHECK_FAILED, []
    return Refused(reason, f"the {kind} was refused: {verdict.message}", problems)
