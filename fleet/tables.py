"""The tables. Portable types only: the same model runs on SQLite and PostgreSQL. Times are wall-clock seconds since the epoch.

Tokens are kept as the SHA-256 of 256 random bits. Versions, desired revisions, events and the audit log are only added to.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAME = String(64)
DIGEST = String(71)
HASH = String(64)
ACTOR = String(80)
"""`token:NAME`, `user:NAME`, `device:NAME`."""
ROW_ID = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers rows by itself only for INTEGER keys."""


class Base(DeclarativeBase):
    """Constraints have names, so that later migrations can change them on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = dict.fromkeys(
        (dict[str, Any], list[str], dict[str, str]), JSON
    )


class Device(Base):
    """A device, with the last of everything it said."""

    __tablename__ = "devices"
    __table_args__ = (Index("ix_devices_presence_id", "presence", "id"),)

    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    created_at: Mapped[float] = mapped_column(Float)
    enrolled_at: Mapped[float] = mapped_column(Float)
    public_key: Mapped[str] = mapped_column(String(64), default="")
    sealing_key: Mapped[str] = mapped_column(String(64), default="", server_default="")
    revoked_at: Mapped[float | None] = mapped_column(Float)
    retired_at: Mapped[float | None] = mapped_column(Float)
    labels: Mapped[dict[str, str]]
    token_hash: Mapped[str] = mapped_column(HASH, unique=True)
    broker_hash: Mapped[str] = mapped_column(String(200))
    presence: Mapped[str] = mapped_column(String(16), default="never")
    presence_at: Mapped[float | None] = mapped_column(Float)
    agent_version: Mapped[str] = mapped_column(String(64), default="")
    last_seen_at: Mapped[float | None] = mapped_column(Float)
    reported: Mapped[dict[str, Any] | None]
    reported_at: Mapped[float | None] = mapped_column(Float)
    health: Mapped[dict[str, Any] | None]
    health_at: Mapped[float | None] = mapped_column(Float)


class DiagnosticsRow(Base):
    """A bundle that a device has sent because it was asked to; its bytes are in the object store."""

    __tablename__ = "diagnostics"

    id: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, index=True)
    asked_at: Mapped[float] = mapped_column(Float)
    asked_by: Mapped[str] = mapped_column(ACTOR)
    received_at: Mapped[float | None] = mapped_column(Float)
    digest: Mapped[str | None] = mapped_column(DIGEST)
    size_bytes: Mapped[int] = mapped_column(BigInteger, default=0)


class Certificate(Base):
    """A device's certificate. Rows stay until the certificate is over."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(64), primary_key=True)
    device: Mapped[str] = mapped_column(NAME, index=True)
    issued_at: Mapped[float] = mapped_column(Float)
    not_after: Mapped[float] = mapped_column(Float, index=True)
    revoked_at: Mapped[float | None] = mapped_column(Float)


class Secret(Base):
    """A secret of a device, sealed to the device's key: nothing here can open it."""

    __tablename__ = "secrets"

    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    sealed: Mapped[str] = mapped_column(Text)
    set_at: Mapped[float] = mapped_column(Float)
    set_by: Mapped[str] = mapped_column(ACTOR)


class EnrolmentToken(Base):
    """A token for so many devices. `device` binds it to a name; `replace` lets that name be taken over by a new identity."""

    __tablename__ = "enrolment_tokens"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    device: Mapped[str | None] = mapped_column(NAME)
    replace: Mapped[bool] = mapped_column(default=False)
    labels: Mapped[dict[str, str]]
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)
    expires_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float | None] = mapped_column(Float)
    used_by: Mapped[str | None] = mapped_column(NAME)
    uses: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    used: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    revoked_at: Mapped[float | None] = mapped_column(Float)


class ApiToken(Base):
    """A bearer token of a person or program. `owner` is the user it speaks for, whose rights bound its own."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    hash: Mapped[str] = mapped_column(HASH, unique=True)
    name: Mapped[str] = mapped_column(NAME)
    role: Mapped[str] = mapped_column(String(16))
    selector: Mapped[str] = mapped_column(Text, default="", server_default="")
    owner: Mapped[str | None] = mapped_column(NAME, index=True)
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)
    expires_at: Mapped[float | None] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)
    last_used_at: Mapped[float | None] = mapped_column(Float)


class StoredObject(Base):
    """Bytes in the object store, named by their SHA-256."""

    __tablename__ = "objects"

    digest: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float] = mapped_column(Float)


class ArtifactFile(Base):
    """Which objects an artifact (a model's manifest) consists of."""

    __tablename__ = "artifact_files"

    artifact: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    path: Mapped[str] = mapped_column(String(200), primary_key=True)
    digest: Mapped[str] = mapped_column(ForeignKey("objects.digest"), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class Version(Base):
    """An immutable version of a model or a workflow. `kind` is model or workflow; versions of a name count from 1."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("kind", "name", "digest"),)

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(ForeignKey("objects.digest"), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    card: Mapped[dict[str, Any]]
    notes: Mapped[dict[str, Any] | None]
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)


class Alias(Base):
    """A name that points to a version of a model or a workflow (`yolox@production`) and may be moved."""

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["kind", "name", "version"], ["versions.kind", "versions.name", "versions.version"]
        ),
    )

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    alias: Mapped[str] = mapped_column(NAME, primary_key=True)
    version: Mapped[int] = mapped_column(Integer)
    set_at: Mapped[float] = mapped_column(Float)
    set_by: Mapped[str] = mapped_column(ACTOR)


class DesiredRevision(Base):
    """A desired state of one device: the document and its signed form."""

    __tablename__ = "desired"

    device: Mapped[str] = mapped_column(ForeignKey("devices.id"), primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    document: Mapped[dict[str, Any]]
    signed: Mapped[dict[str, Any]]
    digests: Mapped[list[str]]
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)
    expires_at: Mapped[float | None] = mapped_column(Float)


class RevisionRun(Base):
    """A revision that a device has run, and about when it last said so: it may go back there."""

    __tablename__ = "revisions_run"

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    revision: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    last_at: Mapped[float] = mapped_column(Float)


class EventRow(Base):
    """One event. `id` is the envelope's: a second delivery by the same device finds it taken. `workflow` is a digest, `kind` of
    `fleet.events.filter`."""

    __tablename__ = "events"
    __table_args__ = (
        UniqueConstraint("device", "id"),
        Index("ix_events_device_row", "device", "row"),
        {"sqlite_autoincrement": True},  # cursors stay right when the newest rows are deleted
    )

    row: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(128))
    device: Mapped[str] = mapped_column(NAME)
    camera: Mapped[str] = mapped_column(NAME)
    frame_seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[float] = mapped_column(Float)
    received_at: Mapped[float] = mapped_column(Float, index=True)
    body: Mapped[dict[str, Any]]
    workflow: Mapped[str] = mapped_column(DIGEST, default="", server_default="")
    kind: Mapped[str] = mapped_column(String(16), default="result", server_default="result")


class ClipRow(Base):
    """A film that a device has uploaded; its bytes are in the object store. Times `*_wall` are the device's."""

    __tablename__ = "clips"

    device: Mapped[str] = mapped_column(NAME, primary_key=True)
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    camera: Mapped[str] = mapped_column(NAME)
    media_type: Mapped[str] = mapped_column(String(64))
    from_wall: Mapped[float] = mapped_column(Float)
    to_wall: Mapped[float] = mapped_column(Float)
    frames: Mapped[int] = mapped_column(Integer)
    width: Mapped[int] = mapped_column(Integer)
    height: Mapped[int] = mapped_column(Integer)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str] = mapped_column(DIGEST, index=True)
    received_at: Mapped[float] = mapped_column(Float, index=True)


class ResponseRow(Base):
    """A command and, once it has come, the answer to it. `envelope` is what was sent, for devices that ask over HTTPS."""

    __tablename__ = "responses"

    rid: Mapped[str] = mapped_column(NAME, primary_key=True)
    device: Mapped[str] = mapped_column(NAME, index=True)
    name: Mapped[str] = mapped_column(NAME)
    issued_at: Mapped[float] = mapped_column(Float)
    issued_by: Mapped[str] = mapped_column(ACTOR)
    expires_at: Mapped[float] = mapped_column(Float)
    answered_at: Mapped[float | None] = mapped_column(Float)
    body: Mapped[dict[str, Any] | None]
    envelope: Mapped[str | None] = mapped_column(Text)


class BenchRow(Base):
    """A model measured on a device. `engine` is in words; `hardware` the machine's name; `figures` all of it."""

    __tablename__ = "benchmarks"
    __table_args__ = (Index("ix_benchmarks_digest_device", "digest", "device"),)

    row: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    device: Mapped[str] = mapped_column(NAME)
    at: Mapped[float] = mapped_column(Float)
    model: Mapped[str] = mapped_column(String(128))
    digest: Mapped[str] = mapped_column(DIGEST)
    engine: Mapped[str] = mapped_column(String(256))
    hardware: Mapped[str] = mapped_column(String(256))
    figures: Mapped[dict[str, Any]]


class TrustFile(Base):
    """A version of a metadata file of the update framework, as it is served. Never changed."""

    __tablename__ = "trust_files"

    role: Mapped[str] = mapped_column(NAME, primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float)


class TrustDraft(Base):
    """The next version of root or targets, waiting for signatures."""

    __tablename__ = "trust_drafts"

    role: Mapped[str] = mapped_column(NAME, primary_key=True)
    content: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float] = mapped_column(Float)


class AuditRow(Base):
    """Who did what to what. Never changed, never deleted; `hash` covers the row and the hash of the row before (fleet.chain)."""

    __tablename__ = "audit"
    row: Mapped[int] = mapped_column(ROW_ID, primary_key=True, autoincrement=True)
    seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    actor: Mapped[str] = mapped_column(ACTOR, index=True)
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]]
    request_id: Mapped[str] = mapped_column(NAME, default="", server_default="")
    before: Mapped[str | None] = mapped_column(DIGEST)
    after: Mapped[str | None] = mapped_column(DIGEST)
    hash: Mapped[str] = mapped_column(HASH)


class AuditHead(Base):
    """The end of the audit log: how many rows, and the hash of the last. One row; locked by each writer of the log."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    count: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[str] = mapped_column(HASH)


class LeaseRow(Base):
    """What only one replica may do (`leader`), and which replicas live (`replica:CLIENT-ID`). See fleet.lease."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    holder: Mapped[str] = mapped_column(String(128))
    token: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[float] = mapped_column(Float)
