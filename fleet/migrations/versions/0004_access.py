"""Users, sessions, rights by selector; the audit log chained; aliases; tokens for several devices"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from fleet import chain

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ACTORS = {"secrets": "set_by", "enrolment_tokens": "created_by", "api_tokens": "created_by"}
ACTORS |= {"versions": "created_by", "desired": "created_by", "responses": "issued_by"}


def upgrade() -> None:
    _people()
    _tokens()
    _registry()
    _audit()
    for table, column in ACTORS.items():
        with op.batch_alter_table(table) as batch:
            batch.alter_column(column, existing_type=sa.String(64), type_=sa.String(80))


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("full_name", sa.String(128), nullable=False),
        sa.Column("password_hash", sa.String(256), nullable=True),
        sa.Column("subject", sa.String(512), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("created_by", sa.String(80), nullable=False),
        sa.Column("last_sign_in_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_users")),
        sa.UniqueConstraint("subject", name=op.f("uq_users_subject")),
    )
    op.create_table(
        "bindings",
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("selector", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name=op.f("fk_bindings_user")),
        sa.PrimaryKeyConstraint("user", "place", name=op.f("pk_bindings")),
    )
    op.create_table(
        "sessions",
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("csrf", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.name"], name=op.f("fk_sessions_user")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user"), "sessions", ["user"])
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"])
    op.create_table(
        "sign_in_attempts",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_attempts")),
    )
    op.create_index(op.f("ix_sign_in_attempts_last_at"), "sign_in_attempts", ["last_at"])
    op.create_table(
        "provider_logins",
        sa.Column("state", sa.String(64), nullable=False),
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("verifier", sa.String(128), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_provider_logins")),
    )
    op.create_index(op.f("ix_provider_logins_expires_at"), "provider_logins", ["expires_at"])
    op.create_table(
        "kept_answers",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("request", sa.String(71), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_kept_answers")),
    )
    op.create_index(op.f("ix_kept_answers_expires_at"), "kept_answers", ["expires_at"])


def _tokens() -> None:
    with op.batch_alter_table("enrolment_tokens") as batch:
        batch.add_column(sa.Column("uses", sa.Integer(), server_default="1", nullable=False))
        batch.add_column(sa.Column("used", sa.Integer(), server_default="0", nullable=False))
        batch.add_column(sa.Column("revoked_at", sa.Float(), nullable=True))
    op.execute("UPDATE enrolment_tokens SET used = 1 WHERE used_at IS NOT NULL")
    with op.batch_alter_table("api_tokens") as batch:
        batch.add_column(sa.Column("selector", sa.Text(), server_default="", nullable=False))
        batch.add_column(sa.Column("owner", sa.String(64), nullable=True))
        batch.add_column(sa.Column("last_used_at", sa.Float(), nullable=True))
    op.create_index(op.f("ix_api_tokens_owner"), "api_tokens", ["owner"])


def _registry() -> None:
    with op.batch_alter_table("versions") as batch:
        batch.add_column(sa.Column("notes", sa.JSON(), nullable=True))
    op.create_table(
        "aliases",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("set_at", sa.Float(), nullable=False),
        sa.Column("set_by", sa.String(80), nullable=False),
        sa.ForeignKeyConstraint(
            ["kind", "name", "version"],
            ["versions.kind", "versions.name", "versions.version"],
            name=op.f("fk_aliases_kind"),
        ),
        sa.PrimaryKeyConstraint("kind", "name", "alias", name=op.f("pk_aliases")),
    )


def _audit() -> None:
    """What is in the log already becomes the first rows of the chain."""
    with op.batch_alter_table("audit") as batch:
        batch.add_column(sa.Column("seq", sa.BigInteger(), nullable=True))
        batch.add_column(sa.Column("request_id", sa.String(64), server_default="", nullable=False))
        batch.add_column(sa.Column("before", sa.String(71), nullable=True))
        batch.add_column(sa.Column("after", sa.String(71), nullable=True))
        batch.add_column(sa.Column("hash", sa.String(64), nullable=True))
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    _chain()
    with op.batch_alter_table("audit") as batch:
        batch.alter_column("seq", existing_type=sa.BigInteger(), nullable=False)
        batch.alter_column("hash", existing_type=sa.String(64), nullable=False)
        batch.create_unique_constraint(op.f("uq_audit_seq"), ["seq"])
        batch.create_index(op.f("ix_audit_actor"), ["actor"])


def _chain() -> None:
    names = ("row", "seq", "at", "actor", "action", "subject", "request_id", "before", "after", "hash")
    audit = sa.table("audit", *(sa.column(name) for name in names), sa.column("detail", sa.JSON()))
    connection = op.get_bind()
    count, previous = 0, chain.START
    for row in connection.execute(sa.select(audit).order_by(audit.c.row)).mappings().all():
        count += 1
        previous = chain.link({**row, "seq": count}, previous)
        change = sa.update(audit).where(audit.c.row == row["row"]).values(seq=count, hash=previous)
        connection.execute(change)
    head = sa.table("audit_head", sa.column("id"), sa.column("count"), sa.column("hash"))
    connection.execute(sa.insert(head).values(id=1, count=count, hash=previous))


def downgrade() -> None:
    for table, column in ACTORS.items():
        with op.batch_alter_table(table) as batch:
            batch.alter_column(column, existing_type=sa.String(80), type_=sa.String(64))
    op.drop_table("audit_head")
    with op.batch_alter_table("audit") as batch:
        batch.drop_index(op.f("ix_audit_actor"))
        batch.drop_constraint(op.f("uq_audit_seq"), type_="unique")
        for name in ("hash", "after", "before", "request_id", "seq"):
            batch.drop_column(name)
    op.drop_table("aliases")
    with op.batch_alter_table("versions") as batch:
        batch.drop_column("notes")
    op.drop_index(op.f("ix_api_tokens_owner"), "api_tokens")
    for table, names in {
        "api_tokens": ("last_used_at", "owner", "selector"),
        "enrolment_tokens": ("revoked_at", "used", "uses"),
    }.items():
        with op.batch_alter_table(table) as batch:
            for name in names:
                batch.drop_column(name)
    for table in ("kept_answers", "provider_logins", "sign_in_attempts", "sessions", "bindings", "users"):
        op.drop_table(table)
