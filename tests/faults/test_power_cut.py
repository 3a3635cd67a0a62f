"""The power is cut before each call of the disk in turn, while trust metadata is refreshed and while a bundle is copied in."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.power_cut import CutDisk, Left, PowerCut
from tests.fakes.repository import Repository
from tests.unit.agent.clocks import ManualClock
from tests.unit.agent.test_bundle import Site
from tests.unit.agent.test_metadata import Device
from wire.manifest import digest_of


def test_a_power_cut_at_any_write_leaves_old_or_new_metadata(tmp_path: Path) -> None:
    repository = Repository()
    old = repository.add(b"old")
    repository.publish()
    before = Device(tmp_path / "before", repository)
    assert before.length(old) == 3
    (old_key,) = before.metadata.state_keys
    repository.rotate("root", "timestamp", "state")
    new = repository.add(b"newer")
    repository.publish()
    cut_at, done = 0, False
    while not done:
        place = tmp_path / f"{cut_at}"
        CutDisk(before.folder).left(place, Left.EVERYTHING)
        disk = CutDisk(place, cut_at)
        device = Device(place, repository, disk)
        device.clock.now_wall = before.clock.now_wall + 7200.0
        try:
            assert device.length(new) == 5
            done = True
        except PowerCut:
            pass
        for how in (Left.NOTHING, Left.NAMES):
            after = Device(disk.left(tmp_path / f"{cut_at}-{how.name}", how), repository)
            assert len(after.metadata.state_keys) == 1, "the old or the new, never neither"
            assert (set(after.metadata.state_keys) == {old_key}) or not after.metadata.state_keys.keys() & {
                old_key
            }
            assert (after.length(new), after.length(old)) == (5, 3)
        cut_at += 1
    assert cut_at > 20


def test_a_cut_while_copying_leaves_nothing_half_ready_and_the_next_run_completes_it(tmp_path: Path) -> None:
    site = Site(tmp_path, ManualClock())
    stick = site.export()
    cut_at, done = 0, False
    while not done:
        place = site.root / f"{cut_at}"
        place.mkdir()
        disk = CutDisk(place, cut_at)
        try:
            site.carry(stick, place, disk)
            done = True
        except PowerCut:
            pass
        for how in (Left.NOTHING, Left.NAMES):
            after = disk.left(site.root / f"{cut_at}-{how.name}", how)
            if not (after / "inbox/ready").exists():
                assert not done
                site.carry(stick, after)
            objects = {path.name: path.read_bytes() for path in (after / "inbox/ready/objects").iterdir()}
            assert len(objects) == 3
            assert all(digest_of(content) == f"sha256:{name}" for name, content in objects.items())
        cut_at += 1
    assert cut_at > 20
