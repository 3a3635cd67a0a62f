"""The control plane with a real mosquitto, a real SQLite and real processes."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from fleet.client import ApiError
from tests.integration.fleet_stand import Device, Stand, event_body, eventually, package
from wire import command, desired, envelope
from wire.manifest import decode as decode_manifest
from wire.topics import DeviceTopics

pytestmark = pytest.mark.skipif(
    not (shutil.which("mosquitto") or Path("/usr/sbin/mosquitto").exists()),
    reason="mosquitto is not installed",
)


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("plane") / "data")
    yield running
    assert running.stop() == 0


def upload(stand: Stand, name: str, verdict: str = "ok", weights: bytes = b"\0" * 3000) -> dict[str, Any]:
    answer = httpx.post(
        f"{stand.url}/api/v1/models",
        content=package(name, verdict, weights),
        headers={"Authorization": f"Bearer {stand.admin_token}"},
        timeout=60,
    )
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def upload_workflow(stand: Stand, tmp_path: Path, name: str, uses: list[str]) -> dict[str, Any]:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps({"uses": uses}))
    with stand.client() as client:
        return client.upload_workflow(path)


def wanted(model: str, workflow: str) -> dict[str, Any]:
    return {
        "cameras": {"door": {"source": "rtsp://10.0.0.1/a"}},
        "models": {"person": model},
        "workflows": {"count": workflow},
        "pipelines": {"door": {"camera": "door", "workflow": "count", "models": {"det": "person"}}},
    }


def test_enrolment_token_works_once(stand: Stand) -> None:
    with stand.client() as client:
        token = client.create_enrolment_token(labels={"site": "a"})["token"]
    first = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token, "device": "once"})
    second = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token, "device": "twice"})
    assert first.status_code == 201
    assert (second.status_code, second.json()["reason"]) == (422, "token-invalid")
    assert second.headers["content-type"] == "application/problem+json"
    with stand.client() as client:
        assert "twice" not in [device["id"] for device in client.devices()]
        assert client.device("once")["labels"] == {"site": "a"}


def test_taken_name_is_refused_and_the_token_stays_good_for_another(stand: Stand) -> None:
    stand.enrol("taken")
    with stand.client() as client:
        token = client.create_enrolment_token()["token"]
    refused = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token, "device": "taken"})
    good = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token, "device": "not-taken"})
    assert (refused.status_code, refused.json()["reason"]) == (409, "name-taken")
    assert good.status_code == 201


def test_replaced_device_loses_its_old_credentials(stand: Stand) -> None:
    old = stand.enrol("replaced")
    with stand.client() as client:
        token = client.create_enrolment_token(device="replaced", replace=True)["token"]
    new = httpx.post(f"{stand.url}/api/v1/enroll", json={"token": token}).json()
    assert stand.get("/api/v1/device/desired", old["api_token"]).status_code == 401
    assert stand.get("/api/v1/device/desired", new["api_token"]).status_code == 204


def test_device_reaches_its_own_topics_only(stand: Stand) -> None:
    a, b = stand.enrol("acl-a"), stand.enrol("acl-b")
    other = DeviceTopics(b["fleet"], b["device"])
    with Device(a) as device:
        assert device.subscribe(device.topics.desired) < 128
        assert device.subscribe(device.topics.commands) < 128
        # Wildcards and foreign topics: mosquitto 2.0 refuses some at SUBSCRIBE and withholds the rest at delivery.
        for topic in (other.desired, other.commands, "outrider/1/lab/+/desired", "#", "$SYS/#"):
            device.subscribe(topic)
        forged = device.publish(other.reported, {"revision": 666})
        forged_desired = device.publish(device.topics.desired, {"forged": True}, retain=True)
        assert forged >= 128
        assert forged_desired >= 128
        with Device(b) as owner:
            assert owner.publish(owner.topics.reported, {"revision": 1}, retain=True) < 128
            assert owner.event("door", 1, "acl-event") < 128
        with stand.client() as client:
            client.set_desired("acl-b", {})
            eventually(lambda: (client.device("acl-b")["reported"] or {}).get("revision") == 1)
            client.set_desired("acl-a", {})
            client.set_desired("acl-b", {})
            client.set_desired("acl-a", {"cameras": {"last": {"source": "0"}}})
        seen = [device.next_message()]
        while b"last" not in base64.b64decode(envelope.decode(seen[-1][1]).data["payload"]):
            seen.append(device.next_message())
        assert {topic for topic, _, _ in seen} == {device.topics.desired}


def test_wrong_password_is_not_let_in(stand: Stand) -> None:
    identity = stand.enrol("password")
    stranger = {**identity, "broker": {**identity["broker"], "password": "guess"}}
    device = Device(stranger)
    codes: list[int] = []
    device.mqtt.on_connect = lambda _c, _u, _f, code, _p: codes.append(code.value)
    device.mqtt.connect(identity["broker"]["host"], identity["broker"]["port"])
    device.mqtt.loop_start()
    try:
        assert eventually(lambda: codes)[0] >= 128
    finally:
        device.mqtt.disconnect()
        device.mqtt.loop_stop()


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [("refuse", "model-outputs"), ("crash", "check-failed"), ("greedy", "check-failed")],
)
def test_refused_model_leaves_nothing(stand: Stand, verdict: str, reason: str) -> None:
    def kept() -> tuple[set[Path], list[Any]]:
        with stand.client() as client:
            return stand.object_keys(), client.models()

    before = kept()
    answer = httpx.post(
        f"{stand.url}/api/v1/models",
        content=package("bad", verdict, weights=verdict.encode() * 100),
        headers={"Authorization": f"Bearer {stand.admin_token}"},
        timeout=60,
    )
    assert (answer.status_code, answer.json()["reason"]) == (422, reason)
    assert kept() == before
    assert list(stand.data.uploads.iterdir()) == []


def test_upload_that_is_no_archive_is_refused(stand: Stand) -> None:
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    answer = httpx.post(f"{stand.url}/api/v1/models", content=b"no tar at all" * 99, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (422, "package-invalid")


def test_same_upload_is_the_same_version_and_new_content_the_next(stand: Stand) -> None:
    first, again = upload(stand, "twin"), upload(stand, "twin")
    other = upload(stand, "twin", weights=b"other")
    assert first == again
    assert (first["version"], other["version"]) == (1, 2)
    assert first["digest"] != other["digest"]


def test_desired_state_arrives_signed_and_retained(stand: Stand, tmp_path: Path) -> None:
    identity = stand.enrol("signed")
    model = upload(stand, "yolo", weights=b"signed")
    workflow = upload_workflow(stand, tmp_path, "counting", ["det"])
    with stand.client() as client:
        assert client.set_desired("signed", wanted("yolo", "counting@1"))["published"]
        assert client.set_desired("signed", wanted(model["digest"], workflow["digest"]))["revision"] == 2
    with Device(identity) as device:
        device.subscribe(device.topics.desired)
        topic, payload, retained = device.next_message()
        content = envelope.decode(payload)
        document = desired.open_signed(
            content.data, device.state_keys, device="signed", above_revision=1, at_wall=time.time()
        )
        assert (topic, retained, document.revision) == (device.topics.desired, True, 2)
        assert document.digests == {model["digest"], workflow["digest"]}
    polled = stand.get("/api/v1/device/desired", identity["api_token"])
    assert (polled.json(), polled.headers["etag"]) == (content.data, '"2"')
    again = stand.get("/api/v1/device/desired", identity["api_token"], **{"If-None-Match": '"2"'})
    assert again.status_code == 304


def test_every_problem_of_a_desired_state_is_listed(stand: Stand, tmp_path: Path) -> None:
    stand.enrol("problems")
    upload(stand, "yolo", weights=b"problems")
    upload_workflow(stand, tmp_path, "two-models", ["det", "faces"])
    document = {
        "cameras": {"door": {"source": ""}, "yard": {"source": "0"}},
        "models": {
            "person": "yolo",
            "typo": "yoloo",
            "old": "yolo@77",
            "none": {"digest": "sha256:" + "a" * 64},
        },
        "workflows": {"count": "two-models"},
        "pipelines": {
            "a": {"camera": "door", "workflow": "count", "models": {"det": "person"}},
            "b": {"camera": "gate", "workflow": "nothing"},
            "c": {"camera": "yard", "workflow": "count", "models": {"det": "person", "faces": "persn"}},
            "d": {"camera": "yard", "workflow": "count", "models": {"det": "person", "faces": "person"}},
        },
        "camera": {},
    }
    with stand.client() as client:
        with pytest.raises(ApiError) as refused:
            client.set_desired("problems", document)
        with pytest.raises(ApiError) as nothing:
            client.desired("problems")
    assert {problem.path for problem in refused.value.problems} == {
        "cameras.door.source",
        "models.typo",
        "models.old",
        "models.none",
        "pipelines.a.models",
        "pipelines.b.camera",
        "pipelines.b.workflow",
        "pipelines.c.models.faces",
        "pipelines.d.camera",
        "camera",
    }
    typo = next(problem for problem in refused.value.problems if problem.path == "models.typo")
    assert "did you mean 'yolo'" in typo.remedy
    assert nothing.value.status == 404


def test_revision_that_was_overtaken_is_not_replaced(stand: Stand) -> None:
    stand.enrol("overtaken")
    with stand.client() as client:
        client.set_desired("overtaken", {}, above=0)
        with pytest.raises(ApiError) as refused:
            client.set_desired("overtaken", {}, above=0)
    assert (refused.value.status, refused.value.reason.value) == (412, "revision-old")


def test_events_are_stored_once_and_malformed_messages_pass_by(stand: Stand) -> None:
    with Device(stand.enrol("eventful")) as device, stand.client() as client:
        for payload in (
            b"\xff\xfe",
            b"[]",
            b'{"v":9}',
            b'{"v":1,"id":"x","at":1,"boot":"b","seq":1,"data":{}}',
        ):
            device.publish_bytes(device.topics.event("door"), payload)
        nan = json.dumps({"v": 1, "id": "nan", "at": 1, "boot": "b", "seq": 1, "data": event_body("door", 7)})
        device.publish_bytes(device.topics.event("door"), nan.replace('"count": 7', '"count": NaN').encode())
        device.event("door", 1, "e-1")
        device.event("door", 1, "e-1")
        device.event("door", 2, "e-2")
        device.event("yard", 3, "e-3")
        eventually(lambda: len(client.events("eventful")[0]) == 3)
        newest, cursor = client.events("eventful")
        assert [event["id"] for event in newest] == ["e-1", "e-2", "e-3"]
        assert [event["id"] for event in client.events("eventful", camera="yard")[0]] == ["e-3"]
        assert client.events("eventful", after=newest[0]["cursor"], limit=1)[0][0]["id"] == "e-2"
        assert client.events("eventful", after=cursor) == ([], cursor)
        refused = client.health()["ingest"]["refused"]
        assert refused["malformed"] >= 3
        assert refused["unknown-version"] >= 1
        assert refused["invalid-field"] >= 1


def test_last_words_of_a_device_are_shown(stand: Stand) -> None:
    with Device(stand.enrol("talker")) as device, stand.client() as client:
        device.publish(device.topics.conn, {"state": "online", "agent_version": "1.2"}, retain=True)
        device.publish(device.topics.reported, {"revision": 4, "phase": "COMMITTED", "later": 1}, retain=True)
        eventually(lambda: client.device("talker")["reported"])
        shown = client.device("talker")
        assert (shown["presence"], shown["agent_version"], shown["revision"]) == ("online", "1.2", 4)
        assert shown["reported"]["later"] == 1
        device.publish(device.topics.conn, {"state": "offline"}, retain=True)
        eventually(lambda: client.device("talker")["presence"] == "offline")


BENCH = {
    "schema": 1, "model": "cap", "digest": "sha256:" + "c" * 64, "hardware": {"name": "Jetson Orin Nano", "cpus": 6},
    "engine": {"engine": "tensorrt", "version": "10.7", "precision": "fp16"}, "frame": {"width": 1280, "height": 720},
    "load_s": 2.0, "seconds": 3.0, "latency_ms": {"p50": 4.1, "p95": 4.4, "p99": 5.0, "requests": 700},
    "batches": [{"batch": 1, "images_per_s": 240.0, "latency_ms": {"p50": 4.1, "p95": 4.4, "p99": 5.0, "requests": 700}}],
    "memory": {"rss_bytes": 10**8, "peak_rss_bytes": 2 * 10**8}, "energy": {"joules_per_frame": 0.03},
}  # fmt: skip


def test_what_a_device_measured_is_one_table(
    stand: Stand, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from outrider.cli import main

    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    orders: list[dict[str, Any]] = []
    answers = [BENCH, {"nonsense": True}, {**BENCH, "load_s": 3.0}]

    with Device(stand.enrol("bench-device")) as device, stand.client() as client:
        device.subscribe(device.topics.commands)

        def obey() -> None:
            for result in answers:
                content = envelope.decode(device.next_message()[1])
                asked = command.open_signed(
                    content.data, device.state_keys, device="bench-device", at_wall=time.time()
                )
                orders.append(asked.arguments)
                answer = command.Response(rid=asked.rid, name=asked.name, ok=True, result=result)
                device.publish(device.topics.response(asked.rid), answer.to_json())

        thread = threading.Thread(target=obey)
        thread.start()
        run = [
            "fleet",
            "bench",
            "run",
            "bench-device",
            "cap",
            "--engine",
            "tensorrt:fp16",
            "--batch",
            "1",
            "--json",
        ]
        assert [main(run) for _ in answers] == [0, 0, 0]
        thread.join(30)
        assert (orders[0]["engine"], orders[0]["precision"], orders[0]["batches"]) == (
            "tensorrt",
            "fp16",
            [1],
        )
        (row,) = client.benchmarks(device="bench-device", model="cap")
        assert client.benchmarks(model="another") == []
    assert row["hardware"] == "Jetson Orin Nano"
    assert row["figures"]["load_s"] == 3.0, "the newest, and nothing of the nonsense"
    capsys.readouterr()
    assert main(["fleet", "bench", "--device", "bench-device"]) == 0
    printed = capsys.readouterr().out
    assert "Jetson Orin Nano, 6 CPUs" in printed
    assert "tensorrt 10.7 fp16" in printed
    assert "240.0" in printed


def test_command_is_answered_and_silence_is_told(stand: Stand) -> None:
    with Device(stand.enrol("obedient")) as device, stand.client() as client:
        device.subscribe(device.topics.commands)

        def obey() -> None:
            content = envelope.decode(device.next_message()[1])
            asked = command.open_signed(
                content.data, device.state_keys, device="obedient", at_wall=time.time()
            )
            answer = command.Response(
                rid=asked.rid, name=asked.name, ok=True, result={"pong": asked.arguments}
            )
            device.publish(device.topics.response(asked.rid), answer.to_json())

        thread = threading.Thread(target=obey)
        thread.start()
        answer = client.command("obedient", "ping", {"n": 1})
        thread.join(30)
        with pytest.raises(ApiError) as silence:
            client.command("obedient", "ping", {}, timeout_s=0.5)
    assert (answer["ok"], answer["result"]) == (True, {"pong": {"n": 1}})
    assert (silence.value.status, silence.value.reason.value) == (504, "no-response")


def test_object_is_served_in_ranges_to_the_device_that_needs_it(stand: Stand, tmp_path: Path) -> None:
    needs, other = stand.enrol("needs")["api_token"], stand.enrol("needs-not")["api_token"]
    weights = os.urandom(600_000)
    model = upload(stand, "ranged", weights=weights)
    upload_workflow(stand, tmp_path, "ranging", ["det"])
    with stand.client() as client:
        client.set_desired("needs", wanted("ranged", "ranging"))
    base = "/api/v1/device/objects"
    manifest = decode_manifest(stand.get(f"{base}/{model['digest']}", needs).content)
    assert manifest.digest == model["digest"]
    entry = next(entry for entry in manifest.files if entry.path == "model.onnx")
    path = f"{base}/{entry.sha256}"
    assert stand.get(path, needs).content == weights
    part = stand.get(path, needs, Range="bytes=599990-")
    assert (part.status_code, part.content) == (206, weights[599990:])
    assert part.headers["content-range"] == "bytes 599990-599999/600000"
    assert stand.get(path, needs, Range="bytes=10-19").content == weights[10:20]
    assert stand.get(path, needs, Range="bytes=600000-").status_code == 416
    changed = stand.get(path, needs, Range="bytes=10-19", **{"If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, weights)
    assert stand.get(path, other).status_code == 403
    assert stand.get(path, stand.admin_token).status_code == 401
    assert stand.get(f"{base}/sha256:{'0' * 64}", needs).status_code == 404
    assert stand.get(f"{base}/nonsense", needs).status_code == 404


def test_unknown_device_is_not_found_and_a_near_name_is_told(stand: Stand) -> None:
    stand.enrol("warehouse-1")
    answer = stand.get("/api/v1/devices/warehouse-2")
    assert (answer.status_code, answer.json()["reason"]) == (404, "not-found")
    assert "warehouse-1" in answer.json()["detail"]


def test_viewer_may_look_but_not_touch(stand: Stand) -> None:
    stand.enrol("looked-at")
    with stand.client() as client:
        token = client.create_api_token("guest", "viewer")["token"]
    with stand.client(token) as guest:
        assert guest.device("looked-at")["id"] == "looked-at"
        with pytest.raises(ApiError) as refused:
            guest.set_desired("looked-at", {})
    with stand.client("oa_nonsense") as stranger, pytest.raises(ApiError) as unknown:
        stranger.devices()
    assert (refused.value.status, unknown.value.status) == (403, 401)


def test_body_over_the_limit_is_refused(stand: Stand) -> None:
    stand.enrol("large")
    with stand.client() as client, pytest.raises(ApiError) as refused:
        client.set_desired("large", {"cameras": {"a": {"source": "x" * 300_000}}})
    assert (refused.value.status, refused.value.reason.value) == (413, "too-large")


def test_killed_broker_comes_back_and_nothing_acknowledged_is_lost(stand: Stand) -> None:
    identity = stand.enrol("survivor")
    with Device(identity) as device, stand.client() as client:
        client.set_desired("survivor", {})
        for number in range(20):
            device.event("door", number, f"before-{number}")
        restarts = client.health()["broker"]["restarts"]
        for child in psutil.Process(stand.process.pid).children(recursive=True):
            if "mosquitto" in child.name():
                child.send_signal(signal.SIGKILL)
        eventually(lambda: client.health()["broker"]["restarts"] > restarts)
        eventually(lambda: client.health()["broker"]["connected"])
        for number in range(20):
            device.event("door", number, f"after-{number}")
        eventually(lambda: len(client.events("survivor", limit=100)[0]) == 40)
        device.subscribe(device.topics.desired)
        assert device.next_message()[0] == device.topics.desired


def test_every_error_of_the_schema_is_a_problem_document(stand: Stand) -> None:
    for answer in (
        stand.get("/api/v1/nothing"),
        stand.get("/api/v1/devices/..%2f"),
        stand.get("/api/v1/devices/-bad-"),
        httpx.put(f"{stand.url}/api/v1/devices/x/desired", content=b"{"),
    ):
        assert answer.status_code in (401, 404, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["reason"]


def test_secrets_lie_in_files_of_their_owner_only(stand: Stand) -> None:
    root = stand.data.root
    for path in (
        stand.data.admin_token,
        stand.data.state_key,
        stand.data.config,
        root / "broker" / "passwords",
    ):
        assert path.stat().st_mode & 0o077 == 0, path
    assert stand.admin_token.encode() not in stand.database_content()


def test_events_of_a_stopped_control_plane_are_taken_in_later(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "data")
    with Device(stand.enrol("patient")) as device:
        device.event("door", 1, "one")
    assert stand.stop() == 0
    children = [
        p for p in psutil.process_iter() if "mosquitto" in p.name() and str(tmp_path) in " ".join(p.cmdline())
    ]
    assert children == []
    stand.start()
    with stand.client() as client:
        assert [event["id"] for event in client.events("patient")[0]] == ["one"]
    broker = psutil.Process(json.loads(stand.data.serve.read_text())["broker_pid"])
    stand.kill()
    broker.wait(10)
    assert not broker.is_running()


def test_second_server_of_a_directory_is_refused(stand: Stand, capsys: pytest.CaptureFixture[str]) -> None:
    from outrider.cli import main

    assert main(["fleet", "serve", str(stand.data.root), "--port", "0"]) == 1
    assert "another process serves" in capsys.readouterr().err


def test_command_line_shows_and_sets(
    stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from outrider.cli import main

    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    stand.enrol("cli-device")
    document = tmp_path / "desired.json"
    document.write_text(json.dumps({"cameras": {"door": {"source": ""}}, "models": {"a": "absent"}}))
    assert main(["fleet", "device", "desired", "set", "cli-device", str(document)]) == 1
    complaint = capsys.readouterr().err
    assert "cameras.door.source" in complaint
    assert "models.a" in complaint
    document.write_text("{}")
    assert main(["fleet", "device", "desired", "set", "cli-device", str(document)]) == 0
    assert main(["fleet", "device", "list"]) == 0
    assert "cli-device" in capsys.readouterr().out
    folder = tmp_path / "package"
    folder.mkdir()
    (folder / "model.toml").write_text("from-cli ok")
    assert main(["fleet", "model", "upload", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "from-cli"


def test_device_stream_of_zip_package_is_accepted(stand: Stand) -> None:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("folder/model.toml", "zipped ok")
        archive.writestr("folder/model.onnx", b"weights")
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    answer = httpx.post(f"{stand.url}/api/v1/models", content=out.getvalue(), headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["name"]) == (201, "zipped")
