"""Sinks that keep records: files on the device, rows in a database."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from runtime.sinks.files import Entry, FileSender, Rotation, inside
from runtime.sinks.lane import RECORD
from runtime.sinks.sender import Sender, require
from runtime.sinks.sql import Insert, Row, SqlSender, rows_of
from runtime.workflow.block import Surroundings
from runtime.workflow.fields import (
    BOOLEAN,
    DICTIONARY,
    FLOAT,
    IMAGE,
    INTEGER,
    LIST,
    STRING,
    Anything,
    Choice,
    Field,
    Flag,
    Number,
    Report,
    Text,
    dictionary,
    kinds,
    need,
    option,
)
from runtime.workflow.serialise import to_json
from runtime.workflow.sinkblock import (
    COOLING,
    DISABLE_SINK,
    DISABLED,
    FIRE_AND_FORGET,
    STATUS,
    THROTTLED_STATUS,
    SinkBlock,
    cooldown,
    secret,
)
from runtime.workflow.values import ImageValue
from wire.secret import Secret

Told = tuple[bool, str]


class Record(SinkBlock):
    limits = RECORD


class FileRecord(Record):
    """Files lie below the device's folder for them."""

    def sender(self) -> Sender:
        return FileSender()

    def write(
        self,
        directory: str,
        prefix: str,
        suffix: str,
        content: Callable[[], bytes],
        size_bytes: int,
        rotation: Rotation,
        *,
        append: bool,
        header: bytes = b"",
        wait: bool = False,
    ) -> Told:
        if "/" in prefix or "\0" in prefix:
            return True, f"file_name_prefix {prefix!r} has a / in it: give a name without"
        try:
            folder = inside(self.around.desk.files, directory)
        except (ValueError, OSError) as e:
            return True, str(e)
        at_wall = self.around.clock_wall()
        body = Entry(folder, prefix, suffix, content, append, rotation, header, at_wall)
        error, message, _ = self.deliver(body, size_bytes, wait=wait)
        return error, message


class LocalFileSink(FileRecord):
    types = ("roboflow_core/local_file_sink@v1",)
    title = "Local file"
    outputs = STATUS
    fields = (
        Field("content", kinds(STRING)),
        option("file_type", Choice(("csv", "json", "txt")), "csv"),
        Field("output_mode", literal=Choice(("append_log", "separate_files"))),
        need("target_directory", Text(1024), STRING),
        option("file_name_prefix", Text(256), "workflow_output", STRING),
        option("max_entries_per_file", Number(1, integer=True), 1024, STRING, INTEGER),
    )

    def run(
        self,
        content: str,
        file_type: str,
        output_mode: str,
        target_directory: str,
        file_name_prefix: str,
        max_entries_per_file: int,
    ) -> Told:
        append = output_mode == "append_log"
        header, suffix = "", file_type
        if append and file_type == "json":
            suffix = "jsonl"
            try:
                content = json.dumps(json.loads(content))
            except (ValueError, RecursionError):
                return True, "Invalid JSON content"
        elif append and file_type == "csv":
            header, _, content = content.partition("\n")
            header += "\n"
        if not content.endswith("\n"):
            content += "\n"
        data = content.encode()
        return self.write(
            target_directory,
            file_name_prefix,
            suffix,
            lambda: data,
            len(data),
            Rotation(max_entries=int(max_entries_per_file)),
            append=append,
            header=header.encode(),
        )


class FileSink(FileRecord):
    """JSON lines or CSV of named values, or a JPEG an entry; rotated by entries, size and age, the oldest deleted."""

    types = ("outrider/file_sink@v1",)
    title = "File"
    outputs = THROTTLED_STATUS
    fields = (
        option("format", Choice(("jsonl", "csv", "jpeg")), "jsonl"),
        dictionary("data", required=False),
        Field("image", kinds(IMAGE), required=False),
        need("directory", Text(1024), STRING),
        option("file_name_prefix", Text(256), "outrider", STRING),
        option("max_entries", Number(1, integer=True), 100_000, INTEGER),
        option("max_bytes", Number(1024, integer=True), 16 * 1024 * 1024, INTEGER),
        option("max_age_seconds", Number(above=0), 86400, INTEGER, FLOAT),
        option("keep_bytes", Number(0, integer=True), 512 * 1024 * 1024, INTEGER),
        option("keep_age_seconds", Number(0), 0, INTEGER, FLOAT),
        DISABLE_SINK,
        cooldown(0),
    )

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        wanted = "image" if step.get("format") == "jpeg" else "data"
        if not step.get(wanted):
            report.add(f"{path}.{wanted}", f"is missing, and format {step.get('format', 'jsonl')} needs it")

    def run(
        self,
        format: str,
        data: dict[str, Any],
        image: ImageValue | None,
        directory: str,
        file_name_prefix: str,
        max_entries: int,
        max_bytes: int,
        max_age_seconds: float,
        keep_bytes: int,
        keep_age_seconds: float,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> tuple[bool, bool, str]:
        if disable_sink:
            return False, False, DISABLED
        if why := self.kept_back(data, image if format == "jpeg" else None, where="device"):
            return True, False, why
        if self.throttled(cooldown_seconds):
            return False, True, COOLING
        rotation = Rotation(max_entries, max_bytes, max_age_seconds, keep_bytes, keep_age_seconds)
        if format == "jpeg" and image is not None:
            leaving = self.around.desk.pictures.leaving(image)
            error, message = self.write(
                directory,
                file_name_prefix,
                "jpg",
                leaving.jpeg,
                leaving.size_bytes,
                rotation,
                append=False,
            )
            return error, False, message
        stamped = {"time": self.around.clock_wall(), **to_json(data)}
        line = _csv(list(stamped.values())) if format == "csv" else json.dumps(stamped).encode() + b"\n"
        header = _csv(list(stamped)) if format == "csv" else b""
        error, message = self.write(
            directory,
            file_name_prefix,
            format,
            lambda: line,
            len(line),
            rotation,
            append=True,
            header=header,
        )
        return error, False, message


def _csv(values: list[Any]) -> bytes:
    out = io.StringIO()
    plain = [json.dumps(value) if isinstance(value, (dict, list)) else value for value in values]
    csv.writer(out, lineterminator="\n").writerow(plain)
    return out.getvalue().encode()


ROWS = Field("data", kinds(DICTIONARY, LIST), Anything())


class Insertion(Record):
    """An INSERT of one row or several."""

    def sender(self) -> Sender:
        return SqlSender()

    def insert(self, data: Any, body: Callable[[list[Row]], Insert], *, wait: bool) -> Told:
        try:
            rows = rows_of(to_json(data))
        except ValueError as e:
            return True, str(e)
        error, message, count = self.deliver(lambda: body(rows), len(json.dumps(rows)), wait=wait)
        return error, f"Successfully inserted {count} records" if count is not None else message


class PostgresqlSink(Insertion):
    types = ("roboflow_core/postgresql_sink@v1",)
    title = "PostgreSQL"
    library = "psycopg"
    outputs = STATUS
    fields = (
        need("host", Text(256), STRING),
        need("database", Text(256), STRING),
        need("username", Text(256), STRING),
        secret("password"),
        option("port", Number(1, 65535, integer=True), 5432, INTEGER),
        option("schema_name", Text(256), "public", STRING),
        need("table_name", Text(256), STRING),
        ROWS,
        FIRE_AND_FORGET,
        option(
            "sslmode",
            Choice(("disable", "allow", "prefer", "require", "verify-ca", "verify-full")),
            "require",
            STRING,
        ),
        option("connect_timeout", Number(1, 60, integer=True), 10, INTEGER),
        option("statement_timeout", Number(1, 2**31 - 1, integer=True), 10000, INTEGER),
    )

    def run(
        self,
        host: str,
        database: str,
        username: str,
        password: Secret | str | None,
        port: int,
        schema_name: str,
        table_name: str,
        data: Any,
        fire_and_forget: bool,
        sslmode: str,
        connect_timeout: int,
        statement_timeout: int,
    ) -> Told:
        hidden, vault = self.secret(password), self.around.desk.vault

        def body(rows: list[Row]) -> Insert:
            return Insert(
                table_name,
                rows,
                host=host,
                port=port,
                database=database,
                user=username,
                password=vault.open(hidden),
                schema=schema_name,
                sslmode=sslmode,
                connect_timeout_s=connect_timeout,
                statement_timeout_ms=statement_timeout,
            )

        return self.insert(data, body, wait=not fire_and_forget)


class SqlInsert(Insertion):
    """`database`: `sqlite:FILE` below the device's folder for files, or `postgresql://user@host:port/name?sslmode=…`."""

    types = ("outrider/sql_insert@v1",)
    title = "SQL insert"
    outputs = THROTTLED_STATUS
    fields = (
        Field("database", literal=Text(2048)),
        secret("password"),
        need("table", Text(256), STRING),
        option("schema_name", Text(256), "public", STRING),
        dictionary("data"),
        option("create_table", Flag(), True, BOOLEAN),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(0),
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._checked = False

    @classmethod
    def check(cls, step: Mapping[str, Any], path: str, report: Report) -> None:
        database = step["database"]
        if database.startswith("sqlite:") and len(database) > 7:
            return
        parts = urlsplit(database)
        if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or parts.password:
            report.add(
                f"{path}.database",
                "is no database that rows can go to",
                "sqlite:FILE, or postgresql://user@host:port/name",
                "a password goes into the field password",
            )

    def run(
        self,
        database: str,
        password: Secret | str | None,
        table: str,
        schema_name: str,
        data: dict[str, Any],
        create_table: bool,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
    ) -> tuple[bool, bool, str]:
        if disable_sink:
            return False, False, DISABLED
        if self.throttled(cooldown_seconds):
            return False, True, COOLING
        try:
            body = self._body(database, self.secret(password), table, schema_name, create_table)
        except (ValueError, OSError) as e:
            return True, False, str(e)
        error, message = self.insert(data, body, wait=not fire_and_forget)
        return error, False, message

    def _body(
        self, database: str, password: Secret, table: str, schema: str, create: bool
    ) -> Callable[[list[Row]], Insert]:
        if database.startswith("sqlite:"):
            file = inside(self.around.desk.files, database.removeprefix("sqlite:"))
            file.parent.mkdir(parents=True, exist_ok=True)
            return lambda rows: Insert(table, rows, file=str(file), create=create)
        if not self._checked:
            require("psycopg", self.around.step)
            self._checked = True
        parts, vault = urlsplit(database), self.around.desk.vault
        sslmode = parse_qs(parts.query).get("sslmode", ["prefer"])[0]
        return lambda rows: Insert(
            table,
            rows,
            host=parts.hostname or "",
            port=parts.port or 5432,
            database=parts.path.lstrip("/"),
            user=unquote(parts.username or ""),
            password=vault.open(password),
            schema=schema,
            sslmode=sslmode,
        )


BLOCKS = (LocalFileSink, FileSink, PostgresqlSink, SqlInsert)
