"""A device whose agent is started by the launcher and started again whenever it ends, as systemd does it; its control plane; releases."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx

from fleet.client import Client
from fleet.release.build import Wanted, base_of, build
from tests.fakes import releases
from tests.integration.agent_process import AgentProcess
from tests.integration.fleet_stand import ROOT, Stand, eventually

LAUNCHER = ROOT / "agent" / "launcher.py"
RESTART_S = 0.2
OVER_S = 120.0
ORDER = ("OFFERED", "VERIFIED", "FETCHING", "STAGED", "PREPARE", "SWAPPING", "PROBATION")
SEES = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [],
    "outputs": [],
}
CAMERAS = {
    "cameras": {"door": {"source": "synthetic://320x180@10"}},
    "workflows": {"see": "see"},
    "pipelines": {"door": {"camera": "door", "workflow": "see", "events": {"send": "none"}}},
}


class Launched:
    """One device. `starts` counts them; `state_dir` is its own."""

    def __init__(self, stand: Stand, folder: Path, name: str) -> None:
        self.name = name
        self._stand = stand
        self._agent = AgentProcess(folder, name)
        self._agent.enrol(stand)
        self.state_dir = self._agent.state_dir
        self._log = folder / "launched.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()
        self.starts = 0
        self._keeper = threading.Thread(target=self._keep, name=f"keeper {name}")

    def start(self) -> None:
        self._stopped.clear()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper {self.name}")
        self._keeper.start()

    def _keep(self) -> None:
        config = self.state_dir.parent / "agent.toml"
        command = [
            sys.executable,
            "-I",
            str(LAUNCHER),
            "run",
            "--state-dir",
            str(self.state_dir),
            "--config",
            str(config),
        ]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        while not self._stopped.is_set():
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(command, cwd="/", env=environment, stdout=log, stderr=log)
            self.starts += 1
            self._process.wait()
            self._stopped.wait(RESTART_S)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL of the agent; it is started again."""
        assert self._process is not None
        self._process.kill()

    def stop(self) -> None:
        self._stopped.set()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._keeper.join(30)

    @property
    def broker_port(self) -> int:
        """As enrolment has told it."""
        return int(self._agent.identity["broker"]["port"])

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def slot(self) -> str:
        """The one that starts; empty for the installed agent."""
        try:
            return Path(os.readlink(self.state_dir / "agent" / "current")).name
        except OSError:
            return ""

    def status(self) -> dict[str, Any]:
        """What the agent itself says; empty while none answers."""
        try:
            port = (self._agent.run_dir / "http-port").read_text().strip()
            return dict(httpx.get(f"http://127.0.0.1:{port}/status", timeout=5, trust_env=False).json())
        except (OSError, httpx.HTTPError, ValueError):
            return {}

    def phase(self, revision: int) -> str:
        """As the device's journal has it, read beside the agent; empty before there is a row."""
        try:
            with closing(
                sqlite3.connect(f"file:{self.state_dir}/journal.db?mode=ro", uri=True, timeout=1)
            ) as db:
                row = db.execute("SELECT phase FROM revisions WHERE revision = ?", (revision,)).fetchone()
            return str(row[0]) if row else ""
        except sqlite3.Error:
            return ""

    def kill_in(self, revision: int, phase: str) -> bool:
        """SIGKILL as soon as the revision is seen in this phase; false where it is past it already, as short ones may be."""
        end_mono = time.monotonic() + OVER_S
        while (now := self.phase(revision)) != phase:
            if now and (now not in ORDER or ORDER.index(now) > ORDER.index(phase)):
                return False
            assert time.monotonic() < end_mono, (now, phase, self.log[-3000:])
            time.sleep(0.002)
        starts = self.starts
        self.kill()
        eventually(lambda: self.starts > starts, OVER_S)
        return True

    # --- by the control plane ------------------------------------------------------------------------------------------

    def push(self, agent: Any = None, probation_s: float = 2.0, **more: Any) -> int:
        """A new desired state: one camera, and what is given; its revision."""
        settings = {
            "health_s": 1.0,
            "update": {
                "probation_s": probation_s,
                "contact_s": 8.0,
                "shadow_s": 0,
                "gates": {"patience_s": 2.0},
            },
            **more.pop("settings", {}),
        }
        body = {**CAMERAS, "settings": settings, **({"agent": agent} if agent else {}), **more}
        with self._stand.client() as client:
            return int(client.set_desired(self.name, body)["revision"])

    def reported(self) -> dict[str, Any]:
        with self._stand.client() as client:
            return dict(client.device(self.name)["reported"] or {})

    def over(self, revision: int, deadline_s: float = OVER_S) -> dict[str, Any]:
        """What the control plane was told of the end of a revision."""

        def probe() -> dict[str, Any] | None:
            told = self.reported()
            ended = told.get("phase") in ("COMMITTED", "REJECTED", "ROLLED_BACK")
            return told if told.get("offered") == revision and ended else None

        try:
            return dict(eventually(probe, deadline_s))
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.reported()}\n{self.log[-4000:]}") from e

    def sees(self) -> None:
        """Its camera gives results now."""

        def results() -> int:
            cameras = (self.status().get("health") or {}).get("cameras") or {}
            return int((cameras.get("door") or {}).get("results") or 0)

        first = eventually(results, OVER_S)
        eventually(lambda: results() > first or results() < first, OVER_S)


class Gaps:
    """Watches a device's results from aside; `longest_s` between two looks in which there were more."""

    def __init__(self, device: Launched) -> None:
        self._device = device
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gaps")
        self.longest_s = 0.0

    def __enter__(self) -> Gaps:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        seen, since = -1, time.monotonic()
        while not self._stopped.wait(0.1):
            cameras = (self._device.status().get("health") or {}).get("cameras") or {}
            now = (cameras.get("door") or {}).get("results")
            if now and now != seen:
                seen = now
                self.longest_s = max(self.longest_s, time.monotonic() - since)
                since = time.monotonic()


def release(
    client: Client, folder: Path, version: str, planted: Mapping[str, str] | None = None, name: str = "agent"
) -> str:
    """Make, upload; `NAME@NUMBER`."""
    wheel = releases.of_this_tree(folder / f"wheel-{version}", version, planted)
    base = base_of(releases.freeze(folder / "freeze.txt"))
    python = f"3.{sys.version_info.minor}"
    target = folder / f"release-{version}"
    build(
        Wanted(wheel, python, f"linux-{os.uname().machine}", extras=("cpu",), base=base, offline=True), target
    )
    row = client.upload_release(target, name)
    return f"{row['name']}@{row['version']}"


def upload_workflow(client: Client, folder: Path) -> None:
    path = folder / "see.json"
    path.write_text(json.dumps(SEES))
    client.upload_workflow(path, "see")
