"""Cuts between every two changes of a file by what starts the agent: its count of starts, and its way back to the former release.

As a SIGKILL of the real program, held by the kernel at each call; and as power cuts that lose what was not fsynced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent import launcher
from agent.update.__main__ import update
from agent.update.journal import Journal
from agent.update.tree import TreeGround
from tests.fakes import file_calls
from tests.fakes.power_cut import CutDisk, Left, PowerCut
from tests.fakes.update_tree import Offers, at_rest, whole

pytestmark = pytest.mark.timeout(300)
PROGRAM = Path(launcher.__file__)


@dataclass(frozen=True)
class Trial:
    """A revision on probation that brought a release. `former` is the slot before it, `revision` the one that is gone back to."""

    place: Path
    offers: Offers
    brought: int
    former: str
    trial: str
    revision: int


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="launcher-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module", params=["from-slot-a", "from-nothing"])
def trial(memory: Path, request: pytest.FixtureRequest) -> Trial:
    name = str(request.param)
    offers = Offers(memory / f"offers {name}")
    place = memory / name
    place.mkdir()
    before, brought = (5, 6) if name == "from-slot-a" else (0, 4)
    if before:
        update(place, offers.source, offers.paths[:before])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TreeGround, "judge", _ends)
        with pytest.raises(PowerCut):
            update(place, offers.source, [offers.paths[brought - 1]])
    former, trial, revision = ("a", "b", 4) if before else ("", "a", 0)
    for slot in (place / "agent/slots").iterdir():
        _program(slot / "bin/python", slot.name)
    _program(place / "installed", "")
    return Trial(place, offers, brought, former, trial, revision)


def _ends(*_: Any) -> Any:
    raise PowerCut("on probation")


def _program(path: Path, says: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho started '{says}'\n")
    path.chmod(0o755)


def command(place: Path) -> tuple[list[str], dict[str, Any]]:
    given = [sys.executable, "-I", str(PROGRAM), "run", "--state-dir", str(place)]
    return given, {"env": {launcher.BASE_VARIABLE: str(place / "installed")}, "cwd": "/"}


def start(place: Path) -> str:
    """Which agent the launcher becomes."""
    given, options = command(place)
    said = subprocess.run(given, capture_output=True, text=True, timeout=60, check=True, **options).stdout
    return _started(said)


def _started(output: str) -> str:
    (line,) = [line for line in output.splitlines() if line.startswith("started")]
    return line.removeprefix("started").strip()


def comes_back(found: Path, trial: Trial, start: Callable[[Path], str]) -> None:
    """What a start finds after a cut is whole; the former release starts within the starts there are, and for good."""
    whole(found)
    started = [start(found) for _ in range(launcher.MAX_STARTS + 1)]
    back = started.index(trial.former)
    assert back < launcher.MAX_STARTS, started
    assert started == [trial.trial] * back + [trial.former] * (len(started) - back), started
    (ended,) = update(found, trial.offers.source, [])
    assert (ended.revision, ended.phase.value, ended.reason) == (
        trial.brought, "ROLLED_BACK", "starts-without-commit",
    )  # fmt: skip
    assert at_rest(found) == trial.revision
    journal = Journal(found)
    assert journal.quarantined(), "what came with the release is held"
    journal.close()


@pytest.mark.skipif(not file_calls.possible(), reason="this kernel asks nobody about system calls")
def test_no_kill_between_two_calls_of_the_launcher_loses_the_way_back(memory: Path, trial: Trial) -> None:
    cuts = 0
    for before in range(launcher.MAX_STARTS):
        ready = memory / "ready"
        shutil.copytree(trial.place, ready, symlinks=True)
        for _ in range(before):
            assert start(ready) == trial.trial
        cut, last = 0, False
        while not last:
            found = memory / "found"
            shutil.copytree(ready, found, symlinks=True)
            given, options = command(found)
            done = file_calls.run(given, found, cut, **options)
            last = done.status is not None
            try:
                comes_back(found, trial, start)
            except (AssertionError, ValueError) as e:
                raise AssertionError(
                    f"start {before + 1}, killed before call {cut}, after {done.calls}: {e}"
                ) from e
            shutil.rmtree(found)
            cut += 1
        cuts += cut - 1
        assert cut > 4, done.calls
        shutil.rmtree(ready)
    assert cuts >= 20


def test_no_loss_of_power_between_two_calls_of_the_launcher_loses_the_way_back(
    memory: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = 0
    for before in range(launcher.MAX_STARTS):
        place = memory / "powered"
        cut, last = 0, False
        while not last:
            shutil.copytree(trial.place, place, symlinks=True)
            for _ in range(before):
                launcher.guard(place)
            disk = CutDisk(place, cut)
            with monkeypatch.context() as patch:
                patch.setattr(launcher, "os", _System(disk))
                try:
                    launcher.guard(_path(disk, place))
                    last = True
                except PowerCut:
                    cuts += 1
            for how in Left:
                try:
                    comes_back(disk.left(memory / "left", how), trial, launcher.guard)
                except (AssertionError, ValueError) as e:
                    raise AssertionError(
                        f"start {before + 1}, cut {cut}, {how.name}, after {disk.calls}: {e}"
                    ) from e
                shutil.rmtree(memory / "left")
            shutil.rmtree(place)
            cut += 1
    assert cuts >= 20


class _System:
    """The module `os` of the launcher, where a disk stands for the machine's."""

    def __init__(self, disk: CutDisk) -> None:
        self._disk = disk
        self.path = os.path

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path.is_dir():
            self._disk.sync_directory(path)
        else:
            self._disk.sync(_Synced(path))  # type: ignore[arg-type]

    def replace(self, source: Path, target: Path) -> None:
        self._disk.replace(Path(source), Path(target))

    def symlink(self, target: str, link: Path) -> None:
        self._disk.symlink(Path(link), target)


class _Synced:
    """A file by its name, all of it written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def flush(self) -> None:
        pass

    def fileno(self) -> int:
        return os.open(self.path, os.O_RDONLY)


def _path(disk: CutDisk, place: Path) -> Path:
    """The place, whose files are opened and removed through the disk."""

    class Cut(type(place)):  # type: ignore[misc]
        def open(self, mode: str = "r", *given: Any, **named: Any) -> Any:
            return disk.open(Path(self)) if mode == "wb" else super().open(mode, *given, **named)

        def unlink(self, missing_ok: bool = False) -> None:
            assert missing_ok
            disk.remove(Path(self))

    return Cut(place)
