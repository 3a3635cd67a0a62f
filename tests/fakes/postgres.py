"""A real PostgreSQL server as a child, on a free port of the loopback address; as root it runs as the user postgres."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from fleet.ports import free_port

PASSWORD = "p0stgres-of-a-test"


def program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH."""
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    return shutil.which(name) or shutil.which(name, path=":".join(folders))


class Postgres:
    """`start` makes a cluster in the directory; the user is `outrider`."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._data = directory / "pg"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = pwd.getpwnam("postgres") if os.geteuid() == 0 else None

    def start(self) -> None:
        initdb, postgres = program("initdb"), program("postgres")
        assert initdb is not None
        assert postgres is not None
        self._data.mkdir()
        secret = self._data.with_suffix(".password")
        secret.write_text(PASSWORD)
        if self._user is not None:
            for path in (self._data, secret):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
            for parent in self._data.parents:
                if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o077 == 0:
                    parent.chmod(parent.stat().st_mode | 0o011)
        options = ["-U", "outrider", "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync", "-E", "UTF8"]
        subprocess.run(
            [initdb, "-D", str(self._data), *options], check=True, capture_output=True, **self._as_user()
        )
        settings = ["-c", f"unix_socket_directories={self._data}", "-c", "fsync=off", "-h", "127.0.0.1"]
        with (self._data / "log").open("wb") as log:
            command = [postgres, "-D", str(self._data), "-p", str(self.port), *settings]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **self._as_user())
        self._wait()

    def _as_user(self) -> dict[str, int]:
        return {} if self._user is None else {"user": self._user.pw_uid, "group": self._user.pw_gid}

    def _wait(self) -> None:
        import psycopg

        deadline_mono = time.monotonic() + 20
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline_mono, (self._data / "log").read_text()
                time.sleep(0.05)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement; its rows."""
        import psycopg

        address = f"host=127.0.0.1 port={self.port} user=outrider password={PASSWORD} dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(20)
            self._process = None
