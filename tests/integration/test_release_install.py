"""The child processes that install a release: held back, within their limits, and ended with what killed agents have left."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from agent.errors import UpdateRefused
from agent.restraint import OOM_SCORE, RESERVE_BYTES
from agent.update import install
from agent.update.install import PRIORITY, Work, end_leftovers
from agent.update.installed import look, python_of
from agent.update.slots import BASE
from tests.fakes.releases import of_this_tree
from wire.reasons import Reason
from wire.release import ReleaseCard


def run(folder: Path, code: str, within_s: float = 60.0) -> str:
    return asyncio.run(Work(folder, time.monotonic() + within_s).run([sys.executable, "-c", code]))


def test_they_are_held_back(tmp_path: Path) -> None:
    code = (
        "import os, resource; print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), "
        "os.environ['TMPDIR'], resource.getrlimit(resource.RLIMIT_DATA)[0] > 0)"
    )
    assert run(tmp_path, code).split() == [
        str(min(19, os.nice(0) + PRIORITY)),
        str(OOM_SCORE),
        str(tmp_path),
        "True",
    ]


def test_one_that_takes_too_much_memory_or_time_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UpdateRefused, match="not done within"):
        run(tmp_path, "import time; time.sleep(600)", 0.5)
    given = SimpleNamespace(available=RESERVE_BYTES)
    monkeypatch.setattr(install.psutil, "virtual_memory", lambda: given)
    assert run(tmp_path, "print(len(bytearray(64 << 20)))")
    with pytest.raises(UpdateRefused, match="MemoryError") as refused:
        run(tmp_path, "bytearray(400 << 20)")
    assert refused.value.reason is Reason.RELEASE_FAILED


def test_what_a_killed_agent_has_left_at_work_on_a_slot_is_ended_and_nothing_else(tmp_path: Path) -> None:
    slot = tmp_path / "slots" / "a"
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    left = subprocess.Popen([*command, str(slot / "bin" / "python")])
    other = subprocess.Popen([*command, f"{slot}b/bin/python"])
    try:
        end_leftovers(slot)
        assert left.wait(30) == -9
        assert psutil.Process(other.pid).is_running()
        assert other.poll() is None
    finally:
        for each in (left, other):
            each.kill()
            each.wait()


@pytest.mark.parametrize("by", ["uv", "pip"])
def test_a_release_is_installed_by_what_the_installation_has(
    by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And sees, after its own, what it takes from the installation in this very version."""
    if by == "pip":
        monkeypatch.setattr(install, "find_uv", lambda _base: None)
    house, slot = tmp_path / "house", tmp_path / "slots" / "b"
    of_this_tree(house, "0.9.9")
    installed = asyncio.run(look(python_of({})))
    card = ReleaseCard(
        version="0.9.9",
        python=installed.version,
        platform=installed.platform,
        base={"numpy": installed.found["numpy"]},
    )
    slot.mkdir(parents=True)
    asyncio.run(install.install(house, slot, card, installed))
    where = "import agent, numpy; print(agent.__file__, numpy.__file__)"
    said = subprocess.run(
        [slot / "bin" / "python", "-c", where], capture_output=True, text=True, check=True, cwd="/"
    )
    agent, numpy = said.stdout.split()
    assert agent.startswith(str(slot))
    assert numpy.startswith(installed.paths[0])
    assert Path((slot / BASE).read_text().strip()).name == f"numpy-{installed.found['numpy']}.dist-info"
    assert not (slot / ".scratch").exists()
    with pytest.raises(UpdateRefused, match="version 1 is expected"):
        asyncio.run(
            install.install(house, tmp_path / "c", card.model_copy(update={"version": "1"}), installed)
        )


def test_the_installation_says_what_it_holds() -> None:
    found = asyncio.run(look(python_of({})))
    assert (found.version, found.found["outrider"]) == (
        f"3.{sys.version_info.minor}",
        importlib.metadata.version("outrider"),
    )
    assert found.found["numpy"]
    assert all(Path(path).is_dir() for path in found.paths)
    for program in ("/bin/true", "/nowhere/python"):
        with pytest.raises(UpdateRefused):
            asyncio.run(look(Path(program)))
