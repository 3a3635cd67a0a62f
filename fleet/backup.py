"""A control plane in one file: every row as of one moment, the keys sealed with a passphrase, the objects; and the way back.

Rows are JSON lines by table, so that a backup of SQLite can be restored into PostgreSQL and the other way round. It is made while the control
plane runs; it is restored into an empty directory and an empty database.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from sqlalchemy import Connection, Table, func, insert, select, text

from fleet.config import Config, DataDir, load
from fleet.db import Database, check_schema, migrate, schema_of
from fleet.errors import Misconfigured, Refused, Taken
from fleet.files import write_atomic
from fleet.objects import Objects, open_objects
from fleet.schema import Base
from fleet.tables import StoredObject
from wire.reasons import Reason

FORMAT = 1
SEALED = ("fleet.toml", "admin-token", "keys", "offline")
"""What is sealed: everything that is a secret or may hold one."""
NONCE_BYTES, SALT_BYTES = 12, 16
SCRYPT = {"length": 32, "n": 2**15, "r": 8, "p": 1}
CHUNK_ROWS = 500
PART_BYTES = 4 * 1024 * 1024
BINARY = "$base64"


@dataclass(frozen=True)
class Contents:
    """What a backup holds."""

    rows: int
    objects: int
    keys: bool


def make(data: DataDir, target: Path, passphrase: str | None, *, with_objects: bool) -> Contents:
    """Write a backup; without a passphrase it holds no keys and no configuration.

    :raises Misconfigured: the directory or its database cannot be used
    :raises OSError: no room
    """
    config = load(data)
    database = Database(data.database_url(config))
    partial = target.with_name(f".{target.name}.part")
    try:
        check_schema(database)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w|gz") as tar:
                made = _write(tar, data, config, database, passphrase, with_objects)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
        database.close()
    return made


def _write(
    tar: tarfile.TarFile,
    data: DataDir,
    config: Config,
    database: Database,
    passphrase: str | None,
    with_objects: bool,
) -> Contents:
    about = {
        "format": FORMAT,
        "schema": schema_of(database),
        "fleet": config.fleet,
        "keys": passphrase is not None,
    }
    _add(tar, "backup.json", json.dumps(about).encode())
    if passphrase is not None:
        _add(tar, "keys.sealed", _seal(_packed(data.root), passphrase))
    rows, digests = 0, []
    with database.engine.connect().execution_options(isolation_level=_snapshot(database)) as connection:
        for table in Base.metadata.sorted_tables:
            for n, part in enumerate(_parts(connection, table)):
                _add(tar, f"tables/{table.name}/{n:06}.jsonl", part)
                rows += part.count(b"\n")
        digests = list(connection.scalars(select(StoredObject.digest)))
    if with_objects:
        objects = open_objects(config.objects, data.objects, os.environ)
        asyncio.run(_write_objects(tar, objects, database, digests))
    return Contents(rows, len(digests) if with_objects else 0, passphrase is not None)


def _snapshot(database: Database) -> str:
    """The isolation in which all reads see one moment; SQLite's transactions do."""
    return "REPEATABLE READ" if database.engine.dialect.name == "postgresql" else "SERIALIZABLE"


def _parts(connection: Connection, table: Table) -> Iterator[bytes]:
    part = io.BytesIO()
    for row in connection.execution_options(yield_per=CHUNK_ROWS).execute(select(table)):
        line = json.dumps(dict(row._mapping), default=_binary, ensure_ascii=False)
        part.write(line.encode() + b"\n")
        if part.tell() > PART_BYTES:
            yield part.getvalue()
            part = io.BytesIO()
    if part.tell():
        yield part.getvalue()


def _binary(value: object) -> dict[str, str]:
    if isinstance(value, (bytes, memoryview)):
        return {BINARY: base64.b64encode(bytes(value)).decode()}
    raise TypeError(f"{type(value).__name__} has no place in a backup")


async def _write_objects(
    tar: tarfile.TarFile, objects: Objects, database: Database, digests: list[str]
) -> None:
    with database.read() as session:
        sizes = {row.digest: row.size_bytes for row in session.scalars(select(StoredObject))}
    for digest in digests:
        content = b"".join([chunk async for chunk in objects.stream(digest, 0, sizes.get(digest, 0))])
        _add(tar, f"objects/{digest.partition(':')[2]}", content)


def restore(source: Path, root: Path, passphrase: str | None, config: Config | None = None) -> Contents:
    """Make a control plane of a backup in an empty directory; `config` goes before the one in the backup.

    :raises Taken: the directory or the database holds something
    :raises Refused: no backup, of another version, or the passphrase does not fit
    """
    data = DataDir(root)
    if data.root.is_dir() and any(data.root.iterdir()):
        raise Taken(Reason.NAME_TAKEN, f"{data.root} is not empty; restore into another directory")
    try:
        with tarfile.open(source, "r:gz") as tar:
            return _read(tar, data, passphrase, config)
    except (tarfile.TarError, KeyError, ValueError, EOFError) as e:
        raise Refused(Reason.MALFORMED, f"{source} is no whole backup of a control plane: {e}") from e


def _read(tar: tarfile.TarFile, data: DataDir, passphrase: str | None, config: Config | None) -> Contents:
    about = json.loads(_content(tar, tar.getmember("backup.json")))
    if about["format"] != FORMAT:
        raise Refused(
            Reason.UNKNOWN_VERSION, f"the backup has format {about['format']}, this version reads {FORMAT}"
        )
    if not about["keys"]:
        raise Refused(
            Reason.CONFIG_INVALID,
            "the backup holds no keys, and devices trust no other ones; restore one that was made with a passphrase",
        )
    if passphrase is None:
        raise Refused(Reason.SECRET_UNREADABLE, "the keys of the backup are sealed; give the passphrase")
    data.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    _lay_out(_unseal(_content(tar, tar.getmember("keys.sealed")), passphrase), data.root)
    config = config or load(data)
    for folder in (data.objects, data.uploads, data.broker):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = data.database_url(config)
    migrate(url)
    database = Database(url)
    try:
        if schema_of(database) != about["schema"]:
            raise Refused(
                Reason.UNKNOWN_VERSION,
                f"the backup has schema {about['schema']}, this version {schema_of(database)}: restore it with the "
                "version that made it, then `outrider fleet db upgrade`",
            )
        rows = _fill(tar, database)
        objects = asyncio.run(_read_objects(tar, open_objects(config.objects, data.objects, os.environ)))
    finally:
        database.close()
    return Contents(rows, objects, True)


def _fill(tar: tarfile.TarFile, database: Database) -> int:
    count = 0
    members = sorted(m.name for m in tar.getmembers() if m.name.startswith("tables/"))
    with database.write() as session:
        connection = session.connection()
        for table in Base.metadata.sorted_tables:
            if connection.scalar(select(func.count()).select_from(table)):
                if table.name == "audit_head":
                    connection.execute(table.delete())
                    continue
                raise Taken(
                    Reason.NAME_TAKEN, f"the database holds rows already ({table.name}); give an empty one"
                )
        for table in Base.metadata.sorted_tables:
            for name in members:
                if name.split("/")[1] == table.name:
                    lines = _content(tar, tar.getmember(name)).decode().splitlines()
                    rows = [_row(json.loads(line)) for line in lines]
                    connection.execute(insert(table), rows)
                    count += len(rows)
            _count_on(connection, table)
    return count


def _row(document: dict[str, Any]) -> dict[str, Any]:
    return {
        name: base64.b64decode(value[BINARY]) if isinstance(value, dict) and set(value) == {BINARY} else value
        for name, value in document.items()
    }


def _count_on(connection: Connection, table: Table) -> None:
    """PostgreSQL numbers new rows from where the restored ones end; SQLite does so by itself."""
    if connection.dialect.name != "postgresql" or table.autoincrement_column is None:
        return
    column = table.autoincrement_column.name
    sequence = connection.scalar(select(func.pg_get_serial_sequence(table.name, column)))
    if sequence is not None:
        most = f'(SELECT COALESCE(MAX("{column}"), 0) + 1 FROM "{table.name}")'
        connection.execute(text(f"SELECT setval('{sequence}', {most}, false)"))


async def _read_objects(tar: tarfile.TarFile, objects: Objects) -> int:
    count = 0
    for member in tar.getmembers():
        if not member.name.startswith("objects/"):
            continue
        content, digits = _content(tar, member), member.name.partition("/")[2]
        if hashlib.sha256(content).hexdigest() != digits:
            raise Refused(Reason.ARTIFACT_CORRUPT, f"object {digits[:12]}… of the backup has other bytes")
        await objects.put(f"sha256:{digits}", content)
        count += 1
    return count


def _packed(root: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in SEALED:
            if (root / name).exists():
                tar.add(root / name, name)
    return out.getvalue()


def _lay_out(content: bytes, root: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        for member in tar:
            path = root / member.name
            if not path.resolve().is_relative_to(root.resolve()):
                raise Refused(Reason.MALFORMED, f"the backup wants to write {member.name!r}")
            if member.isdir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif member.isfile():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomic(path, _content(tar, member), 0o600)


def _seal(content: bytes, passphrase: str) -> bytes:
    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    key = Scrypt(salt=salt, **SCRYPT).derive(passphrase.encode())
    return salt + nonce + ChaCha20Poly1305(key).encrypt(nonce, content, b"outrider-backup-1")


def _unseal(content: bytes, passphrase: str) -> bytes:
    salt, nonce = content[:SALT_BYTES], content[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
    key = Scrypt(salt=salt, **SCRYPT).derive(passphrase.encode())
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, content[SALT_BYTES + NONCE_BYTES :], b"outrider-backup-1")
    except InvalidTag as e:
        raise Refused(
            Reason.SECRET_UNREADABLE, "the passphrase does not fit the backup, or the backup is damaged"
        ) from e


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    tar.addfile(info, io.BytesIO(content))


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise Misconfigured(Reason.MALFORMED, f"{member.name} is no file")
    return file.read()
