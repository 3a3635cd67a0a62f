"""The agent's own update, end to end: control plane, broker, launcher, agent and camera as processes; releases that are good and not.

Every release is a wheel of this tree with another version; what it needs besides is taken from the installation, as its manifest says.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import FleetError
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.faults.launched import Gaps, Launched, release, upload_workflow
from tests.integration.fleet_stand import Stand, eventually

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(300),
]
INSTALLED = importlib.metadata.version("outrider")
GOOD = "0.9.0"
BLIND_AT_MOST_S = 30.0
"""Two starts of an agent on a busy machine, cameras and all; the figure itself is printed."""

NO_IMPORT = {"agent/daemon.py": "raise ImportError('planted')"}
NO_START = {"outrider/__main__.py": "raise RuntimeError('planted')"}
NO_CONTACT = {
    "agent/link.py": "import socket as _socket\ndef _deaf(*_given):\n    raise OSError('planted')\n_socket.socket.connect = _deaf\n"
    "_socket.socket.connect_ex = _deaf"
}
CRASHES = {
    "agent/daemon.py": "import os as _os, threading as _threading\n_end = _threading.Timer(4.0, lambda: _os._exit(9))\n"
    "_end.daemon = True\n_end.start()"
}


@dataclass
class Place:
    stand: Stand
    device: Launched
    folder: Path

    def release(self, version: str, planted: dict[str, str] | None = None) -> str:
        with self.stand.client() as client:
            return release(client, self.folder, version, planted)

    def is_good(self) -> None:
        """The good release serves."""
        told = self.device.reported()
        assert told["agent_version"] == GOOD
        assert self.device.slot == "a"
        self.device.sees()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A device that was installed with this tree, brought to the good release, in slot a."""
    folder = tmp_path_factory.mktemp("releases")
    stand = Stand(folder / "data", scripted=False)
    with stand.client() as client:
        upload_workflow(client, folder)
    device = Launched(stand, folder / "device", "r-1")
    try:
        device.start()
        first = device.over(device.push())
        assert (first["phase"], first["agent_version"], first["agent_release"]) == (
            "COMMITTED",
            INSTALLED,
            "",
        )
        device.sees()
        made = Place(stand, device, folder)
        good = made.release(GOOD)
        with Gaps(device) as gaps:
            told = device.over(device.push({"release": good}))
            device.sees()
        assert told["phase"] == "COMMITTED", told
        assert told["agent_version"] == GOOD
        print(f"good release: longest gap {gaps.longest_s:.1f} s, starts {device.starts}")
        assert device.starts == 1, "the agent becomes the launcher, which becomes the new one: one process"
        assert gaps.longest_s < BLIND_AT_MOST_S
        yield made
    finally:
        device.stop()
        stand.stop()


def test_what_runs_is_the_slot_and_the_control_plane_knows_it(place: Place) -> None:
    place.is_good()
    digest = place.device.reported()["agent_release"]
    assert digest.startswith("sha256:")
    assert (place.device.state_dir / "agent" / "slots" / "a" / "RELEASE").read_text() == digest
    assert not (place.device.state_dir / "agent" / "pending").exists()
    executable = Path(f"/proc/{place.device.pid}/cmdline").read_bytes().split(b"\0")[0].decode()
    assert executable == str(place.device.state_dir / "agent" / "slots" / "a" / "bin" / "python")
    camera = place.device.status()["health"]["cameras"]["door"]
    blind_s, hour_s = (camera[name]["agent-restarting"] for name in ("blind_s", "blind_hour_s"))
    assert 0 < blind_s < BLIND_AT_MOST_S
    assert abs(hour_s - blind_s) < 1.0
    print(f"blind for the good release: {blind_s:.1f} s")
    with place.stand.client() as client:
        users = client.users_of("release", "agent", "1")
    assert [(use["device"], use["wanted"], use["running"]) for use in users] == [("r-1", True, True)]


@pytest.mark.parametrize(
    ("version", "planted", "end", "reason"),
    [
        ("0.9.1", NO_IMPORT, "REJECTED", "release-failed"),
        pytest.param("0.9.2", NO_START, "ROLLED_BACK", "starts-without-commit", marks=pytest.mark.long),
        pytest.param("0.9.3", NO_CONTACT, "ROLLED_BACK", "contact-lost", marks=pytest.mark.long),
        ("0.9.4", CRASHES, "ROLLED_BACK", "starts-without-commit"),
    ],
)
def test_a_bad_release_is_taken_back_by_the_device_itself(
    place: Place, version: str, planted: dict[str, str], end: str, reason: str
) -> None:
    bad = place.release(version, planted)
    before = place.device.reported()
    with Gaps(place.device) as gaps:
        revision = place.device.push({"release": bad}, probation_s=6.0)
        told = place.device.over(revision)
        place.is_good()
    print(f"{reason}: longest gap {gaps.longest_s:.1f} s")
    assert (told["phase"], told["reason"]) == (end, reason), told
    assert told["revision"] == before["revision"]
    assert told["agent_release"] == before["agent_release"]
    with place.stand.client() as client:
        digest = client.version("release", *bad.split("@"))["digest"]
    held = digest in told["update"]["quarantined"]
    assert held is (reason == "starts-without-commit"), "lost contact quarantines nothing"
    if end == "REJECTED":
        assert gaps.longest_s < 3.0, "nothing that serves was touched"
        assert "planted" in told["message"]


@pytest.mark.long
def test_an_older_release_is_taken_only_where_that_is_meant(place: Place) -> None:
    old = place.release("0.8.0")
    told = place.device.over(place.device.push({"release": old}))
    assert (told["phase"], told["reason"], told["agent_version"]) == ("REJECTED", "release-older", GOOD)
    told = place.device.over(place.device.push({"release": old, "allow_downgrade": True}))
    assert (told["phase"], told["agent_version"]) == ("COMMITTED", "0.8.0")
    told = place.device.over(place.device.push({"release": "agent@1"}))
    assert (told["phase"], told["agent_version"]) == ("COMMITTED", GOOD)
    place.is_good()


@pytest.mark.long
def test_a_rollout_brings_a_release_and_takes_it_back(place: Place) -> None:
    newer = place.release("0.9.7")
    plan = {
        "name": "next",
        "change": {"agent": {"release": newer}},
        "waves": [{"percent": 100, "gates": {"soak_s": 0}}],
    }
    with place.stand.client() as client:
        client.rollouts.create(plan)
        eventually(lambda: client.rollouts.get("next")["phase"] == "DONE", 180)
        assert place.device.reported()["agent_version"] == "0.9.7"
        client.rollouts.order("next", "roll-back")
        eventually(lambda: client.rollouts.get("next")["phase"] == "ROLLED_BACK", 180)
    place.is_good()


@pytest.mark.long
def test_the_command_line_makes_uploads_lists_names_and_assigns(place: Place) -> None:
    from tests.fakes.releases import freeze, of_this_tree

    def outrider(*arguments: str) -> str:
        command = [sys.executable, "-m", "outrider", "fleet", "release", *arguments]
        access = {"OUTRIDER_FLEET_URL": place.stand.url, "OUTRIDER_FLEET_TOKEN": place.stand.admin_token}
        done = subprocess.run(
            command, env={**os.environ, **access}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    folder = place.folder / "by-hand"
    wheel, base = of_this_tree(folder, "0.9.8"), freeze(folder / "base.txt")
    said = outrider(
        "build",
        str(folder / "made"),
        "--wheel",
        str(wheel),
        "--extra",
        "cpu",
        "--base",
        str(base),
        "--offline",
    )
    assert "1 wheel(s)" in said
    assert "outrider 0.9.8" in said
    name = outrider("upload", str(folder / "made")).split()[0]
    assert name == f"agent-cp3{sys.version_info.minor}-linux-{os.uname().machine}@1"
    name = name.partition("@")[0]
    outrider("alias", name, "stable", "1")
    row = next(row for row in json.loads(outrider("list", "--json")) if row["name"] == name)
    assert (row["card"]["release"]["version"], row["aliases"]) == ("0.9.8", ["stable"])
    assert "0.9.8" in outrider("list")
    told = json.loads(outrider("assign", f"{name}@stable", "--device", "r-1", "--json"))
    assert place.device.over(told[0]["revision"])["agent_version"] == "0.9.8"
    outrider("assign", "agent@1", "--device", "r-1", "--allow-downgrade")
    eventually(
        lambda: place.device.reported().get("agent_version") == GOOD and place.device.slot == "a", 120.0
    )
    assert "yes" in outrider("where", "agent@1")


def test_a_release_for_another_python_is_refused_before_it_is_sent(place: Place) -> None:
    from fleet.client import ApiError

    def inventory() -> Any:
        return (place.device.reported().get("inventory") or {}).get("python")

    eventually(inventory)
    card = place.folder / f"release-{GOOD}" / "release.json"
    other = f"3.{sys.version_info.minor + 1}"
    card.write_text(
        card.read_text().replace(f'"python": "3.{sys.version_info.minor}"', f'"python": "{other}"')
    )
    with place.stand.client() as client:
        row = client.upload_release(card.parent, "elsewhere")
    with pytest.raises(ApiError) as refused:
        place.device.push({"release": f"elsewhere@{row['version']}"})
    assert isinstance(refused.value, FleetError)
    assert refused.value.reason.value == "release-unfit"
