"""A cut between every pair of file operations and journal rows of updates: models, workflows, the agent's own slots.

Each cut is taken as a SIGKILL (what was written is there) and as two power cuts (what was not fsynced is gone, or the names are there
without the bytes).
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.update.__main__ import update
from agent.update.journal import Journal
from tests.fakes.power_cut import CutDisk, Left, PowerCut
from tests.fakes.update_tree import ENDS, KILLED_ENDS, Offers, at_rest, counting, whole

pytestmark = pytest.mark.timeout(300)


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


@pytest.mark.parametrize("how", list(Left), ids=lambda how: how.name.lower())
def test_no_cut_between_two_operations_breaks_a_device(memory: Path, offers: Offers, how: Left) -> None:
    calls = len(cut(memory / f"all-{how.name}", offers, None).calls)
    assert calls > 200
    for at in range(calls):
        place, found = memory / "cut", memory / "found"
        disk = cut(place, offers, at)
        disk.left(found, how)
        try:
            whole(found)
            ended = update(found, offers.source, [])
            assert {outcome.phase.value for outcome in ended} <= KILLED_ENDS
            before = at_rest(found)
            update(found, offers.source, offers.paths)
            assert at_rest(found) >= before
            assert at_rest(found, may_be_empty=False) == 7
        except AssertionError as e:
            raise AssertionError(f"cut {at} of {calls}, after {disk.calls[-3:]}: {e}") from e
        shutil.rmtree(place)
        shutil.rmtree(found)
