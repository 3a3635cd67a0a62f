"""Devices in service and out of it, with real agents: logs, diagnostics, inventory, reboot, wipe, retire; and where a password is not found."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.client import ApiError
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.integration.agent_process import AgentProcess
from tests.integration.enrolled import Enrolled
from tests.integration.fleet_stand import Stand, eventually

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]
WORKS_S = 60.0
PASSWORD = "Zk7-planted-camera-password"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("upkeep") / "data", secure=True)
    yield running
    assert running.stop() == 0


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    started: list[AgentProcess] = []
    yield started
    for agent in started:
        agent.stop()


def started(stand: Stand, agents: list[AgentProcess], folder: Path, name: str) -> AgentProcess:
    agent = AgentProcess(folder, name)
    agent.enrol(stand)
    agent.start()
    agents.append(agent)
    with stand.client() as client:
        eventually(lambda: client.device(name)["presence"] == "online", WORKS_S)
    return agent


def with_camera(stand: Stand, name: str) -> None:
    """A camera that is not there, whose password is sealed to the device; and one whose password stands in its address."""
    with stand.client() as client:
        client.set_secret(name, "door", PASSWORD)
        client.set_desired(
            name, {"cameras": {"door": {"source": "rtsp://admin:secret:door@127.0.0.1:9/main"}}}
        )
        eventually(lambda: (client.device(name)["reported"] or {}).get("revision") == 1, WORKS_S)


def test_planted_camera_password_is_found_in_no_store_and_no_log(
    tmp_path: Path, agents: list[AgentProcess]
) -> None:
    stand = Stand(tmp_path / "plane", secure=True)
    agent = started(stand, agents, tmp_path / "device", "planted")
    with_camera(stand, "planted")
    with stand.client() as client:
        answer = client.ask_for_diagnostics("planted")
        assert answer["ok"]
        bundle = tmp_path / "bundle.tar.gz"
        client.fetch_diagnostics("planted", answer["result"]["id"], bundle)
        assert client.command("planted", "log-tail", {"lines": 2000}, 30.0)["ok"]
    opened = agent.run_dir / "fleet-secrets" / "door"
    assert opened.read_text() == PASSWORD  # it did get there: the search below can find something
    database = stand.database_content()
    agent.stop()
    assert stand.stop() == 0
    assert (stand.data.broker / "sessions.db").stat().st_size > 0
    with tarfile.open(bundle) as tar:
        bundled = b"".join(tar.extractfile(member).read() for member in tar if member.isfile())
    places = {
        "broker": b"".join(path.read_bytes() for path in stand.data.broker.rglob("*") if path.is_file()),
        "database": database,
        "control plane": b"".join(path.read_bytes() for path in stand.data.root.rglob("*") if path.is_file()),
        "device": b"".join(path.read_bytes() for path in agent.state_dir.rglob("*") if path.is_file()),
        "agent's log": agent.log.encode(),
        "control plane's log": stand.log.read_bytes(),
        "bundle": bundled,
    }
    assert {name for name, content in places.items() if PASSWORD.encode() in content} == set()
    assert b"secret:door" in places["database"]


def test_bundle_tells_much_and_no_secret(stand: Stand, tmp_path: Path, agents: list[AgentProcess]) -> None:
    agent = started(stand, agents, tmp_path / "device", "sick")
    with stand.client() as client:
        plain = {"cameras": {"yard": {"source": f"rtsp://admin:{PASSWORD}@127.0.0.1:9/main"}}}
        client.set_desired("sick", plain)
        eventually(lambda: (client.device("sick")["reported"] or {}).get("revision") == 1, WORKS_S)
        answer = client.ask_for_diagnostics("sick")
        client.fetch_diagnostics("sick", answer["result"]["id"], tmp_path / "bundle.tar.gz")
        with tarfile.open(tmp_path / "bundle.tar.gz") as tar:
            files = {member.name: tar.extractfile(member).read().decode() for member in tar}
        assert {
            "log.txt",
            "agent.json",
            "identity.json",
            "reported.json",
            "health.json",
            "running.json",
            "doctor.json",
        } <= set(files)
        assert "connected to the broker" in files["log.txt"]
        assert PASSWORD not in "".join(files.values())
        assert "rtsp://***@127.0.0.1:9/main" in files["running.json"]
        with pytest.raises(ApiError, match="bundle"):
            client.fetch_diagnostics("sick", "0" * 32, tmp_path / "none")
    assert agent.is_running


def test_bundle_is_taken_once_and_only_of_the_device_that_was_asked(stand: Stand, tmp_path: Path) -> None:
    asked, other = Enrolled(stand, tmp_path / "a", "asked"), Enrolled(stand, tmp_path / "b", "unasked")
    with asked.mqtt() as mqtt:
        assert mqtt.subscribe(mqtt.topics.commands) < 128
        with stand.client() as client, pytest.raises(ApiError, match="did not answer"):
            client.ask_for_diagnostics("asked", 1.0)
        from wire import dsse, envelope

        signed = envelope.decode(mqtt.next_message()[1]).data
        request = dsse.verify(signed, "application/vnd.outrider.command+json", state_keys(asked))
    path = f"/api/v1/device/diagnostics/{request['arguments']['id']}"
    with asked.client() as mine, other.client() as theirs:
        assert theirs.put(path, content=b"x").status_code == 404
        assert mine.put(path, content=b"x").status_code == 204
        assert mine.put(path, content=b"y").status_code == 422


def state_keys(device: Enrolled) -> dict[str, bytes]:
    return dict(device.who.state_keys)


def test_log_inventory_and_reboot(stand: Stand, tmp_path: Path, agents: list[AgentProcess]) -> None:
    agent = AgentProcess(tmp_path / "device", "kept-up")
    agent.enrol(stand)
    agent.start()
    agents.append(agent)
    with stand.client() as client:
        eventually(lambda: client.device("kept-up")["presence"] == "online", WORKS_S)
        lines = client.command("kept-up", "log-tail", {"lines": 5}, 30.0)["result"]["lines"]
        assert 0 < len(lines) <= 5
        assert not client.command("kept-up", "log-tail", {"lines": 0}, 30.0)["ok"]
        made_of = eventually(lambda: (client.device("kept-up")["reported"] or {}).get("inventory"), WORKS_S)
        assert made_of["processors"] > 0
        assert made_of["memory_bytes"] > 0
        assert made_of["kernel"]
        refused = client.command("kept-up", "reboot", {}, 30.0)
        assert (refused["ok"], refused["reason"]) == (False, "not-allowed")
        agent.stop()
        agent.configure(allow_reboot=True, reboot_command=f"touch {tmp_path}/restarted")
        agent.start()
        eventually(lambda: client.device("kept-up")["presence"] == "online", WORKS_S)
        assert client.command("kept-up", "reboot", {}, 30.0)["ok"]
        eventually(lambda: (tmp_path / "restarted").exists(), WORKS_S)


def test_wiped_device_keeps_nothing_and_its_name_is_free(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from outrider.cli import main

    agent = started(stand, agents, tmp_path / "device", "sold")
    with_camera(stand, "sold")
    old = (agent.state_dir / "device-tls.pem").read_bytes()
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    monkeypatch.setenv("OUTRIDER_FLEET_AUTHORITY", stand.told["authority"])
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["fleet", "device", "wipe", "sold"]) == 1
    assert "--confirm sold" in capsys.readouterr().err
    assert main(["fleet", "device", "wipe", "sold", "--confirm", "another"]) == 1
    assert "nothing was done" in capsys.readouterr().err
    assert (agent.state_dir / "device-tls.pem").read_bytes() == old
    assert main(["fleet", "device", "wipe", "sold", "--confirm", "sold"]) == 0
    eventually(lambda: not agent.is_running, WORKS_S)
    assert list(agent.state_dir.iterdir()) == []
    assert list(agent.run_dir.iterdir()) == []
    with stand.client() as client:
        told = client.device("sold")
        assert told["retired_at"]
        assert told["presence"] == "retired"
        assert client.secrets("sold") == []
    again = AgentProcess(tmp_path / "again", "sold")
    again.enrol(stand)
    again.start()
    agents.append(again)
    with stand.client() as client:
        eventually(lambda: client.device("sold")["presence"] == "online", WORKS_S)
        assert client.device("sold")["retired_at"] is None


def test_wipe_that_lost_power_is_finished_at_the_next_start(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    agent = AgentProcess(tmp_path / "device", "cut")
    agent.enrol(stand)
    (agent.state_dir / "wipe-ordered").write_text("cut")
    agent.start()
    agents.append(agent)
    eventually(lambda: "not enrolled" in agent.log, WORKS_S)
    assert not (agent.state_dir / "device-tls.pem").exists()
    assert not (agent.state_dir / "identity.json").exists()


def test_retired_device_is_out_at_once_and_its_history_stays(stand: Stand, tmp_path: Path) -> None:
    device = Enrolled(stand, tmp_path / "a", "old-one")
    with device.mqtt() as mqtt:
        assert mqtt.event("door", 1, "before") < 128
        with stand.client() as client:
            eventually(lambda: client.events("old-one")[0], WORKS_S)
            client.retire_device("old-one")
        eventually(lambda: mqtt.publish(mqtt.topics.conn, {"state": "online"}, retain=True) >= 128, WORKS_S)
    with device.client() as http:
        assert http.get("/api/v1/device/desired").json()["reason"] == "certificate-revoked"
    with stand.client() as client:
        assert [event["id"] for event in client.events("old-one")[0]] == ["before"]
        assert client.device("old-one")["presence"] == "retired"
    assert Enrolled(stand, tmp_path / "b", "old-one").mqtt().try_connect() == ""
