"""The tables of people: users, what each may do, sessions, failed sign-ins; and answers kept for repeated requests."""

from __future__ import annotations

from sqlalchemy import Boolean, Float, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from fleet.tables import ACTOR, DIGEST, HASH, NAME, Base


class User(Base):
    """A person. `password_hash` is argon2id, absent for people of an identity provider; `subject` is `issuer|sub`."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    full_name: Mapped[str] = mapped_column(String(128), default="")
    password_hash: Mapped[str | None] = mapped_column(String(256))
    subject: Mapped[str | None] = mapped_column(String(512), unique=True)
    disabled: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[float] = mapped_column(Float)
    created_by: Mapped[str] = mapped_column(ACTOR)
    last_sign_in_at: Mapped[float | None] = mapped_column(Float)


class Binding(Base):
    """A role that a user has on the devices of a selector; the empty selector is the whole fleet."""

    __tablename__ = "bindings"

    user: Mapped[str] = mapped_column(ForeignKey("users.name"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    role: Mapped[str] = mapped_column(String(16))
    selector: Mapped[str] = mapped_column(Text, default="")


class SessionRow(Base):
    """A signed-in browser, by the SHA-256 of its cookie."""

    __tablename__ = "sessions"

    hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    user: Mapped[str] = mapped_column(ForeignKey("users.name"), index=True)
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[float] = mapped_column(Float)
    used_at: Mapped[float] = mapped_column(Float)
    expires_at: Mapped[float] = mapped_column(Float, index=True)


class Attempts(Base):
    """Failed sign-ins of a name, an address or both, by the SHA-256 of which it is."""

    __tablename__ = "sign_in_attempts"

    key: Mapped[str] = mapped_column(HASH, primary_key=True)
    failures: Mapped[int] = mapped_column(Integer)
    last_at: Mapped[float] = mapped_column(Float, index=True)


class ProviderLogin(Base):
    """A sign-in that is on its way over the identity provider, by the SHA-256 of its state."""

    __tablename__ = "provider_logins"

    state: Mapped[str] = mapped_column(HASH, primary_key=True)
    nonce: Mapped[str] = mapped_column(String(64))
    verifier: Mapped[str] = mapped_column(String(128))
    expires_at: Mapped[float] = mapped_column(Float, index=True)


class KeptAnswer(Base):
    """The answer to a request with an idempotency key, sealed to whoever asked. Without one it is being worked on."""

    __tablename__ = "kept_answers"

    key: Mapped[str] = mapped_column(HASH, primary_key=True)
    request: Mapped[str] = mapped_column(DIGEST)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    expires_at: Mapped[float] = mapped_column(Float, index=True)
