"""A control plane for a load test: its database filled with enrolled devices, itself and its broker as processes, load processes beside it."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import insert

from benchmarks.mqtt_devices import Settings
from fleet import accounts, authority
from fleet.auth import token_hash
from fleet.clock import RandomIds, SystemClock
from fleet.config import Broker, Config, DataDir, Http
from fleet.db import Database
from fleet.setup import init
from fleet.tables import Device
from wire.health import (
    CameraHealth,
    Health,
    Host,
    ModelHealth,
    OutboxHealth,
    SightHealth,
    StepHealth,
)

ROOT = Path(__file__).parents[1]
PASSWORD = "of a simulated device"
SPARE_DESCRIPTORS = 60
"""Of a broker and of a load process: what they have open besides devices."""
START_S = 120.0
SITES = 50


def descriptor_limit() -> int:
    """How many devices one broker or one load process can hold on this machine."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1] - SPARE_DESCRIPTORS


def document() -> str:
    """A health document of four cameras as an agent sends it, JSON with `@AT@` where figures move; over 2 KB."""
    steps = {
        name: StepHealth(runs=123456, mean_us=210.5, max_us=900.0) for name in ("detect", "track", "count")
    }
    cameras = {
        f"camera-{number}": CameraHealth(
            state="watching",
            pipeline=f"pipeline-{number}",
            pid=4000 + number,
            fps=10.02,
            frames=864213,
            results=864190,
            no_answer={"engine-restarting": 12},
            skipped={"policy": 11},
            latency_p50_ms=21.4,
            latency_p95_ms=38.9,
            blind_s={"camera-lost": 31.2},
            blind_hour_s={"camera-lost": 2.1},
            decoder="libav",
            events=412,
            steps=steps,
            rss_bytes=91_234_567,
            models={"people": "sha256:" + "ab" * 32},
            workflow="sha256:" + "cd" * 32,
            sight=SightHealth(asked=864190, empty=512000, scores=(0, 0, 12, 40, 99, 120, 300, 512, 800, 90)),
        )
        for number in range(4)
    }
    model = ModelHealth(digest="sha256:" + "ab" * 32, state="serving", engine="onnxruntime", requests=3456789)
    health = Health(
        revision=1,
        agent_uptime_s=-1.0,
        host=Host(
            uptime_s=-1.0,
            cpu_percent=41.5,
            cpu_count=6,
            load_1m=2.4,
            memory_total_bytes=8 * 2**30,
            memory_available_bytes=3 * 2**30,
            disk_total_bytes=64 * 2**30,
            disk_free_bytes=40 * 2**30,
            temperature_celsius=51.5,
            agent_rss_bytes=66_000_000,
        ),
        cameras=cameras,
        models={"people": model},
        outbox=OutboxHealth(rows=1, bytes=2100),
    )
    return json.dumps(health.to_json(), separators=(",", ":")).replace("-1.0", "@AT@")


class Stage:
    """The control plane in a directory; `start` begins, `close` ends every process by its id."""

    def __init__(self, root: Path, names: Sequence[str], database: str = "", tls: bool = False) -> None:
        self.root = root
        self.names = tuple(names)
        self.tls = tls
        config = Config(
            fleet="scale",
            database=database,
            http=Http(port=0),
            broker=Broker(kind="mosquitto", port=0, tls=tls),
        )
        self.data = DataDir(root / "plane")
        self.token = init(self.data.root, config, SystemClock(), RandomIds()).admin_token
        self.database_url = self.data.database_url(config)
        self._fill()
        self._stack = ExitStack()
        self.loads: list[Load] = []

    def _fill(self) -> None:
        """Devices as enrolment leaves them; the password is everybody's, since only its hash is looked at."""
        hashed = "" if self.tls else accounts.password_hash(PASSWORD, b"salt" * 3)
        at = time.time()
        rows = [
            {
                "id": name,
                "created_at": at,
                "enrolled_at": at,
                "public_key": "",
                "sealing_key": "",
                "labels": {"site": f"site-{number % SITES:02}"},
                "token_hash": token_hash(name),
                "broker_hash": hashed,
                "presence": "never",
            }
            for number, name in enumerate(self.names)
        ]
        database = Database(self.database_url)
        with database.write() as session:
            for start in range(0, len(rows), 1000):
                session.execute(insert(Device), rows[start : start + 1000])
        database.close()
        if self.tls:
            self._certify()

    def _certify(self) -> None:
        """A certificate each, over one key: what a handshake costs does not depend on whose it is."""
        folder = self.root / "certificates"
        folder.mkdir()
        issuer = authority.load(self.data.authority, SystemClock())
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for name in self.names:
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
            csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
            chain = issuer.device(csr.public_bytes(serialization.Encoding.PEM).decode(), name, 86400.0).chain
            (folder / f"{name}.pem").write_bytes(private + chain.encode())

    def start(self) -> None:
        log = self._stack.enter_context((self.root / "plane.log").open("wb"))
        command = [sys.executable, "-m", "outrider", "fleet", "serve", str(self.data.root)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self._stack.callback(_end, process)
        deadline_mono = time.monotonic() + START_S
        while not self.data.serve.exists():
            if process.poll() is not None or time.monotonic() > deadline_mono:
                raise RuntimeError(f"no control plane:\n{(self.root / 'plane.log').read_text()[-2000:]}")
            time.sleep(0.1)
        told = json.loads(self.data.serve.read_text())
        self.url, self.broker_port = told["url"], told["device_port"]
        self.plane = psutil.Process(process.pid)
        self.broker = psutil.Process(told["broker_pid"])
        self.keeper = self._keeper()
        headers = {"Authorization": f"Bearer {self.token}"}
        self.http = self._stack.enter_context(httpx.Client(base_url=self.url, headers=headers, timeout=120.0))

    def _keeper(self) -> psutil.Process | None:
        """The process that rolls history up and looks for faults, where the fleet is large enough for it."""
        deadline_mono = time.monotonic() + START_S
        while time.monotonic() < deadline_mono:
            for child in self.plane.children():
                if "fleet.keeper" in child.cmdline():
                    return child
            if len(self.names) < Config().limits.keeper_devices:
                return None
            time.sleep(0.2)
        raise RuntimeError("the control plane has not started the keeper's process")

    def load(self, processes: int, pace_s: float, connects_per_s: float) -> None:
        """Start the devices, spread over so many processes, each from an address of its own."""
        share = -(-len(self.names) // processes)
        for number in range(processes):
            settings = Settings(
                fleet="scale",
                host="127.0.0.1",
                port=self.broker_port,
                source=f"127.0.0.{number + 2}",
                names=self.names[number * share : (number + 1) * share],
                password="" if self.tls else PASSWORD,
                document=document(),
                pace_s=pace_s,
                connects_per_s=connects_per_s / processes,
                certificates=str(self.root / "certificates") if self.tls else "",
                authority=str(self.data.root_certificate) if self.tls else "",
            )
            self.loads.append(Load(self.root / f"load-{number}", settings))
            self._stack.callback(self.loads[-1].close)

    def totals(self) -> dict[str, float]:
        """What the load processes last said, added up; of `ack_most_s` the largest."""
        told = [load.told() for load in self.loads]
        names = {name for one in told for name in one}
        return {
            name: (max if name == "ack_most_s" else sum)(one.get(name, 0.0) for one in told) for name in names
        }

    def health(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.http.get("/api/v1/health").json()
        return answer

    def close(self) -> None:
        self._stack.close()


class Load:
    """One load process."""

    def __init__(self, base: Path, settings: Settings) -> None:
        file = base.with_suffix(".json")
        file.write_text(json.dumps(asdict(settings)))
        self._out = base.with_suffix(".out")
        command = [sys.executable, "-m", "benchmarks.mqtt_devices", str(file)]
        with self._out.open("wb") as out, base.with_suffix(".err").open("wb") as err:
            self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=out, stderr=err)
        self.pid = self._process.pid

    def told(self) -> dict[str, float]:
        """The last whole line."""
        with self._out.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2000))
            lines = file.read().split(b"\n")
        return dict(json.loads(lines[-2])) if len(lines) > 1 and lines[-2].startswith(b"{") else {}

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()

    def close(self) -> None:
        if self._process.stdin is not None and self._process.poll() is None:
            self._process.stdin.close()
        _end(self._process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def watched(*processes: psutil.Process) -> Iterator[list[float]]:
    """Shares of a core that the processes take while the block runs; filled in at its end."""
    shares: list[float] = []
    before, began_mono = [sum(p.cpu_times()[:2]) for p in processes], time.monotonic()
    yield shares
    span_s = time.monotonic() - began_mono
    shares += [
        round((sum(p.cpu_times()[:2]) - was) / span_s, 3) for p, was in zip(processes, before, strict=True)
    ]
