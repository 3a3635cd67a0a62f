"""The systemd unit: verified by systemd itself where it is there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[3] / "systemd" / "outrider-agent.service"


def test_the_unit_keeps_the_run_directory_across_restarts_and_never_gives_up() -> None:
    text = UNIT.read_text()
    for line in (
        "RuntimeDirectoryPreserve=restart",
        "StartLimitIntervalSec=0",
        "Type=notify",
        "Restart=always",
    ):
        assert f"\n{line}\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/outrider agent run", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
