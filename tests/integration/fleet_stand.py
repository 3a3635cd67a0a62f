"""A control plane as a child process with a real broker, devices that speak to it, and checks that are scripted.

`python -m tests.integration.fleet_stand serve DIR` serves with the checks of `scripted_check`.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from paho.mqtt.client import Client as Mqtt
from paho.mqtt.client import MQTTMessage, MQTTProtocolVersion
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import create_engine, inspect, text

from fleet.checker import COMMANDS
from fleet.client import Access, Client
from fleet.clock import RandomIds, SystemClock
from fleet.config import Broker, Config, DataDir, Http, Limits, save
from fleet.plane import Seams
from fleet.server import serve
from fleet.setup import init
from tests.integration import backing
from wire.envelope import Envelope
from wire.topics import DeviceTopics

DEADLINE_S = 30.0
START_S = 120.0
ROOT = Path(__file__).parents[2]


def eventually(probe: Callable[[], Any], deadline_s: float = DEADLINE_S) -> Any:
    """The first true answer of the probe.

    :raises AssertionError: none came before the deadline
    """
    end_mono = time.monotonic() + deadline_s
    while not (answer := probe()):
        assert time.monotonic() < end_mono, f"{probe} gave {answer!r} for {deadline_s} s"
        time.sleep(0.05)
    return answer


class Stand:
    """A running control plane in a directory."""

    def __init__(
        self,
        root: Path,
        broker: str = "mosquitto",
        scripted: bool = True,
        secure: bool = False,
        objects: Mapping[str, Any] | None = None,
        start: bool = True,
        more: Mapping[str, Any] | None = None,
        **broker_fields: Any,
    ) -> None:
        """`secure`: HTTPS, and certificates at the broker. `objects`: fields of a bucket's configuration; `more`: of the whole."""
        self.data = DataDir(root)
        servers: dict[str, Any] = {}
        if backing.on_servers():
            servers = {**backing.new_database(), "objects": backing.new_bucket(root, **objects or {})}
        config = self.config = Config(
            **servers,
            fleet="lab",
            http=Http(port=0, tls="own" if secure else "off"),
            broker=Broker(**{"kind": broker, "port": 0, "tls": secure, **broker_fields}),
            limits=Limits(check_wall_s=20.0 if scripted else 180.0, body_bytes=200_000),
            console={"enabled": False},
        )
        config = self.config = Config.model_validate({**config.model_dump(), **(more or {})})
        self.admin_token = init(root, config, SystemClock(), RandomIds()).admin_token
        self._scripted = scripted
        if start:
            self.start()

    def start(self) -> None:
        self.data.serve.unlink(missing_ok=True)
        module = ["tests.integration.fleet_stand"] if self._scripted else ["outrider", "fleet"]
        command = [sys.executable, "-m", *module, "serve", str(self.data.root)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True)
        eventually(lambda: self.data.serve.exists() or self.process.poll() is not None, START_S)
        assert self.process.poll() is None, self.log.read_text()
        self.told: dict[str, Any] = json.loads(self.data.serve.read_text())

    def replica(self, root: Path, name: str) -> Stand:
        """Another control plane of the same fleet, with the same keys; not started."""
        shutil.copytree(self.data.root, root, ignore=shutil.ignore_patterns("serve*", "broker", "uploads"))
        other = copy.copy(self)
        other.data = DataDir(root)
        other.config = self.config.model_copy(update={"replica": name})
        save(other.data, other.config)
        return other

    @property
    def log(self) -> Path:
        """What it says on stderr."""
        return self.data.root.with_name(f"{self.data.root.name}.log")

    @property
    def url(self) -> str:
        return str(self.told["url"])

    def client(self, token: str | None = None) -> Client:
        return Client(Access(self.url, self.admin_token if token is None else token, self.told["authority"]))

    def get(self, path: str, token: str | None = None, **headers: str) -> httpx.Response:
        headers["Authorization"] = f"Bearer {token or self.admin_token}"
        return httpx.get(f"{self.url}{path}", headers=headers)

    def enrol(self, name: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
        with self.client() as client:
            token = client.create_enrolment_token(device=name, labels=labels or {})["token"]
        answer = httpx.post(f"{self.url}/api/v1/enroll", json={"token": token})
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def object_keys(self) -> set[str]:
        """The names of the objects that are kept."""
        if url := self.config.objects.url:
            return set(backing.buckets().keys(urlsplit(url).netloc))
        return {str(path) for path in self.data.objects.rglob("*") if path.is_file()}

    def database_content(self) -> bytes:
        """All that the database holds: SQLite's files, or every row of PostgreSQL."""
        if not self.config.database:
            return b"".join(path.read_bytes() for path in self.data.root.glob("fleet.db*"))
        engine = create_engine(self.data.database_url(self.config))
        with engine.connect() as connection:
            rows = [
                tuple(row)
                for table in inspect(engine).get_table_names()
                for row in connection.execute(text(f'SELECT * FROM "{table}"'))
            ]
        engine.dispose()
        return repr(rows).encode()

    def stop(self) -> int:
        """End it as an operator does; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE_S)
        finally:
            self.kill()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Device:
    """An enrolled device's protocol side."""

    def __init__(self, identity: Mapping[str, Any], username: str | None = None) -> None:
        self.identity = identity
        self.topics = DeviceTopics(identity["fleet"], identity["device"])
        self.received: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self.granted: queue.Queue[list[int]] = queue.Queue()
        self._published: dict[int, int] = {}
        self._seq = 0
        self._connected = False
        broker = identity["broker"]
        self.mqtt = self._make()
        self.mqtt.username_pw_set(username or broker["username"], broker["password"])
        self.mqtt.on_connect = self._on_connect
        self.mqtt.on_message = self._on_message
        self.mqtt.on_subscribe = lambda _c, _u, _m, codes, _p: self.granted.put(
            [code.value for code in codes]
        )
        self.mqtt.on_publish = self._on_publish
        self.mqtt.reconnect_delay_set(0.1, 0.5)

    def _make(self) -> Mqtt:
        return Mqtt(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)

    def __enter__(self) -> Device:
        self.mqtt.connect(self.identity["broker"]["host"], self.identity["broker"]["port"])
        self.mqtt.loop_start()
        eventually(lambda: self._connected)
        return self

    def __exit__(self, *_: object) -> None:
        self.mqtt.disconnect()
        self.mqtt.loop_stop()

    def subscribe(self, topic: str) -> int:
        """The broker's reason code: 0 to 2 granted, 128 and above refused."""
        self.mqtt.subscribe(topic, 1)
        return self.granted.get(timeout=DEADLINE_S)[0]

    def publish(self, topic: str, data: dict[str, Any], message_id: str = "", retain: bool = False) -> int:
        """Publish an envelope; the reason code of the PUBACK."""
        self._seq += 1
        envelope = Envelope(message_id or f"m-{self._seq}", time.time(), "boot", self._seq, data)
        return self.publish_bytes(topic, envelope.encode(), retain)

    def publish_bytes(self, topic: str, payload: bytes, retain: bool = False) -> int:
        info = self.mqtt.publish(topic, payload, 1, retain)
        return int(eventually(lambda: self._published.get(info.mid, -1) + 1)) - 1

    def event(self, camera: str, frame_seq: int, message_id: str) -> int:
        return self.publish(self.topics.event(camera), event_body(camera, frame_seq), message_id)

    def next_message(self, deadline_s: float = DEADLINE_S) -> tuple[str, bytes, bool]:
        return self.received.get(timeout=deadline_s)

    @property
    def state_keys(self) -> dict[str, bytes]:
        return {name: base64.b64decode(raw) for name, raw in self.identity["state_keys"].items()}

    def _on_connect(self, _c: Any, _u: Any, _f: Any, code: Any, _p: Any) -> None:
        self._connected = not code.is_failure

    def _on_message(self, _client: Mqtt, _userdata: Any, message: MQTTMessage) -> None:
        self.received.put((message.topic, message.payload, message.retain))

    def _on_publish(self, _c: Any, _u: Any, mid: int, code: Any, _p: Any) -> None:
        self._published[mid] = code.value


def event_body(camera: str, frame_seq: int) -> dict[str, Any]:
    return {
        "camera": camera,
        "pipeline": camera,
        "revision": 1,
        "frame_seq": frame_seq,
        "frame_wall": 1.0,
        "workflow": "count",
        "outputs": {"count": frame_seq},
    }


def package(name: str, verdict: str = "ok", weights: bytes = b"\0" * 3000) -> bytes:
    """A tar of a package whose scripted check gives this verdict: ok, refuse, crash or hang."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, content in (("model.toml", f"{name} {verdict}".encode()), ("model.onnx", weights)):
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def main(arguments: list[str]) -> None:
    """`serve DIR`"""
    from fleet.config import load

    checks = dict(COMMANDS) | {
        kind: (sys.executable, "-m", "tests.integration.scripted_check", kind)
        for kind in ("model", "workflow")
    }
    data = DataDir(Path(arguments[1]))
    asyncio.run(serve(data, load(data), Seams(SystemClock(), RandomIds(), checks)))


if __name__ == "__main__":
    main(sys.argv[1:])
