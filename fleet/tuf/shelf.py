"""Metadata files in the database: every version of the root, the newest ones of all others, and drafts that wait for signatures."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from fleet.tables import TrustDraft, TrustFile

KEPT_VERSIONS = 20
KEPT_S = 7 * 86400.0
"""A device in the middle of a refresh, or with a bundle on its way, still finds the version it was told of."""


def newest(session: Session) -> dict[str, bytes]:
    """Role → its newest metadata."""
    last = select(TrustFile.role, func.max(TrustFile.version).label("version")).group_by(TrustFile.role)
    found = last.subquery()
    query = select(TrustFile).join(
        found, (TrustFile.role == found.c.role) & (TrustFile.version == found.c.version)
    )
    return {row.role: row.content.encode() for row in session.scalars(query)}


def get(session: Session, role: str, version: int | None) -> bytes | None:
    """One version, or the newest."""
    query = select(TrustFile.content).where(TrustFile.role == role)
    query = query.where(TrustFile.version == version) if version is not None else query
    content = session.scalar(query.order_by(TrustFile.version.desc()).limit(1))
    return None if content is None else content.encode()


def put(session: Session, role: str, version: int, content: bytes, at_wall: float) -> None:
    """Add a version; one that is there already makes the transaction fail."""
    session.add(TrustFile(role=role, version=version, content=content.decode(), created_at=at_wall))


def drafts(session: Session) -> dict[str, bytes]:
    """Role → what waits for signatures."""
    return {row.role: row.content.encode() for row in session.scalars(select(TrustDraft))}


def put_draft(session: Session, role: str, content: bytes, at_wall: float) -> None:
    session.merge(TrustDraft(role=role, content=content.decode(), created_at=at_wall))


def drop_drafts(session: Session, roles: Mapping[str, object] | set[str]) -> None:
    session.execute(delete(TrustDraft).where(TrustDraft.role.in_(list(roles))))


def prune(session: Session, roles: set[str], at_wall: float) -> None:
    """Forget old versions of these roles; the root's never, devices walk through all of them."""
    for role in roles - {"root"}:
        newest = session.scalar(select(func.max(TrustFile.version)).where(TrustFile.role == role)) or 0
        old = (TrustFile.version <= newest - KEPT_VERSIONS, TrustFile.created_at < at_wall - KEPT_S)
        session.execute(delete(TrustFile).where(TrustFile.role == role, *old))
