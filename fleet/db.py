"""The database: connections, transactions, migrations.

SQLite runs in WAL mode with synchronous=FULL, because a revision that was published must not be forgotten by a power
cut. Writing transactions begin IMMEDIATE, so that two of them queue up instead of failing in the middle. PostgreSQL is given the
same order by an advisory lock, which every process of the fleet takes: what is read in a writing transaction stays true until its end. Alembic, 12 MB,
is imported only where the schema is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, func, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from fleet import jsontext
from fleet.errors import Misconfigured
from wire.reasons import Reason

if TYPE_CHECKING:
    from alembic.config import Config as AlembicConfig

BUSY_TIMEOUT_MS = 10_000
"""How long a writer waits for another one."""

WRITER_LOCK = 7_041_776
"""The key of PostgreSQL's advisory lock of the one writer."""
MIGRATION_LOCK = 7_041_777
POOL_CONNECTIONS = 10
POOL_EXTRA_CONNECTIONS = 30
"""The API's threads (40) ask besides the ingest and the maintenance."""

_WRITE = "outrider_write"


class Database:
    """Sessions for reading and for writing. Thread-safe; close it when done."""

    def __init__(self, url: str) -> None:
        pool: dict[str, Any] = {} if url.startswith("sqlite") else _POOL
        self.engine = create_engine(url, json_serializer=jsontext.column, **pool)
        self._sqlite = self.engine.dialect.name == "sqlite"
        if self._sqlite:
            _prepare_sqlite(self.engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the database and changes nothing."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Session]:
        """A transaction: committed at the end of the block, rolled back on an exception. One at a time in the whole fleet; with
        `alone` false, where the database can, beside others: for what does not decide by what it has read."""
        engine = self.engine.execution_options(**{_WRITE: True})
        with Session(engine, expire_on_commit=False) as session, session.begin():
            if alone and not self._sqlite:
                session.execute(text(f"SET LOCAL lock_timeout = {BUSY_TIMEOUT_MS}"))
                session.execute(select(func.pg_advisory_xact_lock(WRITER_LOCK)))
            yield session

    def close(self) -> None:
        self.engine.dispose()


_POOL: dict[str, Any] = {
    "pool_pre_ping": True,
    "pool_size": POOL_CONNECTIONS,
    "max_overflow": POOL_EXTRA_CONNECTIONS,
    "connect_args": {"connect_timeout": 10},
}


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is ours
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def insert_ignoring(session: Session, table: Any, rows: Sequence[dict[str, Any]]) -> int:
    """Insert the rows, passing over those whose key is taken; how many were new."""
    if not rows:
        return 0
    target: Table = table.__table__
    if session.get_bind().dialect.name == "postgresql":
        inserted = postgresql.insert(target).values(list(rows)).on_conflict_do_nothing()
        return len(session.execute(inserted.returning(literal_column("1"))).all())
    new = 0
    for row in rows:
        outcome: Any = session.execute(sqlite.insert(target).values(row).on_conflict_do_nothing())
        new += int(outcome.rowcount)
    return new


def migrate(url: str) -> None:
    """Bring the database to the schema of this version, creating it where there is none."""
    from alembic import command

    command.upgrade(_alembic(url), "head")


def schema_of(database: Database) -> str:
    """The revision of the database's schema; empty where it has none.

    :raises Misconfigured: the database cannot be reached
    """
    from alembic.runtime.migration import MigrationContext

    try:
        with database.engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""
    except OperationalError as e:
        raise Misconfigured(Reason.CONFIG_INVALID, f"the database cannot be opened: {e.orig}") from e


def check_schema(database: Database) -> None:
    """:raises Misconfigured: the database cannot be reached, or its schema is not the one of this version"""
    from alembic.script import ScriptDirectory

    want = ScriptDirectory.from_config(_alembic("")).get_current_head()
    got = schema_of(database)
    if got != want:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"the database has schema {got or 'none'}, this version needs {want}; "
            "stop every control plane, make a backup, run `outrider fleet db upgrade DIR`",
        )


def _alembic(url: str) -> AlembicConfig:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    return config
