"""The keeper's process as it is: killed, orphaned, overtaken. What it writes it writes once."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import insert, select

from fleet.clock import RandomIds, SystemClock
from fleet.config import Config
from fleet.db import Database, migrate
from fleet.health.figures import packed, unpacked
from fleet.health.history import progress_of
from fleet.health.tables import FaultRow, HealthRow, HealthStep
from fleet.keeper.fence import Fence, take
from fleet.keeper.job import Job, beat_of
from fleet.keeper.keeping import Keeping
from fleet.lease import LEADER, Held
from fleet.replicas import Alone
from fleet.tables import Device, LeaseRow
from tests.integration.fleet_stand import ROOT, Stand, eventually

CONFIG = Config.model_validate(
    {
        "limits": {"keeper_devices": 0},
        "faults": {"every_s": 0.1, "kinds": {"device-offline": {"visible_s": 0.2, "clear_s": 0.2}}},
    }
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """With three devices that are online."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    migrate(url)
    opened = Database(url)
    rows = [
        {
            "id": name,
            "created_at": 1.0,
            "enrolled_at": 1.0,
            "public_key": "",
            "sealing_key": "",
            "labels": {},
            "token_hash": name,
            "broker_hash": "",
            "presence": "online",
        }
        for name in ("a", "b", "c")
    ]
    with opened.write() as session:
        session.execute(insert(Device), rows)
    yield opened
    opened.close()


def url_of(database: Database) -> str:
    return str(database.engine.url)


def offline(database: Database, device: str) -> None:
    with database.write() as session:
        row = session.get(Device, device)
        assert row is not None
        row.presence = "offline"


def faults(database: Database) -> list[str]:
    with database.read() as session:
        return sorted(session.scalars(select(FaultRow.device)))


def arrive(database: Database, count: int) -> None:
    """So many messages of each device, a second apart, long enough ago to be rolled up."""
    at = time.time() - 1000
    rows = [
        {
            "device": device,
            "at": at + n,
            "received_at": at + n,
            "revision": 1,
            "figures": packed({"cpu_percent": 50.0, "cameras": {}, "models": {}}),
        }
        for n in range(count)
        for device in ("a", "b", "c")
    ]
    with database.write() as session:
        session.execute(insert(HealthRow), rows)


def rolled_up(database: Database) -> tuple[int, int]:
    """The last message that is rolled up, and how many minutes hold in all."""
    with database.read() as session:
        steps = session.scalars(select(HealthStep.figures).where(HealthStep.step == 60))
        count = sum(unpacked(figures)["device/"]["cpu_percent"][0] for figures in steps)
        return progress_of(session).row, count


async def until(holds: Callable[[], Any], deadline_s: float = 90.0) -> Any:
    end_mono = time.monotonic() + deadline_s
    while not (answer := await asyncio.to_thread(holds)):
        assert time.monotonic() < end_mono, f"{holds} gave {answer!r}"
        await asyncio.sleep(0.1)
    return answer


def keepers(of: int) -> list[psutil.Process]:
    """The keeper's processes that a process has started."""
    children = psutil.Process(of).children(recursive=True)
    return [child for child in children if "fleet.keeper" in child.cmdline() and child.is_running()]


@pytest.mark.timeout(240)
def test_killed_keeper_is_started_again_and_goes_on_where_it_was(database: Database) -> None:
    async def scenario() -> None:
        keeping = Keeping(database, SystemClock(), RandomIds(), CONFIG, url_of(database), Alone(), lambda: 3)
        task = asyncio.create_task(keeping.run())
        try:
            arrive(database, 700)
            offline(database, "a")
            await until(lambda: faults(database) == ["a"])
            (first,) = keepers(os.getpid())
            await until(lambda: rolled_up(database)[0])
            first.kill()
            offline(database, "b")
            arrive(database, 100)
            await until(lambda: faults(database) == ["a", "b"])
            assert keeping.figures.restarts == 1
            assert keeping.figures.process == "own"
            (second,) = keepers(os.getpid())
            assert second.pid != first.pid
            await until(lambda: rolled_up(database)[0] == 2400)
            # The second hundred came late, with times that are there already: each figure is in its minute once.
            assert rolled_up(database)[1] == 2400
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not psutil.pid_exists(second.pid)
        assert keepers(os.getpid()) == []

    asyncio.run(scenario())


@contextmanager
def started(database: Database, fence: Fence) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "fleet.keeper"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdin is not None
        try:
            process.stdin.write(Job(url_of(database), CONFIG, fence).line())
            process.stdin.flush()
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(120)
def test_keeper_whose_control_plane_has_lost_the_lease_writes_nothing_and_ends_with_its_input(
    database: Database,
) -> None:
    with database.write() as session:
        session.merge(LeaseRow(name=LEADER, holder="other", token=8, until=9e12))
    offline(database, "a")
    fence = take(database, lambda _session: None, Held("mine", 7))
    with started(database, fence) as process:
        assert process.stdout is not None
        for _ in range(3):  # each is said after another look at the fleet
            beat_of(process.stdout.readline())
        assert faults(database) == []
        with database.write() as session:
            session.merge(LeaseRow(name=LEADER, holder="mine", token=7, until=9e12))
        eventually(lambda: faults(database) == ["a"], 60)
        take(database, lambda _session: None, Held("mine", 7))  # a successor has begun
        offline(database, "b")
        for _ in range(3):
            beat_of(process.stdout.readline())
        assert faults(database) == ["a"]
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


@pytest.mark.usefixtures("mosquitto")
@pytest.mark.timeout(240)
def test_keeper_of_a_control_plane_ends_with_it_however_that_ends(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "data", more={"limits": {"keeper_devices": 0}})
    with stand.client() as client:
        eventually(lambda: client.health()["keeper"]["process"] == "own")
    (keeper,) = eventually(lambda: keepers(stand.process.pid))
    stand.kill()
    eventually(lambda: not keeper.is_running() or keeper.status() == psutil.STATUS_ZOMBIE)
    stand.start()
    (keeper,) = eventually(lambda: keepers(stand.process.pid))
    assert stand.stop() == 0
    assert not keeper.is_running()
