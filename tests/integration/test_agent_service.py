"""The agent as systemd sees it: a real NOTIFY_SOCKET, a real journal, signals. No systemd has to run for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import journald, logs
from agent.owner import acting_for
from fleet.ports import free_port
from tests.fakes.mosquitto import PROGRAM
from tests.integration.fleet_stand import Stand, eventually

DEADLINE_S = 60.0
WATCHDOG_S = 2.0
JOURNALD = Path("/lib/systemd/systemd-journald")


class Service:
    """`outrider agent run` under a notify socket, with no broker and no control plane to reach."""

    def __init__(self, directory: Path, enrolled: bool = True) -> None:
        self.config = directory / "agent.toml"
        self.log = directory / "log"
        self.run_dir = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))
        self.state_dir = state_dir = directory / "state"
        state_dir.mkdir(mode=0o700)
        self.write(f'state_dir = "{state_dir}"\nrun_dir = "{self.run_dir}"\nhttp_port = -1\n')
        nowhere = {"host": "127.0.0.1", "port": free_port(), "username": "d", "password": "p"}
        who = {"url": f"http://127.0.0.1:{free_port()}", "fleet": "f", "device": "d1", "api_token": "t" * 20}
        if enrolled:
            (state_dir / "identity.json").write_text(json.dumps({**who, "broker": nowhere, "state_keys": {}}))
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(directory / "notify"))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "outrider", "agent", "run", "--config", str(self.config)],
                stdout=log,
                stderr=log,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(directory / "notify"),
                    "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6)),
                },
            )

    def write(self, text: str) -> None:
        self.config.write_text(text)

    def hear(self, beginning: str, deadline_s: float = DEADLINE_S) -> list[str]:
        """Everything said up to the first message that begins so, that one included."""
        said: list[str] = []
        deadline_mono = time.monotonic() + deadline_s
        while (left_s := deadline_mono - time.monotonic()) > 0:
            self._listener.settimeout(left_s)
            try:
                said.append(self._listener.recv(4096).decode())
            except TimeoutError:
                break
            if said[-1].startswith(beginning):
                return said
        raise AssertionError(f"{beginning!r} was not said; only {said}; {self.log.read_text()}")

    def heard_within(self, seconds: float) -> list[str]:
        """What is said in this time."""
        said: list[str] = []
        deadline_mono = time.monotonic() + seconds
        while (left_s := deadline_mono - time.monotonic()) > 0:
            self._listener.settimeout(left_s)
            with contextlib.suppress(TimeoutError):
                said.append(self._listener.recv(4096).decode())
        return said

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self._listener.close()
        shutil.rmtree(self.run_dir, ignore_errors=True)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    running = Service(tmp_path)
    try:
        yield running
    finally:
        running.close()


def test_ready_waits_for_no_broker_and_a_start_asks_for_time(service: Service) -> None:
    said = service.hear("READY=1")
    assert said[-1] == "READY=1\nSTATUS=revision 0, 0 camera(s), offline"
    assert any(message.startswith("EXTEND_TIMEOUT_USEC=") for message in said[:-1])


def test_the_watchdog_is_fed_by_the_loop_alone_and_not_while_it_is_stuck(service: Service) -> None:
    service.hear("READY=1")
    for _ in range(3):
        service.hear("WATCHDOG=1", WATCHDOG_S)
    service.process.send_signal(signal.SIGSTOP)
    service.heard_within(0.5)
    assert service.heard_within(2 * WATCHDOG_S) == []
    service.process.send_signal(signal.SIGCONT)
    service.hear("WATCHDOG=1", DEADLINE_S)


def test_a_reload_takes_over_what_it_can_and_names_what_needs_a_restart(service: Service) -> None:
    service.hear("READY=1")
    text = service.config.read_text()
    service.write(text + 'log_level = "DEBUG"\n[limits]\nsilent_s = 9\n')
    service.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in service.hear("RELOADING=1")[-1]
    service.hear("READY=1")
    service.write("log_level = 7\n")
    service.process.send_signal(signal.SIGHUP)
    service.hear("RELOADING=1")
    service.hear("READY=1")
    log = service.log.read_text()
    assert "configuration reloaded changed=log_level" in log
    assert "needs a restart of the agent fields=limits.silent_s" in log
    assert "the old one goes on" in log
    assert service.process.poll() is None


def test_a_stop_is_told_before_it_begins_and_asks_for_time(service: Service) -> None:
    service.hear("READY=1")
    service.process.send_signal(signal.SIGTERM)
    service.hear("STOPPING=1")
    assert service.process.wait(DEADLINE_S) == 0
    assert any(message.startswith("EXTEND_TIMEOUT_USEC=") for message in service.heard_within(0.2))


def test_the_watchdogs_abort_leaves_the_stack(service: Service) -> None:
    service.hear("READY=1")
    service.process.send_signal(signal.SIGABRT)
    assert service.process.wait(DEADLINE_S) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in service.log.read_text()
    assert "most recent call first" in service.log.read_text()


@pytest.fixture
def journal() -> Iterator[str]:
    """The name of a journal of its own, served by the real journald."""
    if os.getuid() or not JOURNALD.exists() or shutil.which("journalctl") is None:
        pytest.skip("needs systemd-journald and root, to start one of its own")
    name = f"outrider{os.getpid()}"
    process = subprocess.Popen([str(JOURNALD), name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        place = Path(f"/run/systemd/journal.{name}/socket")
        deadline_mono = time.monotonic() + DEADLINE_S
        while not place.exists() and process.poll() is None and time.monotonic() < deadline_mono:
            time.sleep(0.05)
        if not place.exists():
            pytest.skip("systemd-journald does not start here")
        yield name
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        for pattern in (
            f"/var/log/journal/*.{name}",
            f"/run/log/journal/*.{name}",
            f"/run/systemd/journal.{name}",
        ):
            for found in Path("/").glob(pattern.lstrip("/")):
                shutil.rmtree(found, ignore_errors=True)


def entries(journal: str, *match: str) -> list[dict[str, str]]:
    done = subprocess.run(
        ["journalctl", f"--namespace={journal}", "-o", "json", *match],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_journal_finds_what_is_about_one_camera_and_holds_no_password(journal: str) -> None:
    handler = journald.JournalHandler(logs.extras, Path(f"/run/systemd/journal.{journal}/socket"))
    log = logging.Logger("agent.test")
    log.addHandler(handler)
    log.warning(
        "camera lost", extra={"camera": "dock", "reason": "camera-lost", "url": "rtsp://u:geheim@h/1"}
    )
    log.info("all is well", extra={"camera": "door"})
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        log.exception("failed", extra={"camera": "roof"})
    handler.close()
    deadline_mono = time.monotonic() + DEADLINE_S
    while not (found := entries(journal, "CAMERA=roof")) and time.monotonic() < deadline_mono:
        time.sleep(0.1)
    assert "line two" in found[0]["MESSAGE"]
    (entry,) = entries(journal, "CAMERA=dock")
    assert (entry["PRIORITY"], entry["REASON"], entry["LOGGER"]) == ("4", "camera-lost", "agent.test")
    assert entry["SYSLOG_IDENTIFIER"] == "outrider-agent"
    assert entry["MESSAGE"].startswith("camera lost camera=dock")
    assert "geheim" not in json.dumps(entries(journal))


def test_where_no_journal_listens_the_agent_logs_to_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        journald.JournalHandler.__init__, "__defaults__", (tmp_path / "none", "outrider-agent")
    )
    handler = logs._handler("journal", sys.stderr, {})
    assert isinstance(handler, logging.StreamHandler)
    assert "no journal listens" in capsys.readouterr().err


def test_only_a_stream_of_the_journal_is_taken_for_one(tmp_path: Path) -> None:
    with (tmp_path / "f").open("w") as stream:
        status = os.fstat(stream.fileno())
        name = f"{status.st_dev}:{status.st_ino}"
        assert journald.connected({"JOURNAL_STREAM": name}, stream)
        assert not journald.connected({"JOURNAL_STREAM": name + "1"}, stream)
        assert not journald.connected({}, stream)


def test_an_agent_without_identity_is_ready_and_waits(tmp_path: Path) -> None:
    running = Service(tmp_path, enrolled=False)
    try:
        assert running.hear("READY=1")[-1].startswith("READY=1\nSTATUS=not enrolled")
        running.hear("WATCHDOG=1")
        running.process.send_signal(signal.SIGTERM)
        running.hear("STOPPING=1")
        assert running.process.wait(DEADLINE_S) == 0
    finally:
        running.close()


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_a_device_of_an_image_enrols_itself_and_goes_to_work(tmp_path: Path) -> None:
    stand = Stand(tmp_path / "plane", secure=True)
    try:
        with stand.client() as client:
            token = client.create_enrolment_token()["token"]
            (tmp_path / "device").mkdir()
            running = Service(tmp_path / "device", enrolled=False)
            try:
                running.hear("READY=1")
                order = f'url = "{stand.url}"\ntoken = "{token}"\ndevice = "cam-{{hostname}}"\n'
                (running.state_dir / "enrol.toml").write_text(order)
                running.hear("READY=1\nSTATUS=revision 0")
                name = client.devices()[0]["id"]
                assert name.startswith("cam-")
                eventually(lambda: client.device(name)["presence"] == "online", DEADLINE_S)
                assert not (running.state_dir / "enrol.toml").exists()
                assert token.partition(".")[0] not in running.log.read_text()
            finally:
                running.close()
    finally:
        stand.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to be somebody else")
def test_what_root_enrols_belongs_to_the_services_user() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        theirs = Path(folder)
        os.chown(theirs, 12345, 12345)
        with acting_for(theirs):
            (theirs / "identity.json").touch()
        (theirs / "roots").touch()
        assert (theirs / "identity.json").stat().st_uid == 12345
        assert (theirs / "roots").stat().st_uid == 0


def test_a_control_plane_says_when_it_is_ready_and_when_it_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(DEADLINE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        stand = Stand(tmp_path / "plane", broker="amqtt")
        try:
            assert listener.recv(4096).decode() == f"READY=1\nSTATUS=fleet lab at {stand.url}"
        finally:
            stand.stop()
        assert listener.recv(4096) == b"STOPPING=1"
