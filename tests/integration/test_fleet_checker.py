"""Checks of uploads as real children: what hangs, floods or leaves something behind."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from fleet.checker import Checker
from fleet.confined import Bounds
from tests.integration.fleet_stand import eventually

OK = 'print(\'{"kind":"check-result","ok":true,"card":{"a":1}}\')'


def verdict(
    tmp_path: Path, program: str, wall_s: float = 20.0, bounds: Bounds | None = None
) -> tuple[bool, str]:
    checker = Checker(bounds or Bounds(), wall_s, tmp_path, {"model": (sys.executable, "-c", program)})
    result = asyncio.run(checker.check("model", tmp_path))
    return result.ok, result.message


def test_good_child_gives_its_verdict(tmp_path: Path) -> None:
    assert verdict(tmp_path, OK) == (True, "")


def test_child_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    ok, message = verdict(tmp_path, program, wall_s=3.0)
    assert not ok
    assert "did not end within 3 s" in message
    grandchild = int(note.read_text())
    eventually(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie")


def test_child_that_floods_is_refused(tmp_path: Path) -> None:
    ok, message = verdict(tmp_path, "import sys\nwhile True: sys.stdout.write('x' * 65536)")
    assert not ok
    assert "too much" in message


def test_child_that_talks_nonsense_is_refused_with_its_last_words(tmp_path: Path) -> None:
    ok, message = verdict(tmp_path, "import sys\nprint('fine!')\nsys.exit('no room left')")
    assert not ok
    assert "ended with status 1 without a verdict" in message
    assert "no room left" in message


def test_child_over_its_processor_time_is_ended(tmp_path: Path) -> None:
    ok, message = verdict(tmp_path, "while True: pass", bounds=Bounds(cpu_s=1))
    assert not ok
    assert "signal" in message


def test_child_sees_no_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", "hush")
    program = f"import os\nassert 'OUTRIDER_FLEET_TOKEN' not in os.environ\n{OK}"
    assert verdict(tmp_path, program) == (True, "")


def test_file_over_the_limit_cannot_be_written(tmp_path: Path) -> None:
    program = f"open({str(tmp_path / 'big')!r}, 'wb').write(bytes(10_000_000))\n{OK}"
    ok, _ = verdict(tmp_path, program, bounds=Bounds(file_bytes=1_000_000))
    assert not ok
