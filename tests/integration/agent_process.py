"""A real agent as a process, enrolled by the command line at a control plane of the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from tests.integration.fleet_stand import ROOT, Stand

LIMITS = {
    "reconnect_min_s": 0.1, "reconnect_max_s": 0.5, "poll_after_s": 2.0, "poll_s": 0.5, "free_space_bytes": 1, "stop_s": 2.0,
    "connect_s": 10.0,
}  # fmt: skip


class AgentProcess:
    """`enrol`, `start`, `stop` it; its `log` is text."""

    def __init__(self, folder: Path, name: str, **network: Any) -> None:
        self.name = name
        self.state_dir = folder / "state"
        self.state_dir.mkdir(parents=True)
        self.run_dir = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))
        self.environment: dict[str, str] = {}
        self._config = folder / "agent.toml"
        self._log = folder / "agent.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.configure(network=network)

    def configure(self, **more: Mapping[str, Any] | Any) -> None:
        document = {
            "state_dir": str(self.state_dir),
            "run_dir": str(self.run_dir),
            "http_port": 0,
            "clock_synced": True,
            "limits": LIMITS,
            **more,
        }
        self._config.write_text(tomli_w.dumps(document))

    def outrider(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "outrider", "agent", *arguments, "--config", str(self._config)]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def enrol(self, stand: Stand, *options: str, url: str = "") -> None:
        with stand.client() as client:
            token = client.create_enrolment_token(device=self.name)["token"]
        done = self.outrider("enroll", url or stand.url, token, *options)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        command = [sys.executable, "-m", "outrider", "agent", "run", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **self.environment}, stdout=log, stderr=log
            )

    @property
    def identity(self) -> dict[str, Any]:
        return dict(json.loads((self.state_dir / "identity.json").read_text()))

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
