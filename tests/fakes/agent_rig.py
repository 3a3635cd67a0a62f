"""An agent as a process, with fake children, against a real broker and a control plane on the loopback address."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.control_plane import TOKEN, ControlPlane
from tests.fakes.mosquitto import Mosquitto
from tests.fakes.observer import Observer
from wire import desired
from wire.desired import Desired

ROOT = Path(__file__).resolve().parents[2]
FLEET, DEVICE = "f", "d1"
BASE = f"outrider/1/{FLEET}/{DEVICE}"

MAIN = """
import asyncio, os, sys
from pathlib import Path
from agent import config, daemon, identity, logs
from agent.child import ModuleLauncher
from agent.clock import SystemClock
c = config.load(Path(sys.argv[1]), os.environ)
c.make_directories()
logs.set_up("text", "INFO")
async def main():
    import signal
    a = daemon.Agent(c, identity.load(c.state_dir), SystemClock(assume_synced=True), os.environ,
                     ModuleLauncher((sys.executable, *sys.argv[2:])))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, a.stop)
    await a.run()
asyncio.run(main())
"""
LIMITS = {
    "silent_s": 2.0, "stop_s": 2.0, "restart_min_s": 0.1, "restart_max_s": 1.0, "reconnect_min_s": 0.1,
    "reconnect_max_s": 0.5, "poll_after_s": 2.0, "poll_s": 1.0, "free_space_bytes": 1, "no_subscriber_retry_s": 1.0,
    "switch_deadline_s": 3.0,
}  # fmt: skip


class Rig:
    """`start`, `kill` and `stop` the agent; `push` desired states; `status` asks its local interface."""

    def __init__(
        self,
        directory: Path,
        plane: ControlPlane,
        broker: Mosquitto,
        observer: Observer,
        **limits: float,
    ) -> None:
        self.plane = plane
        self.broker = broker
        self.observer = observer
        self.children_script = [str(ROOT / "tests/fakes/child.py")]
        """Put before `-m MODULE`; empty for the real children."""
        self.wrapper: list[str] = []
        """Put before the agent's command line."""
        self.environment: dict[str, str] = {}
        self.state_dir = directory / "state"
        self.log = directory / "agent.log"
        self.run_dir = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))
        self._config = directory / "agent.toml"
        self._process: subprocess.Popen[bytes] | None = None
        self.state_dir.mkdir(exist_ok=True)
        table = "\n".join(f"{key} = {value}" for key, value in {**LIMITS, **limits}.items())
        self._config.write_text(
            f'state_dir = "{self.state_dir}"\nrun_dir = "{self.run_dir}"\nhttp_port = 0\n[limits]\n{table}\n'
        )
        self.reach("127.0.0.1", broker.port, plane.url)

    def reach(self, broker_host: str, broker_port: int, url: str) -> None:
        """Where the agent finds broker and control plane from its next start on."""
        broker_part = {"host": broker_host, "port": broker_port, "username": "d", "password": "p"}
        identity = {"url": url, "fleet": FLEET, "device": DEVICE, "api_token": TOKEN}
        (self.state_dir / "identity.json").write_text(
            json.dumps({**identity, "broker": broker_part, "state_keys": self.plane.state_keys})
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        (self.run_dir / "http-port").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.wrapper, sys.executable, "-c", MAIN, str(self._config), *self.children_script],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
                    **self.environment,
                },
            )

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status = self._process.wait(30)
        self._process = None
        return status

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def document(self, revision: int, **parts: Any) -> dict[str, Any]:
        """A signed desired state."""
        body = {"device": DEVICE, "revision": revision, "issued_at": 1.0, **parts}
        return desired.sign(Desired.model_validate(body), self.plane.key)

    def push(self, revision: int, **parts: Any) -> None:
        self.observer.publish(f"{BASE}/desired", self.document(revision, **parts))

    def one_camera(
        self, model: str, workflow: str, options: dict[str, Any] | None = None, **settings: Any
    ) -> dict[str, Any]:
        """The parts of a desired state with one camera, given the digests."""
        return {
            "cameras": {"door": {"source": "/videos/door.mp4", "options": options or {}}},
            "models": {"m": {"digest": model}},
            "workflows": {"w": {"digest": workflow}},
            "pipelines": {"p": {"camera": "door", "workflow": "w", "models": {"any/1": "m"}}},
            "settings": {"health_s": 1.0, "update": {"probation_s": 0.2}, **settings},
        }

    def get(self, path: str) -> httpx.Response:
        port = int((self.run_dir / "http-port").read_text())
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5.0, trust_env=False)

    def lock(self, *, hold: bool) -> None:
        """As an application at the device that holds updates back, or lets them go."""
        port = int((self.run_dir / "http-port").read_text())
        url = f"http://127.0.0.1:{port}/update/lock"
        if hold:
            answer = httpx.put(url, json={"holder": "till", "seconds": 60}, timeout=5.0, trust_env=False)
        else:
            answer = httpx.delete(url, params={"holder": "till"}, timeout=5.0, trust_env=False)
        answer.raise_for_status()

    def status(self) -> dict[str, Any]:
        body: dict[str, Any] = self.get("/status").json()
        return body

    def children(self, word: str) -> list[int]:
        """The process ids of the agent's children whose command line holds the word."""
        found = []
        for path in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if word.encode() in Path(f"/proc/{path}/cmdline").read_bytes():
                    found.append(int(path))
        return found


@contextlib.contextmanager
def rig(directory: Path, *, real: bool = False, **limits: float) -> Iterator[Rig]:
    """Broker, control plane, observer and an agent that has not been started; its children are fakes, or `real`."""
    (directory / "broker").mkdir()
    broker = Mosquitto(directory / "broker")
    broker.start()
    observer = Observer(broker.port, FLEET)
    with ControlPlane().serving() as plane:
        made = Rig(directory, plane, broker, observer, **limits)
        if real:
            made.children_script = []
        try:
            observer.start()
            yield made
        finally:
            made.close()
            observer.stop()
            broker.stop()


def until(wanted: Any, timeout_s: float = 20.0) -> Any:
    """The first true value of `wanted`, asked ten times a second."""
    deadline_mono = time.monotonic() + timeout_s
    while time.monotonic() < deadline_mono:
        with contextlib.suppress(httpx.HTTPError, OSError, ValueError, KeyError):
            if found := wanted():
                return found
        time.sleep(0.1)
    raise AssertionError("it did not come true in time")
