"""A whole Outrider as real processes: control plane with its broker, and one enrolled agent. For the demo and the tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import tomli_w

from fleet.client import Access, Client
from fleet.config import DataDir, load, save
from fleet.errors import FleetError
from fleet.ports import free_port
from outrider.demo.processes import DemoFailed, Processes

START_DEADLINE_S = 60.0
POLL_S = 0.1
DONE_PHASES = frozenset({"COMMITTED", "IDLE"})
FAILED_PHASES = frozenset({"REJECTED", "ROLLED_BACK"})


class Stage:
    """Starts the parts one by one and asks them how they are. `root` is a directory of its own.

    `stop` ends every process and removes the directory of the agent's sockets; `root` is the caller's to remove.
    """

    def __init__(self, root: Path, device: str = "demo") -> None:
        self.root = root
        self.device = device
        self.logs = root / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.processes = Processes(self.logs)
        self.run_dir = Path(tempfile.mkdtemp(prefix="or-", dir="/tmp"))
        self.agent_port = free_port()
        self._local = httpx.Client(base_url=f"http://127.0.0.1:{self.agent_port}", timeout=10.0)
        self.plane: dict[str, Any] = {}
        self.client: Client | None = None

    @property
    def agent_url(self) -> str:
        return f"http://127.0.0.1:{self.agent_port}"

    @property
    def api(self) -> Client:
        """The control plane's client.

        :raises DemoFailed: it has not been started
        """
        if self.client is None:
            raise DemoFailed("the control plane has not been started")
        return self.client

    @property
    def _environment(self) -> dict[str, str]:
        """Temporary files go below the root, so that a child that is killed leaves nothing elsewhere."""
        return {"TMPDIR": str(self.root)}

    # --- starting -----------------------------------------------------------------------------------------------------

    def start_plane(self, readers: dict[str, str] | None = None) -> None:
        """Make a control plane and start it with its broker. `readers` may read everything there: name → password."""
        data = self.root / "plane"
        outrider(
            "fleet",
            "init",
            str(data),
            "--fleet",
            "demo",
            "--port",
            "0",
            "--broker-port",
            "0",
            "--no-user-config",
            temporary=self.root,
        )
        if readers:
            config = load(DataDir(data))
            # Readers log in on this machine only, with their password and without TLS.
            changes = {"readers": readers, "password_port": 0, "password_tls": False}
            broker = config.broker.model_copy(update=changes)
            save(DataDir(data), config.model_copy(update={"broker": broker}))
        self.processes.start("control-plane", ["fleet", "serve", str(data)], self._environment)
        self.plane = self.wait("the control plane", lambda: _read(data / "serve.json"))
        token = (data / "admin-token").read_text().strip()
        self.client = Client(Access(self.plane["url"], token, self.plane["authority"]))

    def enrol(self) -> None:
        """Enrol the agent with a one-time token."""
        token = self.api.create_enrolment_token(device=self.device)["token"]
        config = {
            "state_dir": str(self.root / "agent"),
            "run_dir": str(self.run_dir),
            "http_port": self.agent_port,
            "clock_synced": True,
        }
        self.config.write_text(tomli_w.dumps(config))
        arguments = ("agent", "enroll", "--config", str(self.config), self.plane["url"], token)
        outrider(*arguments, temporary=self.root)

    @property
    def config(self) -> Path:
        return self.root / "agent.toml"

    def start_agent(self) -> int:
        """Start the agent and wait for its local address; its process id."""
        pid = self.processes.start("agent", ["agent", "run", "--config", str(self.config)], self._environment)
        self.wait("the agent", self.status)
        return pid

    def stop(self) -> None:
        self.processes.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)
        self._local.close()
        if self.client is not None:
            self.client.__exit__(None, None, None)

    # --- asking -------------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any] | None:
        """The agent's own view; None while it does not answer."""
        return self._ask("/status")

    def cameras(self) -> dict[str, Any]:
        """The health of each camera as the agent has it now, with a `summary` of its newest outputs."""
        return self._ask("/cameras") or {}

    def _ask(self, path: str) -> dict[str, Any] | None:
        try:
            answer = self._local.get(path)
            return dict(answer.json()) if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None

    def picture(self, camera: str) -> bytes | None:
        """The camera's annotated picture as JPEG; None where there is none yet."""
        try:
            answer = self._local.get(f"/cameras/{camera}/snapshot.jpg")
            return answer.content if answer.status_code == 200 else None
        except httpx.HTTPError:
            return None

    def reported(self) -> dict[str, Any]:
        """The device's reported state, as the control plane has it."""
        return dict(self.api.device(self.device).get("reported") or {})

    def health(self) -> dict[str, Any]:
        """The device's newest health document, as the control plane has it; empty where none has come or it does not answer."""
        try:
            return dict(self.api.device(self.device).get("health") or {})
        except FleetError:
            return {}

    def push(self, document: dict[str, Any]) -> int:
        """Set the desired state; its revision."""
        return int(self.api.set_desired(self.device, document)["revision"])

    def await_outcome(self, revision: int, deadline_s: float = START_DEADLINE_S) -> dict[str, Any]:
        """What the device reports once it has taken or refused this revision.

        :raises DemoFailed: it does neither in time
        """

        return self.wait(f"revision {revision}", lambda: self.outcome(revision), deadline_s)

    def outcome(self, revision: int) -> dict[str, Any] | None:
        """What the device reports of a revision that it has taken or refused; None before that."""
        reported = self.reported()
        if reported.get("offered", 0) < revision:
            return None
        phase = reported.get("phase")
        taken = phase in DONE_PHASES and reported.get("revision", 0) >= revision
        return reported if taken or phase in FAILED_PHASES else None

    def wait(
        self, what: str, probe: Callable[[], dict[str, Any] | None], deadline_s: float = START_DEADLINE_S
    ) -> dict[str, Any]:
        """Ask again and again until there is an answer.

        :raises DemoFailed: a process has ended, or the time is over
        """
        deadline_mono = time.monotonic() + deadline_s
        while time.monotonic() < deadline_mono:
            self.processes.check()
            if (answer := probe()) is not None:
                return answer
            time.sleep(POLL_S)
        raise DemoFailed(
            f"{what} did not come within {deadline_s:.0f} s; logs are in {self.logs}\n{self.processes.tails()}"
        )


def outrider(*arguments: str, temporary: Path | None = None) -> str:
    """Run `outrider ARGUMENTS` to its end; what it printed. Its temporary files go below `temporary`.

    :raises DemoFailed: it failed; the message is its own
    """
    done = subprocess.run(
        [sys.executable, "-m", "outrider", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **({"TMPDIR": str(temporary)} if temporary else {})},
    )
    if done.returncode:
        words = (done.stderr or done.stdout).strip() or f"outrider {' '.join(arguments)} failed"
        raise DemoFailed(words.removeprefix("outrider: "))
    return done.stdout


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return None
