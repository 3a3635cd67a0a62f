"""The control plane on a real PostgreSQL and a real server of the S3 protocol; devices that fetch from the store itself."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from agent.backoff import Backoff
from agent.download import Downloader
from agent.errors import ArtifactRefused
from fleet.config import Config, DataDir, ObjectStore
from fleet.db import Database, migrate
from fleet.objects import key_of
from fleet.tables import Certificate
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.integration import backing
from tests.integration.fleet_stand import Stand, package

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(bool(backing.missing()), reason=backing.missing() or "-"),
]
ROOT = Path(__file__).parents[2]


def run_on_servers(*arguments: str, deadline_s: float) -> None:
    """Run tests in a process of their own, every control plane of which is on the servers."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, backing.VARIABLE: backing.SERVERS}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=deadline_s
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.timeout(400)
def test_control_plane_works_on_postgresql_and_s3() -> None:
    run_on_servers("tests/integration/test_fleet_control_plane.py", deadline_s=390)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_whole_suite_of_the_control_plane_passes_on_postgresql_and_s3() -> None:
    files = {*(ROOT / "tests/integration").glob("test_fleet_*.py"), ROOT / "tests/faults/test_attacks.py"}
    names = sorted(str(path) for path in files - {Path(__file__)})
    run_on_servers(*names, "-m", "not gpu and not long", "--timeout", "600", deadline_s=3500)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(backing.VARIABLE, backing.SERVERS)
        running = Stand(tmp_path_factory.mktemp("servers") / "data")
        yield running
        assert running.stop() == 0


def needing(stand: Stand, name: str) -> tuple[str, str]:
    """A device that needs a model: its token and the model's digest."""
    identity = stand.enrol(name)
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    content = package(name, weights=name.encode() * 100_000)
    model = httpx.post(f"{stand.url}/api/v1/models", content=content, headers=headers, timeout=60).json()
    with stand.client() as client:
        client.set_desired(name, {"models": {"m": name}})
    return identity["api_token"], model["digest"]


def fetch(stand: Stand, token: str, digest: str, target: Path, *, tries: int = 3) -> list[str]:
    """Fetch as the agent does; the addresses that were asked."""
    asked: list[str] = []

    async def note(request: httpx.Request) -> None:
        asked.append(str(request.url))
        if len(asked) > tries:
            raise ArtifactRefused(None, "too many tries")  # type: ignore[arg-type]
        assert request.url.path.startswith("/api/") or "authorization" not in request.headers

    async def work() -> None:
        hooks = {"request": [note]}
        async with (
            httpx.AsyncClient(trust_env=False, event_hooks=hooks) as client,
            httpx.AsyncClient(trust_env=False, event_hooks=hooks) as elsewhere,
        ):
            backoff = Backoff(0.01, 0.01, lambda: 0.0)
            downloader = Downloader(
                client, stand.url, token, lambda: backoff, keep_free_bytes=0, elsewhere=elsewhere
            )
            await downloader.fetch(digest, target)

    asyncio.run(work())
    return asked


def test_device_fetches_from_the_store_and_shows_it_no_token(stand: Stand, tmp_path: Path) -> None:
    token, digest = needing(stand, "presigned")
    asked = fetch(stand, token, digest, tmp_path / "got")
    assert asked[0].startswith(stand.url)
    assert asked[1].startswith(backing.buckets().url)
    part = tmp_path / "again.part"
    part.write_bytes((tmp_path / "got").read_bytes()[:5])
    assert len(fetch(stand, token, digest, tmp_path / "again")) == 2
    assert (tmp_path / "again").read_bytes() == (tmp_path / "got").read_bytes()


def test_address_is_for_the_device_that_needs_the_object_and_no_other(stand: Stand) -> None:
    token, digest = needing(stand, "mine")
    stranger = stand.enrol("stranger")["api_token"]
    path = f"/api/v1/device/objects/{digest}?elsewhere=true"
    assert stand.get(path, stranger).json()["reason"] == "not-allowed"
    address = stand.get(path, token).headers["location"]
    assert httpx.get(address).status_code == 200
    assert httpx.get(address.partition("?")[0]).status_code == 403


def test_bytes_that_the_store_has_changed_are_refused(stand: Stand, tmp_path: Path) -> None:
    token, digest = needing(stand, "tampered")
    bucket = stand.config.objects.url.split("/")[2]
    key = f"artifacts/{key_of(digest)}"
    assert key in backing.buckets().keys(bucket)
    backing.buckets().put(bucket, key, b"other bytes")
    with pytest.raises(ArtifactRefused, match="upload the artifact again"):
        fetch(stand, token, digest, tmp_path / "got", tries=10)
    assert not (tmp_path / "got").exists()


def test_device_that_cannot_reach_the_store_gets_the_bytes_of_the_control_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(backing.VARIABLE, backing.SERVERS)
    stand = Stand(tmp_path / "data", objects={"device_endpoint": "http://127.0.0.1:9"})
    try:
        token, digest = needing(stand, "walled")
        asked = fetch(stand, token, digest, tmp_path / "got")
        assert [address.startswith("http://127.0.0.1:9/") for address in asked] == [False, True, False]
    finally:
        stand.stop()


def test_writers_of_two_processes_queue_up(tmp_path: Path) -> None:
    """What a writing transaction has read stays true until its end, also on PostgreSQL, whose own order is weaker."""
    fields = backing.new_database()
    config = Config(**fields, objects=ObjectStore())
    url = DataDir(tmp_path).database_url(config)
    migrate(url)
    databases = [Database(url), Database(url)]

    def count(database: Database) -> None:
        for _ in range(20):
            with database.write() as session:
                number = session.query(Certificate).count()
                session.add(Certificate(serial=uuid.uuid4().hex, device="d", issued_at=number, not_after=1.0))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(count, databases))
    with databases[0].read() as session:
        assert sorted(row.issued_at for row in session.query(Certificate)) == list(range(40))
    for database in databases:
        database.close()
