"""The child processes that install a release: held back, within their limits, and ended with what killed agents have left."""

from __future__ import annotations

import asyncio
import importlib.metadata
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
from wire.reasons import Reason


def run(folder: Path, code: str, within_s: float = 60.0) -> str:
    return asyncio.run(Work(folder, time.monotonic() + within_s).run([sys.executable, "-c", code]))


def test_they_are_held_back(tmp_path: Path) -> None:
    code = (
        "import os, resource; print(os.nice(0), open('/proc/self/oom_score_adj').read().strip(), "
        "os.environ['TMPDIR'], resource.getrlimit(resource.RLIMIT_DATA)[0] > 0)"
    )
    assert run(tmp_path, code).split() == [str(PRIORITY), str(OOM_SCORE), str(tmp_path), "True"]


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
