"""Passwords of cameras, planted and then looked for wherever anything is written, sent, shown or handed on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from outrider.demo.stage import Stage
from tests.e2e.conftest import wait_until
from tests.e2e.listener import Listener
from tests.faults.camera_yard import Server, programmes, why_not

RIGHT, WRONG = "planted/Right-5d1c", "planted/Wrong-77ab"
USER = "viewer"
CLIPS = {"seconds": 5}


@pytest.fixture
def server(assets: Path, tmp_path: Path) -> Iterator[Server]:
    if reason := why_not():
        pytest.skip(reason)
    video = assets / "video" / "one-by-one-person-detection.mp4"
    server = Server(programmes(video, tmp_path), word=RIGHT)
    server.start()
    yield server
    server.kill()


def forms() -> list[bytes]:
    """Each password as it is, as it stands in an address, and as HTTP's Basic sends it."""
    found: list[bytes] = []
    for word in (RIGHT, WRONG):
        basic = base64.b64encode(f"{USER}:{word}".encode())
        found += [word.encode(), quote(word, safe="").encode(), basic]
    return found


def where(name: str, content: bytes) -> list[str]:
    return [f"{name}: {form.decode()}" for form in forms() if form in content]


def on_disk(folder: Path) -> list[str]:
    """Every file but those that are there to hand secrets to sinks: mode 0600, on a tmpfs."""
    found: list[str] = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink():
            continue
        if path.parent.name == "fleet-secrets":
            assert path.stat().st_mode & 0o777 == 0o600
            assert where(str(path), path.read_bytes()), "what is planted is found where it is"
            continue
        found += where(str(path), path.read_bytes())
    return found


def of_processes() -> list[str]:
    """Titles, arguments and environments of everything that was started, but the test's own camera."""
    found: list[str] = []
    seen = 0
    for process in psutil.Process().children(recursive=True):
        try:
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            if b"rtsp_programs" in arguments:
                continue
            seen += 1
            for part in ("cmdline", "environ", "comm"):
                found += where(
                    f"{part} of {arguments[:80]!r}", Path(f"/proc/{process.pid}/{part}").read_bytes()
                )
        except OSError:
            continue
    assert seen >= 5, "control plane, broker, agent and pipelines were looked at"
    return found


def test_a_planted_password_is_found_nowhere(bare_stage: Stage, server: Server, tmp_path: Path) -> None:
    stage = bare_stage
    listener = Listener(stage.plane["broker_host"], stage.plane["broker_port"]).start()
    try:
        for name, word in (("right", RIGHT), ("wrong", WRONG)):
            stage.api.set_secret(stage.device, name, word)
        _run(stage, server)
        told: list[tuple[str, Any]] = [
            ("messages", [heard.envelope for heard in listener.heard]),
            ("status", stage.status()),
            ("cameras", stage.cameras()),
            ("metrics", stage._local.get("/metrics").text),
            ("device", stage.api.device(stage.device)),
            ("desired", stage.api.desired(stage.device)),
            ("events", stage.api.events(stage.device)),
            ("audit", list(stage.api.audit())),
            ("health", stage.api.health_history(stage.device)),
        ]
        found = [place for name, value in told for place in where(name, json.dumps(value).encode())]
        found += of_processes() + on_disk(stage.root) + on_disk(stage.run_dir)
        assert found == []
        kept = {path.name for path in (stage.root / "agent").iterdir()}
        assert {"outbox.db", "revisions", "journal.db"} <= kept, kept
    finally:
        listener.stop()
    stage.stop()
    assert on_disk(stage.root) == [], "also when everything has been written out"


def _run(stage: Stage, server: Server) -> None:
    """A camera that works, by each decoder, one with a wrong password, one that goes away and comes back; pictures and clips."""
    address = f"rtsp://{USER}:secret:right@127.0.0.1:{server.port}"
    open_s = {"deadlines": {"open_s": 3, "read_s": 3}}
    cameras: dict[str, Any] = {
        "gate": {"source": f"{address}/a", "clips": CLIPS, "privacy": {"pictures": "fleet"}, **open_s},
        "yard": {"source": f"{address}/b", "options": {"decoder": "gstreamer"}, **open_s},
        "wrong": {"source": address.replace("secret:right", "secret:wrong") + "/c", **open_s},
        "still": {"source": f"snapshot+http://{USER}:secret:right@127.0.0.1:{server.port}/d", **open_s},
    }
    pipelines = {name: {"camera": name, "workflow": "w", "events": {"send": "none"}} for name in cameras}
    document = {
        "cameras": cameras,
        "workflows": {"w": {"workflow": "tell"}},
        "pipelines": pipelines,
        "settings": {"health_s": 1},
    }
    assert stage.await_outcome(stage.push(document))["phase"] == "COMMITTED"
    for name in ("gate", "yard"):
        wait_until(lambda name=name: stage.cameras()[name]["results"] > 10, f"results of {name}", 90.0)
    wait_until(lambda: stage.cameras()["wrong"]["blind_now"]["cause"] == "camera-password", "the refusal")
    assert stage.picture("gate")
    assert stage.api.command(stage.device, "snapshot", {"camera": "gate"})["ok"]
    assert stage.api.command(stage.device, "clip", {"camera": "gate", "seconds": 2})["ok"]
    server.kill()
    wait_until(lambda: stage.cameras()["gate"]["blind_now"], "the loss")
    server.start()
    before = stage.cameras()["gate"]["results"]
    wait_until(lambda: stage.cameras()["gate"]["results"] > before + 10, "its return")
    cameras["wrong"]["source"] = "rtsp://nowhere.invalid/x"
    assert stage.await_outcome(stage.push(document))["phase"] == "COMMITTED"
