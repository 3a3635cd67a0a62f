"""What a control plane of the tests keeps its state in: SQLite and a directory, or a real PostgreSQL and a real S3 server.

`OUTRIDER_TEST_BACKING=postgresql+s3` chooses the latter for every stand of a run. The servers start with the first stand and end with the run.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from fleet.config import ObjectStore
from tests.fakes.bucket import ACCESS_KEY, SECRET_KEY, BucketServer
from tests.fakes.postgres import PASSWORD, Postgres, program

VARIABLE = "OUTRIDER_TEST_BACKING"
SERVERS = "postgresql+s3"

_numbers = itertools.count(1)


def on_servers() -> bool:
    return os.environ.get(VARIABLE, "") == SERVERS


def missing() -> str:
    """What this machine lacks for the servers; empty where nothing."""
    return "" if program("postgres") and program("initdb") else "PostgreSQL is not installed"


@functools.cache
def postgres() -> Postgres:
    """The run's own server."""
    folder = Path(tempfile.mkdtemp(prefix="outrider-pg-"))
    folder.chmod(0o755)
    server = Postgres(folder)
    server.start()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(server.stop)
    return server


@functools.cache
def buckets() -> BucketServer:
    """The run's own server."""
    server = BucketServer()
    server.start()
    atexit.register(server.stop)
    return server


def new_database() -> dict[str, str]:
    """An empty database: the fields of a control plane's configuration that name it."""
    name = f"fleet_{os.getpid()}_{next(_numbers)}"
    postgres().execute(f"CREATE DATABASE {name}")
    os.environ["OUTRIDER_TEST_PG_PASSWORD"] = PASSWORD
    return {
        "database": f"postgresql://outrider@127.0.0.1:{postgres().port}/{name}",
        "database_password": "env:OUTRIDER_TEST_PG_PASSWORD",
    }


def new_bucket(folder: Path, **fields: Any) -> ObjectStore:
    """An empty bucket; its secret key lies in a file of the folder."""
    name = f"fleet-{os.getpid()}-{next(_numbers)}"
    buckets().make(name)
    secret = folder.with_name(f"{folder.name}.s3-key")
    secret.write_text(SECRET_KEY + "\n")
    return ObjectStore(
        url=f"s3://{name}/artifacts",
        endpoint=buckets().url,
        access_key=ACCESS_KEY,
        secret_key=f"file:{secret}",
        **fields,
    )
