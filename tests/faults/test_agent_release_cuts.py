"""The agent's own update where the disk is full, the agent is killed in each phase, or the release stands by itself; real processes."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from fleet.release.build import Wanted, build
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.fakes.releases import of_this_tree, repacked
from tests.faults.launched import OVER_S, Gaps, Launched, release, upload_workflow
from tests.integration.fleet_stand import Stand, eventually

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(420),
]
CUT = ("FETCHING", "PREPARE", "SWAPPING", "PROBATION")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("cuts")
    made = Stand(folder / "data", scripted=False)
    with made.client() as client:
        upload_workflow(client, folder)
    yield made
    made.stop()


@pytest.fixture
def device(stand: Stand, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launched]:
    made = Launched(stand, tmp_path / "device", f"c-{abs(hash(request.node.name)) % 10**6}")
    try:
        made.start()
        assert made.over(made.push())["phase"] == "COMMITTED"
        made.sees()
        yield made
    finally:
        made.stop()


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[None]:
    """A file system of its own, with so little room."""
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_refuses_a_release_and_a_kill_in_each_phase_does_not(
    stand: Stand, device: Launched, tmp_path: Path
) -> None:
    with stand.client() as client:
        good = release(client, tmp_path, "0.9.0", name="cut")
    slots = device.state_dir / "agent" / "slots"
    with Gaps(device) as gaps:
        for options, words in (
            ("size=2m", "may be used"),
            ("size=64m,nr_inodes=90", "No space left on device"),
        ):
            with small_disk(slots, options):
                told = device.over(device.push({"release": good}))
                assert (told["phase"], told["reason"]) == ("REJECTED", "disk-full"), told
                assert words in told["message"]
                assert [path.name for path in slots.iterdir()] == [], "its room is given back"
    assert (gaps.longest_s < 5.0, device.starts) == (True, 1), "nothing that serves was touched"

    revision = device.push({"release": good}, probation_s=4.0)
    with Gaps(device) as gaps:
        cut = [phase for phase in CUT if device.kill_in(revision, phase)]
        told = device.over(revision)
        device.sees()
    assert {"PREPARE", "PROBATION"} <= set(cut), cut
    print(f"killed in {', '.join(cut)}: longest gap {gaps.longest_s:.1f} s")
    assert (told["phase"], told["agent_version"], told["revision"]) == ("COMMITTED", "0.9.0", revision), told
    assert device.slot in ("a", "b")
    assert not (device.state_dir / "agent" / "pending").exists()
    other = slots / ("b" if device.slot == "a" else "a")
    assert not (other / "RELEASE").exists()


@pytest.mark.long
def test_without_a_control_plane_the_launcher_brings_the_former_release_back(
    stand: Stand, device: Launched, tmp_path: Path
) -> None:
    """Killed again and again in probation, its control plane stopped: no network is needed for the way back."""
    with stand.client() as client:
        good = release(client, tmp_path, "0.9.5", name="lonely")
    before = device.reported()["revision"]
    revision = device.push({"release": good}, probation_s=300.0)
    eventually(lambda: device.phase(revision) == "PROBATION" and device.slot, OVER_S)
    eventually(lambda: device.status().get("connected"), OVER_S)
    stand.stop()
    try:
        starts = device.starts
        for count in (1, 2):
            device.kill()
            eventually(lambda count=count: device.starts == starts + count, OVER_S)  # type: ignore[misc]
            if count == 1:
                device.sees()
        eventually(lambda: not device.slot, OVER_S)
        device.sees()
        eventually(lambda: device.phase(revision) == "ROLLED_BACK", OVER_S)
        about = device.status()
        assert (about["agent_version"], about["reported"]["revision"]) == (
            importlib.metadata.version("outrider"),
            before,
        )
    finally:
        stand.start()
    told = device.over(revision)
    assert (told["phase"], told["reason"], told["agent_release"]) == (
        "ROLLED_BACK",
        "starts-without-commit",
        "",
    )


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_release_with_everything_in_it_stands_by_itself(
    stand: Stand, device: Launched, tmp_path: Path
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    given = tuple(repacked(wheels, name) for name in sorted(needed("outrider", {"cpu"}) - {"outrider"}))
    wheel = of_this_tree(tmp_path / "own", "0.9.7")
    python, platform = f"3.{sys.version_info.minor}", f"linux-{os.uname().machine}"
    card = build(
        Wanted(wheel, python, platform, extras=("cpu",), given=given, offline=True), tmp_path / "release"
    )
    assert card.base == {}
    with stand.client() as client:
        row = client.upload_release(tmp_path / "release", "whole")
    with Gaps(device) as gaps:
        told = device.over(device.push({"release": f"whole@{row['version']}"}), 900.0)
        device.sees()
    assert (told["phase"], told["agent_version"]) == ("COMMITTED", "0.9.7"), told
    slot = device.state_dir / "agent" / "slots" / device.slot
    where = subprocess.run(
        [slot / "bin" / "python", "-I", "-c", "import numpy, cv2, onnxruntime, agent; print(numpy.__file__, cv2.__file__, agent.__file__)"],
        capture_output=True, text=True, check=True, cwd="/",
    ).stdout  # fmt: skip
    assert where.count(str(slot)) == 3, where
    size = sum(path.lstat().st_size for path in slot.rglob("*"))
    print(
        f"{len(given) + 1} wheels, {row['size_bytes'] / 1e6:.0f} MB, slot {size / 1e6:.0f} MB, longest gap {gaps.longest_s:.1f} s"
    )


def needed(name: str, extras: set[str]) -> set[str]:
    """What is installed here that a distribution needs, itself included."""
    found: set[str] = set()
    waiting = [(name, frozenset(extras))]
    while waiting:
        one, wanted = waiting.pop()
        if one in found:
            continue
        found.add(one)
        for text in importlib.metadata.requires(one) or []:
            asked = Requirement(text)
            if asked.marker is None or any(asked.marker.evaluate({"extra": e}) for e in wanted or {""}):
                waiting.append((asked.name, frozenset(asked.extras)))
    return found
