"""What an application or a person at the device may do about updates: lock, cancel, quarantine, bundle."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.agent_rig import ROOT, Rig, rig, until
from tests.fakes.mosquitto import PROGRAM

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path) as made:
        made.start()
        until(lambda: made.status())
        yield made


def ask(made: Rig, method: str, path: str, **parts: object) -> httpx.Response:
    port = int((made.run_dir / "http-port").read_text())
    return httpx.request(method, f"http://127.0.0.1:{port}{path}", timeout=10.0, trust_env=False, **parts)  # type: ignore[arg-type]


def outrider(made: Rig, *arguments: str) -> subprocess.CompletedProcess[str]:
    where = ("--state-dir", str(made.state_dir), "--run-dir", str(made.run_dir))
    command = [sys.executable, "-m", "outrider", "agent", *arguments, *where]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_an_application_holds_an_update_back_and_lets_it_go(made: Rig) -> None:
    model, workflow = made.plane.add_model({"model.toml": b"a"}), made.plane.add_workflow({})
    assert ask(made, "PUT", "/update/lock", json={"holder": "till", "seconds": 60}).status_code == 200
    assert ask(made, "PUT", "/update/lock", json={"holder": "kiosk", "seconds": 60}).status_code == 409
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("WAIT_WINDOW", 1)
    assert made.status()["reported"]["phase"] == "WAIT_WINDOW"
    assert outrider(made, "update", "unlock", "--holder", "till").stdout.strip() == "updates go on"
    assert made.observer.reported("COMMITTED", 1)["revision"] == 1


def test_an_update_that_waits_is_cancelled_by_the_person_at_the_device(made: Rig) -> None:
    model, workflow = made.plane.add_model({"model.toml": b"a"}), made.plane.add_workflow({})
    refused = outrider(made, "update", "cancel")
    assert (refused.returncode, "no update" in refused.stderr) == (1, True)
    assert outrider(made, "update", "lock", "--seconds", "60").returncode == 0
    made.push(1, **made.one_camera(model, workflow))
    made.observer.reported("WAIT_WINDOW", 1)
    assert outrider(made, "update", "cancel").stdout.strip() == "revision 1 is cancelled"
    assert made.observer.reported("REJECTED", 1)["reason"] == "cancelled"


def test_what_rolled_back_stays_out_until_it_is_cleared_and_the_recorder_knows_why(made: Rig) -> None:
    good, workflow = made.plane.add_model({"model.toml": b"a"}), made.plane.add_workflow({})
    made.push(1, **made.one_camera(good, workflow))
    made.observer.reported("COMMITTED", 1)
    never = made.plane.add_workflow({"fake": {"never_switch": True}})
    made.push(2, **made.one_camera(good, never))
    made.observer.reported("ROLLED_BACK", 2)
    made.push(3, **made.one_camera(good, never))
    reported = made.observer.reported("REJECTED", 3)
    assert (reported["reason"], reported["update"]["quarantined"]) == ("quarantined", [never])
    assert never[7:19] in outrider(made, "quarantine", "list").stdout
    assert outrider(made, "quarantine", "clear", never[7:15]).stdout.strip() == never
    assert outrider(made, "quarantine", "list").stdout == ""
    file = made.state_dir / "bundle.tar.gz"
    assert outrider(made, "bundle", str(file)).returncode == 0
    with tarfile.open(file) as tar:
        parts = {member.name: json.load(tar.extractfile(member)) for member in tar}  # type: ignore[arg-type]
    phases = [(e["revision"], e["phase"]) for e in parts["recorder.json"] if e["kind"] == "update"]
    assert (2, "ROLLING_BACK") in phases
    assert [row["phase"] for row in parts["updates.json"]["revisions"]] == [
        "COMMITTED",
        "ROLLED_BACK",
        "REJECTED",
    ]
    assert "door.mp4" in json.dumps(parts["updates.json"]["current"])


def test_a_bundle_holds_no_secret(made: Rig) -> None:
    model, workflow = made.plane.add_model({"model.toml": b"a"}), made.plane.add_workflow({})
    parts = made.one_camera(model, workflow)
    parts["cameras"]["door"]["source"] = "rtsp://user:hunter2@127.0.0.1/x"
    made.push(1, **parts)
    made.observer.reported("COMMITTED", 1)
    file = made.state_dir / "bundle.tar.gz"
    assert outrider(made, "bundle", str(file)).returncode == 0
    with tarfile.open(file) as tar:
        text = b"".join(tar.extractfile(member).read() for member in tar)  # type: ignore[union-attr]
    assert b"127.0.0.1/x" in text
    assert b"hunter2" not in text
