"""SIGKILL of the agent and of its installer at each change of a file, while a release is installed into the spare slot; real programs.

Afterwards the former release starts, the half-made slot is none, and the next start makes it again.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent import launcher
from agent.update.install import SCRATCH
from agent.update.slots import Slots
from tests.fakes import file_calls, release_at_work
from tests.fakes.releases import ROOT
from wire.phase import Phase

pytestmark = [
    pytest.mark.skipif(not file_calls.possible(), reason="this kernel asks nobody about system calls"),
    pytest.mark.timeout(3600),
]
FEW = 6


@dataclass(frozen=True)
class Place:
    """Release `one` runs from slot a; b holds a former one, `zero`, and is to hold `two`, which `whole` lists the files of."""

    state_dir: Path
    one: str
    zero: str
    two: str
    whole: frozenset[str]
    calls: int


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    memory = Path(tempfile.mkdtemp(prefix="install-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    state_dir = memory / "state"
    state_dir.mkdir()
    wheels = release_at_work.Wheels(memory / "wheels")
    zero, one, two = (wheels.add(version) for version in ("0.7.0", "0.8.0", "0.9.0"))
    slots = Slots(state_dir)
    for number, digest in enumerate((one, zero), 1):
        slot = asyncio.run(release_at_work.prepare(state_dir, digest))
        if digest == one:
            slots.change(slot, number, 0)
            slots.tidy(lambda _revision: Phase.COMMITTED)
    assert (slots.current, slots.holding(zero)) == ("a", "b")
    uncut = memory / "uncut"
    shutil.copytree(state_dir, uncut, symlinks=True)
    done = work(uncut, two, None)
    assert (done.status, done.output.split()) == (0, ["b"]), done.output
    yield Place(state_dir, one, zero, two, files(uncut / "agent/slots/b"), len(done.calls))
    shutil.rmtree(memory)


def work(state_dir: Path, digest: str, kill_at: int | None) -> file_calls.Run:
    command = [sys.executable, "-m", release_at_work.__name__, str(state_dir), digest]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return file_calls.run(command, state_dir / "agent", kill_at, cwd="/", env=environment)


def files(slot: Path) -> frozenset[str]:
    return frozenset(
        path.relative_to(slot).as_posix() for path in slot.rglob("*") if not path.name.endswith(".pyc")
    )


def is_good_after(place: Place, kill_at: int) -> bool:
    """Whether there was a call to be killed at."""
    found = place.state_dir.with_name("found")
    shutil.copytree(place.state_dir, found, symlinks=True)
    done = work(found, place.two, kill_at)
    where = f"killed before call {kill_at} of some {place.calls}, after {done.calls[-3:]}"
    slots, slot = Slots(found), found / "agent/slots/b"
    assert (slots.current, slots.running_digest, launcher.guard(found)) == ("a", place.one, "a"), where
    if slots.digest("b") == place.zero:
        assert files(slot) >= files(place.state_dir / "agent/slots/b"), where
    elif slots.digest("b") == place.two:
        assert files(slot) == place.whole, where
    else:
        assert not slots.digest("b"), where
    assert asyncio.run(release_at_work.prepare(found, place.two)) == "b", where
    assert files(slot) == place.whole, where
    assert not (slot / SCRATCH).exists()
    assert not list(found.rglob("*.part"))
    said = subprocess.run(
        [slot / "bin/python", "-I", "-c", "import agent.daemon; print(agent.daemon.VERSION)"],
        capture_output=True, text=True, timeout=60, check=True, cwd="/",
    ).stdout  # fmt: skip
    assert said.strip() == "0.9.0", where
    shutil.rmtree(found)
    return done.status is None


def test_a_kill_at_some_of_the_calls_of_an_installation_breaks_nothing(place: Place) -> None:
    """The installer works with several threads: no two runs have quite the same calls."""
    assert importlib.util.find_spec("uv"), "its order of calls is the subject"
    killed = sum(is_good_after(place, place.calls * n // FEW) for n in range(FEW))
    assert killed >= FEW - 1


@pytest.mark.long
def test_a_kill_at_no_call_of_an_installation_breaks_a_device(place: Place) -> None:
    cut = 0
    while is_good_after(place, cut):
        cut += 1
    print(f"{cut} kills")
    assert cut > place.calls * 0.8
