"""A loss of power between any two writes of the device's and the control plane's databases: each is the old or the new, and whole.

Our own code writes through SQLite, whose calls are recorded; the disk of every moment is then opened by our own code again.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select

from agent.outbox import Outbox
from agent.update.journal import Journal
from fleet.db import Database, migrate
from fleet.tables import AuditRow, Device
from tests.fakes.recorded_disk import COMPILER, Call, RecordedDisk, recorded
from tests.unit.agent.clocks import ManualClock

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler: SQLite's calls cannot be recorded"),
    pytest.mark.timeout(240),
]
STEPS = 12
MOST_CUTS = 30
TELL = """
import sys
from pathlib import Path
folder = Path(sys.argv[1])
def tell(n):
    with open(folder / "marks", "a") as marks:
        marks.write(f"{n} ")
"""
JOURNAL = f"""{TELL}
from agent.update.journal import Journal, Outcome
from wire.phase import Phase
journal = Journal(folder)
for n in range(1, {STEPS} + 1):
    journal.note(Outcome(n, Phase.ROLLED_BACK, "x"), 1.0, [f"sha256:{{n:064x}}"])
    tell(n)
journal.close()
"""
OUTBOX = f"""{TELL}
import asyncio
from agent.outbox import Kind, Outbox
from tests.unit.agent.clocks import ManualClock
async def main():
    outbox = Outbox(folder / "o.db", max_bytes=10**7, max_age_s=1e9, clock=ManualClock(), commit_s=0.0, sync_s=float(sys.argv[2]))
    await outbox.start()
    for n in range(1, {STEPS} + 1):
        await outbox.add(Kind.EVENT, f"e{{n}}", "t", b"x" * 9000)
        tell(n)
    await outbox.close()
asyncio.run(main())
"""
FLEET = f"""{TELL}
from fleet import audit
from fleet.db import Database
from fleet.tables import Device
database = Database(f"sqlite:///{{folder}}/fleet.db")
for n in range(1, {STEPS} + 1):
    with database.write() as session:
        session.add(Device(id=f"d{{n}}", created_at=1.0, enrolled_at=1.0, labels={{}}, token_hash=f"{{n}}", broker_hash="",
                           presence="never"))
        audit.record(session, 1.0, "me", "device.enrol", f"d{{n}}")
    tell(n)
    if n % 4 == 0:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
database.close()
"""
Look = Callable[[Path], int]
"""Opens what a cut has left, with our own code; how many of the steps are there, each of them whole."""


def journal(folder: Path) -> int:
    opened = Journal(folder)
    highest = opened.highest()
    quarantined = {entry.revision for entry in opened.quarantined()}
    opened.close()
    assert quarantined == set(range(1, highest + 1)), "a row and what is quarantined with it are one"
    assert not list(folder.glob("*.damaged*"))
    return highest


def outbox(folder: Path) -> int:
    async def ids() -> list[int]:
        opened = Outbox(folder / "o.db", max_bytes=10**7, max_age_s=1e9, clock=ManualClock(), commit_s=0.0)
        await opened.start()
        rows = await opened.peek(100)
        await opened.close()
        return [row.n for row in rows]

    found = asyncio.run(ids())
    assert found == list(range(1, len(found) + 1)), "in order, none left out"
    assert not list(folder.glob("*.damaged*"))
    return len(found)


def fleet(folder: Path) -> int:
    database = Database(f"sqlite:///{folder}/fleet.db")
    with database.read() as session:
        devices = session.scalar(select(func.count()).select_from(Device)) or 0
        rows = session.scalar(select(func.count()).select_from(AuditRow)) or 0
    database.close()
    assert devices == rows, "a change and its row of the audit log are one"
    return devices


def cut_everywhere(calls: list[Call], folder: Path, target: Path, look: Look, *, keeps_told: bool) -> int:
    """Cut after every call, or after evenly many of them; how many cuts there were."""
    disk, dice, cuts = RecordedDisk(folder), random.Random(7), 0
    every = max(1, len(calls) // MOST_CUTS)
    for number, call in enumerate(calls):
        disk.go_on(call)
        if number % every and call.operation not in "SU":
            continue
        for left in ("nothing", "everything", "some"):
            disk.cut(target, left, dice)
            there = look(target)
            told = len(disk.told)
            assert there <= told + 1, f"call {number}, {left} left"
            assert not keeps_told or there >= told, f"call {number}, {left} left: {there} of {told} told"
            for path in target.glob("*.db"):
                with sqlite3.connect(path) as db:
                    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            cuts += 1
    assert len(disk.told) == STEPS, "the program was recorded to its end"
    assert any(call.operation == "S" for call in calls)
    return cuts


@pytest.mark.parametrize(
    ("program", "look", "arguments", "keeps_told"),
    [
        (JOURNAL, journal, (), True),
        (OUTBOX, outbox, ("0",), True),
        (OUTBOX, outbox, ("1",), False),
        (FLEET, fleet, (), True),
    ],
    ids=["journal", "outbox, synced at once", "outbox", "control plane"],
)
def test_a_power_cut_between_any_two_writes_leaves_old_or_new(
    tmp_path: Path, program: str, look: Look, arguments: tuple[str, ...], keeps_told: bool
) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    if look is fleet:
        migrate(f"sqlite:///{folder}/fleet.db")
    calls = recorded(folder, program, *arguments)
    cuts = cut_everywhere(calls, folder, tmp_path / "left", look, keeps_told=keeps_told)
    assert cuts >= 50


def test_a_sync_that_is_left_out_would_be_found(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    calls = [call for call in recorded(folder, JOURNAL) if call.operation != "S"]
    with pytest.raises((AssertionError, sqlite3.Error, OSError)):
        cut_everywhere(calls, folder, tmp_path / "left", journal, keeps_told=True)
