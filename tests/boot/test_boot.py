"""An image made by Debian's debootstrap and `outrider agent install --root`, booted by systemd itself in a container.

Not part of `make test`: it fetches a base system. `make test-boot` installs what it needs, or the test says what is missing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.cli import main
from tests.integration.fleet_stand import Stand, eventually

pytestmark = pytest.mark.boot
CHECKOUT = Path(__file__).resolve().parents[2]
SUITES = {"3.11": "bookworm", "3.13": "trixie"}
"""Debian's release by its Python: the image runs the packages of this environment."""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
PROGRAMS = ("debootstrap", "systemd-nspawn", "systemd-analyze")
INCLUDED = "systemd,systemd-sysv,dbus,udev,kmod,ca-certificates,python3,libpython3-stdlib"
UNIT = "outrider-agent.service"
BOOT_S = 180.0
WATCHED_S = 35
"""Longer than WatchdogSec."""

PROBE = f"""[Unit]
After={UNIT}
[Service]
Type=oneshot
ExecStart=/bin/sh /probe.sh
[Install]
WantedBy=multi-user.target
"""
SCRIPT = f"""set -x
show() {{ systemctl show {UNIT} -p ActiveState,SubState,StatusText,NRestarts,WatchdogUSec,User,Result > /told/$1; }}
mkdir -p /told
show booted
systemctl reload {UNIT}; echo $? > /told/reload
while [ ! -e /go-on ]; do sleep 0.2; done
show working
sleep {WATCHED_S}
show watched
kill -STOP $(systemctl show {UNIT} -p MainPID --value)
sleep {WATCHED_S}
show barked
/usr/local/bin/outrider agent doctor --json > /told/doctor
systemctl stop {UNIT}
show stopped
journalctl -u {UNIT} -o json > /told/journal
systemctl poweroff
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base system with the agent installed, and nothing else."""
    missing = [
        name
        for name in PROGRAMS
        if shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is None
    ]
    if missing or os.getuid() != 0:
        pytest.skip(
            f"needs root and {', '.join(missing) or 'nothing more'}: apt-get install debootstrap systemd-container"
        )
    if VERSION not in SUITES:
        pytest.skip(f"no release of Debian has Python {VERSION}; known are {', '.join(SUITES)}")
    root = tmp_path_factory.mktemp("boot") / "root"
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITES[VERSION], str(root)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    if made.returncode:
        pytest.skip(f"debootstrap gives no base system here: {made.stdout[-300:]}")
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True, timeout=120)
    command = [
        environment / "bin/python",
        "-m",
        "pip",
        "install",
        "-q",
        "-c",
        CHECKOUT / "constraints.txt",
        ".[cpu]",
    ]
    subprocess.run(list(map(str, command)), check=True, timeout=900, cwd=CHECKOUT)
    assert main(["agent", "install", "--root", str(root), "--environment", str(environment), "--plain"]) == 0
    return root


class Container:
    """The image while it runs, on the network of this machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "etc/systemd/system/probe.service").write_text(PROBE)
        (root / "probe.sh").write_text(SCRIPT)
        subprocess.run(["systemctl", f"--root={root}", "enable", "probe.service"], check=True, timeout=60)
        self.console = root.parent / "console"
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "-D", str(root), "-b", "--register=no", "--keep-unit", "--timezone=off"],
                stdout=console,
                stderr=console,
                stdin=subprocess.DEVNULL,
            )

    def told(self, name: str) -> str:
        """What the probe has written, once it has."""
        path = self.root / "told" / name
        end_mono = time.monotonic() + BOOT_S
        while not (path.exists() and path.stat().st_size):
            if self.process.poll() is not None or time.monotonic() > end_mono:
                if "Welcome to" not in self.console.read_text(errors="replace"):
                    pytest.skip(
                        "systemd-nspawn does not boot here: "
                        + self.console.read_text(errors="replace")[-300:]
                    )
                raise AssertionError(
                    f"{name} was not told; {self.console.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.1)
        return path.read_text()

    def unit(self, name: str) -> dict[str, str]:
        return dict(line.partition("=")[::2] for line in self.told(name).splitlines())

    def close(self) -> None:
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Stand]:
    stand = Stand(tmp_path / "plane", secure=True)
    yield stand
    stand.stop()


def test_systemd_has_nothing_to_say_against_the_image(image: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={image}", "--man=no", UNIT],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_boots_enrols_itself_works_and_is_started_again_when_it_hangs(
    image: Path, plane: Stand
) -> None:
    with plane.client() as client:
        token = client.create_enrolment_token(device="image-1")["token"]
        order = image / "etc/outrider/credentials/enrol-token"
        order.write_text(f'url = "{plane.url}"\ntoken = "{token}"\n')
        order.chmod(0o600)
        container = Container(image)
        try:
            booted = container.unit("booted")
            assert (booted["ActiveState"], booted["User"], booted["NRestarts"]) == ("active", "outrider", "0")
            assert container.told("reload").strip() == "0"
            eventually(lambda: [d["presence"] for d in client.devices()] == ["online"], BOOT_S)
            (image / "go-on").touch()
            assert container.unit("working")["StatusText"].endswith("connected")
            assert container.unit("watched")["NRestarts"] == "0"
            barked = container.unit("barked")
            assert barked["NRestarts"] == "1"
            findings = {row["what"]: row for row in json.loads(container.told("doctor"))}
            for what in (
                "watchdog",
                "permissions",
                "enrolment",
                "certificate",
                "broker",
                "control plane",
                "disk speed",
            ):
                assert findings[what]["state"] == "ok", findings[what]
            stopped = container.unit("stopped")
            assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
            journal = [json.loads(line) for line in container.told("journal").splitlines()]
        finally:
            (image / "go-on").touch()
            container.close()
    assert any("Fatal Python error: Aborted" in str(entry.get("MESSAGE")) for entry in journal)
    enrolled = [entry for entry in journal if entry.get("DEVICE") == "image-1"]
    assert enrolled[0]["LOGGER"] == "agent.first_boot"
    assert not _holds(journal, token.partition(".")[0])


def _holds(journal: list[dict[str, Any]], secret: str) -> bool:
    return secret in json.dumps(journal)
