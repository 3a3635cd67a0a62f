"""A control plane backed up while it runs and restored elsewhere; a real agent goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet import backup
from fleet.config import Broker, DataDir, Http, load, save
from fleet.errors import Refused, Taken
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.integration import backing
from tests.integration.agent_process import AgentProcess
from tests.integration.fleet_stand import Stand, eventually, package

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]
WORKS_S = 60.0


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    started: list[AgentProcess] = []
    yield started
    for agent in started:
        agent.stop()


def test_agent_goes_on_after_its_control_plane_was_lost_and_restored(
    tmp_path: Path,
    agents: list[AgentProcess],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from outrider.cli import main

    monkeypatch.setenv("OUTRIDER_BACKUP_PASSPHRASE", "correct horse")
    stand = Stand(tmp_path / "lost", secure=True)
    (tmp_path / "package").mkdir()
    (tmp_path / "package.tar").write_bytes(package("kept"))
    agent = AgentProcess(tmp_path / "device", "survivor")
    agent.enrol(stand)
    agent.start()
    agents.append(agent)
    with stand.client() as client:
        client.upload_model(tmp_path / "package.tar")
        client.set_desired("survivor", {})
        eventually(lambda: (client.device("survivor")["reported"] or {}).get("revision") == 1, WORKS_S)
        assert main(["fleet", "backup", str(stand.data.root), str(tmp_path / "backup.tar.gz")]) == 0
        # What is younger than the backup is lost, and the device has seen these revisions all the same.
        for _ in range(3):
            client.set_desired("survivor", {})
        eventually(lambda: (client.device("survivor")["reported"] or {}).get("revision") == 4, WORKS_S)
        models = client.models()
    assert "keys sealed" in capsys.readouterr().out
    told = stand.told
    stand.kill()
    assert (tmp_path / "backup.tar.gz").stat().st_mode & 0o077 == 0
    data = DataDir(tmp_path / "restored")
    restore(stand, data, tmp_path / "backup.tar.gz")
    config = load(data)
    ports = {"http": Http(**{**config.http.model_dump(), "port": told["http_port"]})}
    ports |= {"broker": Broker(**{**config.broker.model_dump(), "port": told["device_port"]})}
    save(data, config.model_copy(update=ports))
    stand.data = data
    stand.start()
    try:
        with stand.client() as client:
            assert client.models() == models
            eventually(lambda: client.device("survivor")["presence"] == "online", WORKS_S)
            eventually(lambda: (client.device("survivor")["reported"] or {}).get("revision") == 4, WORKS_S)
            revision = client.set_desired("survivor", {})["revision"]
            assert revision > 4
            eventually(
                lambda: (client.device("survivor")["reported"] or {}).get("revision") == revision, WORKS_S
            )
            assert client.command("survivor", "ping", {}, 30.0)["ok"]
        assert main(["fleet", "db", "check", str(data.root)]) == 0
        assert main(["fleet", "db", "upgrade", str(data.root)]) == 0
    finally:
        agent.stop()
        stand.stop()


def restore(stand: Stand, data: DataDir, file: Path) -> None:
    config = None
    if backing.on_servers():
        config = stand.config.model_copy(update=backing.new_database())
    backup.restore(file, data.root, "correct horse", config)
    if config is not None:
        save(data, config)


def test_backup_is_restored_into_the_other_database(tmp_path: Path) -> None:
    if backing.missing():
        pytest.skip(backing.missing())
    stand = Stand(tmp_path / "plane")
    stand.enrol("moves")
    backup.make(stand.data, tmp_path / "backup", "pass", with_objects=True)
    stand.kill()
    there = stand.config.model_copy(
        update={
            "database": "",
            "database_password": "",
            **({} if backing.on_servers() else backing.new_database()),
        }
    )
    backup.restore(tmp_path / "backup", tmp_path / "there", "pass", there)
    stand.data, stand.config = DataDir(tmp_path / "there"), there
    save(stand.data, there)
    stand.start()
    try:
        stand.enrol("new-there")
        with stand.client() as client:
            assert {device["id"] for device in client.devices()} == {"moves", "new-there"}
    finally:
        stand.stop()


def test_what_cannot_be_restored_is_refused_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "plane", start=False)
    backup.make(stand.data, tmp_path / "sealed", "right", with_objects=True)
    backup.make(stand.data, tmp_path / "bare", None, with_objects=False)
    with pytest.raises(Refused, match="passphrase does not fit"):
        backup.restore(tmp_path / "sealed", tmp_path / "a", "wrong")
    with pytest.raises(Refused, match="holds no keys"):
        backup.restore(tmp_path / "bare", tmp_path / "b", "right")
    with pytest.raises(Taken, match="not empty"):
        backup.restore(tmp_path / "sealed", tmp_path / "plane", "right")
    (tmp_path / "torn").write_bytes((tmp_path / "sealed").read_bytes()[:-2000])
    with pytest.raises(Refused, match="no whole backup"):
        backup.restore(tmp_path / "torn", tmp_path / "c", "right")
    secret = stand.data.state_key.read_bytes().splitlines()[1]
    assert secret not in (tmp_path / "sealed").read_bytes() + (tmp_path / "bare").read_bytes()
