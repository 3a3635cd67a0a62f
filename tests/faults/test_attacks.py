"""Attacks on a device through its broker and its control plane's store, each refused with its reason, the device still running.

A real control plane, a real mosquitto with mTLS, a real agent. The attacker is who runs the broker: he may publish anything.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fleet import authority
from fleet.clock import SystemClock
from outrider.demo.stage import Stage
from tests.e2e.conftest import wait_until
from tests.fakes.updates import AT_ONCE
from wire import desired
from wire.desired import Desired
from wire.envelope import Envelope

PLAIN = {"settings": {"update": AT_ONCE}}

pytestmark = pytest.mark.timeout(180)
PASSWORD = "grep me, s3cret/@ password"
WORKFLOW = {
    "version": "1.0",
    "inputs": [{"type": "WorkflowImage", "name": "image"}],
    "steps": [],
    "outputs": [{"type": "JsonField", "name": "image", "selector": "$inputs.image"}],
}


class Operator:
    """Who runs the broker: has given himself every topic, and hears everything."""

    def __init__(self, stage: Stage) -> None:
        self.base = f"outrider/1/demo/{stage.device}"
        self.heard: list[tuple[str, bytes]] = []
        plane = stage.root / "plane"
        rules = plane / "broker" / "acl"
        rules.write_text("user _operator\ntopic readwrite #\n\n" + rules.read_text())
        os.kill(stage.plane["broker_pid"], signal.SIGHUP)
        time.sleep(0.5)
        own = authority.load(plane / "keys" / "authority", SystemClock()).own("_operator", ())
        (stage.root / "operator.pem").write_bytes(own)
        context = ssl.create_default_context(cafile=str(plane / "keys" / "authority" / "root.pem"))
        context.load_cert_chain(stage.root / "operator.pem")
        subscribed = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.tls_set_context(context)
        self.client.on_connect = lambda client, *_: client.subscribe("outrider/#", qos=1)
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload))
        self.client.connect(stage.plane["broker_host"], stage.plane["device_port"])
        self.client.loop_start()
        assert subscribed.wait(10)

    def publish(self, tail: str, payload: bytes) -> None:
        info = self.client.publish(f"{self.base}/{tail}", payload, qos=1, retain=tail == "desired")
        info.wait_for_publish(10)

    def send(self, tail: str, data: Any, rid: str | None = None) -> None:
        envelope = Envelope(f"attack-{time.monotonic_ns()}", time.time(), "attack", 1, data, rid=rid)
        self.publish(tail, envelope.encode())

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture(scope="module")
def stage(mosquitto: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("attacks") / "stage")
    try:
        stage.start_plane()
        stage.enrol()
        stage.start_agent()
        for _ in range(2):
            assert stage.await_outcome(stage.push(PLAIN))["phase"] == "COMMITTED"
        yield stage
    finally:
        stage.stop()
        for log in sorted(stage.logs.iterdir()):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-6000:]}")


@pytest.fixture(scope="module")
def operator(stage: Stage) -> Iterator[Operator]:
    operator = Operator(stage)
    yield operator
    operator.close()


def state_key(stage: Stage) -> Ed25519PrivateKey:
    key = load_pem_private_key((stage.root / "plane" / "keys" / "state.pem").read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key


def signed(key: Ed25519PrivateKey, device: str, revision: int, **parts: Any) -> dict[str, Any]:
    return desired.sign(Desired(device=device, revision=revision, issued_at=time.time(), **parts), key)


def still_works(stage: Stage) -> None:
    """The device is connected, and the control plane's next word counts."""
    assert (stage.status() or {})["connected"]
    assert stage.await_outcome(stage.push(PLAIN))["phase"] == "COMMITTED"


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        ("forged", "signature-invalid"),
        ("altered", "signature-invalid"),
        ("foreign", "wrong-device"),
        ("expired", "expired"),
        ("replayed", "revision-old"),
        ("nonsense", "malformed"),
    ],
)
def test_false_desired_state_is_refused(stage: Stage, operator: Operator, attack: str, reason: str) -> None:
    revision = stage.reported()["revision"]
    above = revision + 50
    genuine = signed(state_key(stage), stage.device, above)
    body = json.loads(base64.b64decode(genuine["payload"]))
    changed = base64.b64encode(json.dumps({**body, "revision": above + 1}).encode()).decode()
    attacks: dict[str, Any] = {
        "forged": signed(Ed25519PrivateKey.generate(), stage.device, above),
        "altered": {**genuine, "payload": changed},
        "foreign": signed(state_key(stage), "another", above),
        "expired": signed(state_key(stage), stage.device, above, expires_at=time.time() - 60),
        "replayed": signed(state_key(stage), stage.device, revision - 1),
        "nonsense": {"desired": "everything"},
    }
    operator.send("desired", attacks[attack])
    told = wait_until(lambda: (r := stage.reported())["reason"] == reason and r, f"{attack} is refused", 20)
    assert (told["phase"], told["revision"]) == ("REJECTED", revision)
    still_works(stage)


def test_false_commands_are_refused_and_bytes_that_are_no_message_do_no_harm(
    stage: Stage, operator: Operator
) -> None:
    operator.send("cmd/ping", {"device": stage.device, "name": "ping"}, rid="forged-1")
    operator.send("cmd/ping", signed(state_key(stage), stage.device, 1), rid="forged-2")
    for payload in (b"\xff" * 100, b"{" * 200_000, b"[]", b'{"v": 99}'):
        operator.publish("desired", payload)
        operator.publish("cmd/ping", payload)

    def answers() -> dict[str, Any] | None:
        found = {t.rsplit("/", 1)[-1]: json.loads(p)["data"] for t, p in operator.heard if "/rsp/" in t}
        return found if {"forged-1", "forged-2"} <= set(found) else None

    told = wait_until(answers, "answers to false commands", 20)
    assert {told[rid]["reason"] for rid in ("forged-1", "forged-2")} == {"malformed", "signature-invalid"}
    assert not any(told[rid]["ok"] for rid in ("forged-1", "forged-2"))
    still_works(stage)


class Camera(socketserver.StreamRequestHandler):
    """An RTSP camera's door: asks for the password and keeps what it is told."""

    told: list[str]

    def handle(self) -> None:
        lines: list[str] = []
        for raw in self.rfile:
            line = raw.decode(errors="replace").strip()
            lines.append(line)
            if line:
                continue
            number = next((text for text in lines if text.lower().startswith("cseq")), "CSeq: 0")
            shown = [text for text in lines if text.lower().startswith("authorization")]
            self.told.extend(shown)
            status = "200 OK\r\nPublic: OPTIONS, DESCRIBE" if lines[0].startswith("OPTIONS") else (
                '401 Unauthorized\r\nWWW-Authenticate: Basic realm="camera"'
            )  # fmt: skip
            self.wfile.write(f"RTSP/1.0 {status}\r\n{number}\r\n\r\n".encode())
            lines = []


def test_planted_password_reaches_the_camera_and_is_found_nowhere_else(stage: Stage, tmp_path: Path) -> None:
    handler = type("Told", (Camera,), {"told": []})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.1,))
    thread.start()
    try:
        stage.api.upload_workflow(_workflow(tmp_path), name="nothing")
        set_secret(stage, "door", PASSWORD)
        source = f"rtsp://admin:secret:door@127.0.0.1:{server.server_address[1]}/main"
        document = {
            "cameras": {"door": {"source": source}},
            "workflows": {"w": "nothing"},
            "pipelines": {"door": {"camera": "door", "workflow": "w"}},
            "settings": {"update": AT_ONCE},
        }
        outcome = stage.await_outcome(stage.push(document))
        assert outcome["phase"] == "COMMITTED", outcome
        wanted = base64.b64encode(f"admin:{PASSWORD}".encode()).decode()
        wait_until(
            lambda: any(wanted in line for line in handler.told), "the camera is shown the password", 40
        )
        set_secret(stage, "door", "another one, " + PASSWORD)
        wanted = base64.b64encode(f"admin:another one, {PASSWORD}".encode()).decode()
        wait_until(lambda: any(wanted in line for line in handler.told), "the new password is used", 40)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    os.kill(stage.plane["broker_pid"], signal.SIGUSR1)  # mosquitto writes its store
    time.sleep(1.0)
    assert found_in(stage.root, b"secret:door"), "the search finds what is there"
    for text in (PASSWORD, "grep%20me%2C%20s3cret", base64.b64encode(PASSWORD.encode()).decode()[:24]):
        assert found_in(stage.root, text.encode()) == []
    assert PASSWORD not in json.dumps([stage.api.desired(stage.device), stage.api.device(stage.device)])


def test_secret_that_was_sealed_to_another_key_is_refused_and_nothing_is_touched(stage: Stage) -> None:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from wire import sealed

    before = stage.reported()["revision"]
    stranger = X25519PrivateKey.generate().public_key().public_bytes_raw()
    key = base64.b64decode(stage.api.device(stage.device)["sealing_key"])
    texts = {
        "key": sealed.seal(stranger, stage.device, "x", "y"),
        "name": sealed.seal(key, stage.device, "z", "y"),
    }
    for text in texts.values():
        revision = stage.api.desired(stage.device)["revision"] + 1
        stage.api._call("PUT", f"/devices/{stage.device}/secrets/x", json={"sealed": text})
        outcome = stage.await_outcome(revision)
        assert (outcome["phase"], outcome["reason"]) == ("REJECTED", "secret-unreadable")
        assert outcome["revision"] == before
    stage.api.remove_secret(stage.device, "x")
    still_works(stage)


def set_secret(stage: Stage, name: str, text: str) -> None:
    """As a person does it: the text comes from standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "outrider", "fleet", "device", "secret", "set", stage.device, name],
        input=text,
        text=True,
        capture_output=True,
        timeout=60,
        env={
            **os.environ,
            "OUTRIDER_FLEET_URL": stage.plane["url"],
            "OUTRIDER_FLEET_TOKEN": (stage.root / "plane" / "admin-token").read_text().strip(),
            "OUTRIDER_FLEET_AUTHORITY": stage.plane["authority"],
        },
    )
    assert done.returncode == 0, done.stderr


def _workflow(folder: Path) -> Path:
    path = folder / "nothing.json"
    path.write_text(json.dumps(WORKFLOW))
    return path


def found_in(root: Path, text: bytes) -> list[str]:
    """The files below that hold the text."""
    files = [path for path in root.rglob("*") if path.is_file()]
    return [str(path.relative_to(root)) for path in files if text in path.read_bytes()]
