"""Updates while the disk is full, in each phase, or takes no more writing: real agent, broker, engine and pipeline, a real video at live pace.

The state directory is a small tmpfs of its own (root). Full means full: no block and no name is left.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.device_kills import raising
from tests.fakes.agent_rig import until
from tests.fakes.mosquitto import PROGRAM
from tests.faults.device_stand import GATES, VIDEO, DeviceStand, at_work

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(300),
    pytest.mark.long,
]
ENDS = ("COMMITTED", "REJECTED", "ROLLED_BACK")
SIZE_BYTES = 64 * 1024 * 1024
NAMES = 2000


class SmallDisk:
    """A tmpfs at `path`."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        options = f"size={SIZE_BYTES},nr_inodes={NAMES},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "outrider-test", str(path)], check=True)

    def fill(self) -> None:
        ballast = self.path / "ballast"
        ballast.mkdir()
        with contextlib.suppress(OSError), (ballast / "bytes").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 20)):
                pass
        with contextlib.suppress(OSError), (ballast / "bytes").open("ab", buffering=0) as file:
            while file.write(bytes(512)):
                pass
        with contextlib.suppress(OSError):
            for number in range(2 * NAMES):
                (ballast / str(number)).touch()

    def clear(self) -> None:
        shutil.rmtree(self.path / "ballast")

    def read_only(self, on: bool) -> None:
        """Nobody may have a file of it open for writing."""
        subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=False)


def fill_in(stand: DeviceStand, disk: SmallDisk, phase: str) -> None:
    """Fill it while the newest push is in this phase, however short: the row of the next one is held up, the agent stands still."""
    db = sqlite3.connect(stand.made.state_dir / "journal.db", timeout=30.0, isolation_level=None)
    db.execute("PRAGMA journal_mode=PERSIST")

    def there() -> bool:
        db.execute("BEGIN IMMEDIATE")
        now = db.execute("SELECT phase FROM revisions WHERE revision = ?", (stand.revision,)).fetchone()
        if now == (phase,):
            return True
        db.execute("ROLLBACK")
        assert now is None or now[0] not in ENDS, now
        return False

    with contextlib.closing(db):
        _stood_still(stand, disk, there)


def fill_between_the_links(stand: DeviceStand, disk: SmallDisk) -> None:
    """Fill it in SWAPPING: what the switch needs on the disk is there, `current` does not name it yet."""
    coming = stand.made.state_dir / "next"
    _stood_still(stand, disk, lambda: os.path.lexists(coming))
    assert stand.on_disk() == stand.running


def _stood_still(stand: DeviceStand, disk: SmallDisk, there: Callable[[], bool]) -> None:
    end_mono = time.monotonic() + 60.0
    while not there():
        assert time.monotonic() < end_mono, stand.made.status()["reported"]
        time.sleep(0.0002)
    os.kill(stand.made.pid, signal.SIGSTOP)
    try:
        disk.fill()
    finally:
        os.kill(stand.made.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path], assets: Path
) -> Iterator[tuple[DeviceStand, SmallDisk]]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for a disk of its own")
    directory = tmp_path_factory.mktemp("disk")
    try:
        disk = SmallDisk(directory / "state")
    except subprocess.CalledProcessError:
        pytest.skip("nothing can be mounted here")
    try:
        with at_work(directory, packages["nanodet_m_320"], assets / VIDEO) as stand:
            yield stand, disk
    finally:
        disk.close()


def test_a_full_disk_before_an_update_keeps_it_waiting(place: tuple[DeviceStand, SmallDisk]) -> None:
    """OFFERED: the document cannot be kept; once there is room it is taken from the broker."""
    stand, disk = place
    disk.fill()
    stand.push(stand.model("offered"))
    until(lambda: stand.made.status()["reported"]["reason"] == "disk-full", 60.0)
    assert stand.on_disk() == stand.running
    disk.clear()
    stand.ended("COMMITTED")


def test_a_disk_that_fills_while_it_fetches_refuses_the_update(place: tuple[DeviceStand, SmallDisk]) -> None:
    stand, disk = place
    plane = stand.made.plane
    plane.drip_bytes, plane.drip_s = 100_000, 0.2
    stand.push(stand.model("fetched", **{"model.onnx": stand.files["model.onnx"] + bytes(8_000_000)}))
    stand.phase("FETCHING")
    disk.fill()
    stand.phase("REJECTED")
    disk.clear()
    plane.drip_bytes = None
    stand.ended("REJECTED", reason="disk-full")


def test_a_disk_that_fills_before_anything_is_fetched_refuses_the_update(
    place: tuple[DeviceStand, SmallDisk],
) -> None:
    stand, disk = place
    stand.push(stand.model("verified", **{"model.onnx": stand.files["model.onnx"] + bytes(1_000_000)}))
    fill_in(stand, disk, "VERIFIED")
    stand.phase("REJECTED")
    disk.clear()
    stand.ended("REJECTED", reason="disk-full")


@pytest.mark.parametrize("phase", ["STAGED", "SHADOW"])
def test_a_disk_that_fills_in_a_phase_that_needs_none_of_it_stops_the_switch(
    place: tuple[DeviceStand, SmallDisk], phase: str
) -> None:
    """What comes after needs room: the links that the switch is made of."""
    stand, disk = place
    stand.push(stand.model(f"full in {phase}"), shadow_s=3.0 if phase == "SHADOW" else 0)
    fill_in(stand, disk, phase)
    stand.phase("ROLLED_BACK")
    disk.clear()
    reported = stand.ended("ROLLED_BACK", reason="switch-failed")
    assert "current" in reported["message"]


def test_a_disk_that_fills_in_the_middle_of_the_switch_does_not_stop_it(
    place: tuple[DeviceStand, SmallDisk],
) -> None:
    stand, disk = place
    stand.push(stand.model("swapping"))
    fill_between_the_links(stand, disk)
    stand.phase("COMMITTED")
    disk.clear()
    stand.ended("COMMITTED")


@pytest.mark.parametrize("phase", ["WAIT_WINDOW", "PREPARE"])
def test_a_disk_that_fills_before_the_switch_leaves_what_serves(
    place: tuple[DeviceStand, SmallDisk], phase: str
) -> None:
    """Nothing is switched where `current` could not be written; a row that cannot be is a refusal before."""
    stand, disk = place
    if phase == "WAIT_WINDOW":
        stand.made.lock(hold=True)
    fault = {"load_s": 3.0} if phase == "PREPARE" else None
    stand.push(stand.model(f"full in {phase}", fault))
    stand.phase(phase)
    disk.fill()
    if phase == "WAIT_WINDOW":
        stand.made.lock(hold=False)
    ends = ("REJECTED", "ROLLED_BACK")
    end = until(lambda: (told := stand.made.status()["reported"]["phase"]) in ends and told, 60.0)
    disk.clear()
    reported = stand.ended(end, reason="disk-full" if end == "REJECTED" else "switch-failed")
    assert "current" in reported["message"] or "disk" in reported["message"]


def test_a_disk_that_fills_on_probation_still_takes_the_commit(place: tuple[DeviceStand, SmallDisk]) -> None:
    """Its row is written over one that is there."""
    stand, disk = place
    stand.push(stand.model("probation"), probation_s=4.0)
    stand.phase("PROBATION")
    disk.fill()
    stand.phase("COMMITTED")
    disk.clear()
    stand.ended("COMMITTED")


def test_the_way_back_needs_no_room_and_holds_after_a_restart(place: tuple[DeviceStand, SmallDisk]) -> None:
    stand, disk = place
    stand.push(workflow=raising(stand.workflow), gates={**GATES, "min_frames": 200})
    stand.phase("PROBATION")
    disk.fill()
    stand.phase("ROLLED_BACK")
    assert stand.on_disk() == stand.running
    stand.made.kill()
    stand.made.start()
    until(lambda: stand.made.status()["health"]["cameras"]["door"]["state"] == "streaming", 60.0)
    assert stand.made.status()["reported"]["revision"] == stand.running
    disk.clear()
    reported = stand.ended("ROLLED_BACK", reason="probation-failed", lost=60, pause_s=90.0)
    assert "step-errors" in reported["message"]


def test_on_a_disk_that_takes_no_writing_the_committed_revision_runs(
    place: tuple[DeviceStand, SmallDisk],
) -> None:
    stand, disk = place
    stand.made.stop()
    disk.read_only(True)
    try:
        stand.made.start()
        until(lambda: stand.made.status()["health"]["cameras"]["door"]["state"] == "streaming", 60.0)
        stand.push(stand.model("read only"))
        reported = stand.made.observer.reported("REJECTED", stand.revision, 60.0)
        assert (reported["revision"], reported["reason"]) == (stand.running, "disk-full")
        assert "Read-only" in reported["message"]
        assert stand.on_disk() == stand.running
    finally:
        stand.made.kill()
        disk.read_only(False)
    stand.made.start()
    stand.ended("COMMITTED", lost=60, pause_s=120.0)
