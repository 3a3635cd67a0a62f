"""Rows into a table of SQLite or PostgreSQL, by the drivers themselves: an INSERT needs no mapper."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.sinks.sender import Undelivered

Row = dict[str, Any]


@dataclass(frozen=True)
class Insert:
    """Rows with the same columns, in one transaction. `file`: an SQLite database; else PostgreSQL at `host`.
    `create`: make a table that is not there (SQLite only)."""

    table: str
    rows: Sequence[Row]
    file: str = ""
    create: bool = False
    host: str = ""
    port: int = 5432
    database: str = ""
    user: str = ""
    password: str = ""
    schema: str = "public"
    sslmode: str = "require"
    connect_timeout_s: int = 10
    statement_timeout_ms: int = 10000


def rows_of(data: Any) -> list[Row]:
    """One row or several, checked: every row an object with the same columns.

    :raises ValueError: what is wrong
    """
    rows = [data] if isinstance(data, dict) else data
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) and row for row in rows):
        raise ValueError("data must be an object, or a list of objects, with a value for each column")
    columns = set(rows[0])
    if any(set(row) != columns for row in rows):
        raise ValueError("all rows must have the same columns")
    if any(not isinstance(name, str) or not name or "\0" in name for name in columns):
        raise ValueError("names of columns must be texts without a NUL")
    return rows


class SqlSender:
    """Keeps one connection; a failure makes a new one."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._key: tuple[Any, ...] = ()

    def send(self, body: Callable[[], Insert]) -> int:
        """The number of rows."""
        insert = body()
        if insert.file:
            self._sqlite(insert)
        else:
            self._postgresql(insert)
        return len(insert.rows)

    def _sqlite(self, insert: Insert) -> None:
        import sqlite3

        try:
            connection = self._kept(
                (insert.file,), lambda: sqlite3.connect(insert.file, timeout=5.0, check_same_thread=False)
            )
            columns = list(insert.rows[0])
            names = ", ".join(map(quoted, columns))
            with connection:
                if insert.create:
                    connection.execute(f"CREATE TABLE IF NOT EXISTS {quoted(insert.table)} ({names})")
                marks = ", ".join("?" * len(columns))
                statement = f"INSERT INTO {quoted(insert.table)} ({names}) VALUES ({marks})"
                connection.executemany(
                    statement, [tuple(_value(row[c]) for c in columns) for row in insert.rows]
                )
        except sqlite3.Error as e:
            self.close()
            locked = "locked" in str(e) or "busy" in str(e) or "disk" in str(e) or "unable to open" in str(e)
            raise Undelivered(f"SQLite {insert.file}: {e}", again=locked) from e

    def _postgresql(self, insert: Insert) -> None:
        import psycopg
        from psycopg import sql

        place = f"PostgreSQL {insert.host}:{insert.port}/{insert.database}"
        try:
            connection = self._kept(_address(insert), lambda: _connect(insert))
            columns = list(insert.rows[0])
            statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
                sql.Identifier(insert.schema, insert.table),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join(sql.Placeholder() for _ in columns),
            )
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(statement, [tuple(_value(row[c]) for c in columns) for row in insert.rows])
        except psycopg.OperationalError as e:
            self.close()
            raise Undelivered(f"{place}: {_reason(e)}") from e
        except psycopg.Error as e:
            # The server's own words may hold values of the row.
            self.close()
            raise Undelivered(f"{place} refuses the row ({_reason(e)})", again=False) from e

    def _kept(self, key: tuple[Any, ...], connect: Callable[[], Any]) -> Any:
        if self._connection is None or self._key != key:
            self.close()
            self._connection, self._key = connect(), key
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _address(insert: Insert) -> tuple[Any, ...]:
    return (insert.host, insert.port, insert.database, insert.user, insert.password, insert.sslmode)


def _connect(insert: Insert) -> Any:
    import psycopg

    return psycopg.connect(
        host=insert.host,
        port=insert.port,
        dbname=insert.database,
        user=insert.user,
        password=insert.password or None,
        sslmode=insert.sslmode,
        connect_timeout=insert.connect_timeout_s,
        options=f"-c statement_timeout={insert.statement_timeout_ms}",
        autocommit=True,
    )


def _reason(error: Any) -> str:
    state = getattr(error, "sqlstate", None)
    return (
        f"SQLSTATE {state}" if state else str(error).splitlines()[0][:200] if str(error) else "no connection"
    )


def quoted(name: str) -> str:
    """An identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def _value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list)) else value
