"""A cut between every pair of file operations and journal rows of updates: models, workflows, the agent's own slots.

Each cut is taken as a SIGKILL (what was written is there) and as two power cuts (what was not fsynced is gone, or the names are there
without the bytes).
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from agent.files import SystemDisk
from agent.update.__main__ import update
from agent.update.journal import Journal
from tests.fakes.power_cut import CutDisk, Left, PowerCut
from tests.fakes.update_tree import ENDS, KILLED_ENDS, Offers, at_rest, counting, whole

pytestmark = pytest.mark.timeout(300)
ONWARD = 4
"""Every so many of what is found takes the offered revisions to the last one too."""


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A directory on a tmpfs, so that the many fsyncs wait for no disk: what they mean is the fake's business."""
    path = Path(tempfile.mkdtemp(prefix="cuts-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def offers(memory: Path) -> Offers:
    return Offers(memory / "offers")


def cut(place: Path, offers: Offers, at: int | None) -> CutDisk:
    """Run all updates, cut before the call `at`."""
    place.mkdir()
    disk = CutDisk(place, at)
    try:
        update(
            place,
            offers.source,
            offers.paths,
            disk=disk,
            connect=counting(lambda s: disk._call("row", place)),
        )
    except PowerCut:
        pass
    return disk


def test_uncut_updates_end_as_they_should(memory: Path, offers: Offers) -> None:
    place = memory / "uncut"
    ended = update(place, offers.source, offers.paths)
    assert {outcome.revision: outcome.phase.value for outcome in ended} == ENDS
    assert at_rest(place) == 7
    journal = Journal(place)
    assert {entry.digest for entry in journal.quarantined()} == offers.bad, "what is good is not held"
    journal.close()


def test_no_cut_between_two_operations_breaks_a_device(memory: Path, offers: Offers) -> None:
    calls = len(cut(memory / "all", offers, None).calls)
    assert calls > 200
    for at in range(calls):
        place = memory / "cut"
        disk = cut(place, offers, at)
        for number, how in enumerate(Left):
            try:
                taken_up(disk.left(memory / "found", how), offers, onward=(at + number) % ONWARD == 0)
            except AssertionError as e:
                raise AssertionError(f"cut {at} of {calls}, {how.name}, after {disk.calls[-3:]}: {e}") from e
            finally:
                shutil.rmtree(memory / "found")
        shutil.rmtree(place)


def taken_up(found: Path, offers: Offers, *, onward: bool) -> None:
    """What the next start finds is whole, and is brought to its end; `onward` to the last revision of all."""
    whole(found)
    ended = update(found, offers.source, [])
    assert {outcome.phase.value for outcome in ended} <= KILLED_ENDS
    before = at_rest(found)
    if onward:
        update(found, offers.source, offers.paths)
        assert at_rest(found) >= before
        assert at_rest(found, may_be_empty=False) == 7


class FullDisk(SystemDisk):
    """From its n-th call on that needs room there is none, until `cleared`."""

    def __init__(self, full_at: int) -> None:
        self.full_at = full_at
        self.calls = 0
        self.cleared = False

    def _room(self) -> None:
        self.calls += 1
        if self.calls > self.full_at and not self.cleared:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open(self, path: Path, mode: int = 0o644, *, keep: bool = False) -> BinaryIO:
        self._room()
        return super().open(path, mode, keep=keep)

    def sync(self, file: BinaryIO) -> None:
        self._room()
        super().sync(file)

    def make_directory(self, path: Path, mode: int = 0o755) -> None:
        self._room()
        super().make_directory(path, mode)

    def replace(self, source: Path, target: Path) -> None:
        self._room()
        super().replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._room()
        super().link(source, target)

    def symlink(self, link: Path, target: str) -> None:
        self._room()
        super().symlink(link, target)


@pytest.mark.parametrize("rows", [True, False], ids=["rows-are-written", "no-row-either"])
def test_no_disk_that_is_full_from_some_operation_on_breaks_a_device(
    memory: Path, offers: Offers, rows: bool
) -> None:
    """Each update on its own, so that the disk fills in every phase of each; then there is room again."""
    endless = FullDisk(1 << 30)
    (memory / "uncounted").mkdir(exist_ok=True)
    update(memory / "uncounted", offers.source, offers.paths, disk=endless)
    for full_at in range(0, endless.calls, 2):
        place, disk = memory / "full", FullDisk(full_at)
        place.mkdir()

        def told(_statement: str, disk: FullDisk = disk) -> None:
            if not rows and disk.calls >= disk.full_at and not disk.cleared:
                raise sqlite3.OperationalError("database or disk is full")

        try:
            for path in offers.paths:
                with contextlib.suppress(OSError):
                    update(place, offers.source, [path], disk=disk, connect=counting(told))
                whole(place)
            disk.cleared = True
            update(place, offers.source, [], disk=disk)
            at_rest(place)
            update(place, offers.source, offers.paths, disk=disk)
            at_rest(place, may_be_empty=False)
        except AssertionError as e:
            raise AssertionError(f"full from operation {full_at} of {endless.calls} on: {e}") from e
        shutil.rmtree(place)
    shutil.rmtree(memory / "uncounted")
