"""Run by Alembic. The URL comes from `fleet.db`; there is no ini file."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, func, select

from fleet.db import MIGRATION_LOCK
from fleet.schema import Base


def _run() -> None:
    engine = create_engine(context.config.attributes["url"])
    try:
        with engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(select(func.pg_advisory_lock(MIGRATION_LOCK)))
                connection.commit()
            context.configure(connection, target_metadata=Base.metadata, render_as_batch=True)
            with context.begin_transaction():
                context.run_migrations()
    finally:
        engine.dispose()


_run()
