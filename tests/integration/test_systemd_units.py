"""The files under `systemd/`, judged by systemd's own programs. `systemd-analyze verify` ends with 0 on a misspelt key, so its
stderr has to be empty besides, and two tests prove that this catches a slip."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"
UNITS = ("outrider-agent.service", "outrider-fleet.service")
DROP_INS = sorted((SYSTEMD / "outrider-agent.service.d").glob("*.conf"))
MAX_EXPOSURE = 2.0

analysed = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def verify(folder: Path, unit: str, text: str, drop_in: Path | None = None) -> tuple[int, str]:
    """Status and stderr. The program it starts is put in place of the one that is not installed here."""
    (folder / unit).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    if drop_in is not None:
        (folder / f"{unit}.d").mkdir()
        shutil.copy(drop_in, folder / f"{unit}.d")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(folder / unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stderr


@analysed
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_has_nothing_to_say_against_a_unit(tmp_path: Path, unit: str) -> None:
    assert verify(tmp_path, unit, (SYSTEMD / unit).read_text()) == (0, "")


@analysed
@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_has_nothing_to_say_against_a_drop_in(tmp_path: Path, drop_in: Path) -> None:
    unit = UNITS[0]
    assert verify(tmp_path, unit, (SYSTEMD / unit).read_text(), drop_in) == (0, "")


@analysed
@pytest.mark.parametrize(
    ("good", "bad"), [("WatchdogSec=30", "WatchdogSecs=30"), ("Restart=always", "Restart=sometimes")]
)
def test_a_slip_is_caught_by_what_is_said_alone(tmp_path: Path, good: str, bad: str) -> None:
    text = (SYSTEMD / UNITS[0]).read_text()
    assert good in text
    status, said = verify(tmp_path, UNITS[0], text.replace(good, bad))
    assert status == 0
    assert said


@analysed
@pytest.mark.parametrize("unit", UNITS)
def test_a_service_is_exposed_no_more_than_it_may_be(unit: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / unit)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level is not None, done.stderr
    assert float(level[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "RuntimeDirectoryPreserve=restart",
        "OOMPolicy=continue",
        "LimitCORE=0",
        "RemoveIPC=yes",
        "WatchdogSec=30",
        "WatchdogSignal=SIGABRT",
        "DevicePolicy=closed",
        "DeviceAllow=char-nvidia* rw",
        "SetCredential=enrol-token:none",
    ],
)
def test_the_agents_unit_keeps_what_a_device_nobody_visits_needs(line: str) -> None:
    assert f"\n{line}\n" in (SYSTEMD / UNITS[0]).read_text()


@pytest.mark.parametrize(
    "key",
    ["PrivateDevices=yes", "ProcSubset=pid", "OnFailure=", "network-online.target\n", "time-sync.target\n"],
)
def test_the_agents_unit_has_nothing_that_hides_a_gpu_or_holds_up_a_boot(key: str) -> None:
    settings = [line for line in (SYSTEMD / UNITS[0]).read_text().splitlines() if not line.startswith("#")]
    assert key not in "\n".join(settings) + "\n"


@pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None or os.getuid() != 0, reason="needs systemd-sysusers and root"
)
def test_users_and_directories_are_made_in_another_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for conf in sorted((SYSTEMD / "sysusers.d").glob("*.conf")):
        subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(conf)], check=True, timeout=60)
    users = (tmp_path / "etc/passwd").read_text()
    assert "outrider:x:" in users
    assert "outrider-fleet:x:" in users
    groups = dict(line.split(":", 1) for line in (tmp_path / "etc/group").read_text().splitlines())
    assert groups["video"].endswith(":outrider")
    assert groups["render"].endswith(":outrider")
    conf = SYSTEMD / "tmpfiles.d/outrider.conf"
    done = subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(conf)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    uid = int(next(line for line in users.splitlines() if line.startswith("outrider:")).split(":")[2])
    for path, mode, owner in (("etc/outrider", 0o750, 0), ("etc/outrider/credentials", 0o700, 0), ("var/lib/outrider", 0o700, uid)):  # fmt: skip
        status = (tmp_path / path).stat()
        assert (status.st_mode & 0o7777, status.st_uid) == (mode, owner), path


def test_every_udev_rule_matches_before_it_sets() -> None:
    text = (SYSTEMD / "udev/70-outrider.rules").read_text()
    labels = set(re.findall(r'^LABEL="(\w+)"', text, re.M))
    assert set(re.findall(r'GOTO="(\w+)"', text)) <= labels
    for line in text.splitlines():
        if not line or line.startswith(("#", "LABEL")):
            continue
        terms = line.split(", ")
        assert all(re.fullmatch(r'[A-Z]+(\{\w+\})?(==|\+=|=|!=)"[^"]+"', term) for term in terms), line
        assert "==" in terms[0]
