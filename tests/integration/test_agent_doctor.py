"""The doctor's looks at the network, each failing for its own reason, and the whole of it on a running device."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from agent import config as agent_config
from agent.clock import SystemClock
from agent.doctor import examination, network
from fleet import authority
from fleet.ports import free_port
from outrider.cli import main
from tests.fakes.agent_rig import BASE, rig
from tests.fakes.mosquitto import PROGRAM
from wire import command
from wire.finding import Finding

LOOK_S = 1.0


class WallClock:
    def wall(self) -> float:
        return time.time()

    def mono(self) -> float:
        return time.monotonic()


def look(finding: Awaitable[Finding]) -> Finding:
    async def seen() -> Finding:
        return await finding

    return asyncio.run(seen())


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def answering() -> Iterator[str]:
    """A control plane that answers with the status that its path ends in."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path.split("/")[1]))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_a_name_that_is_not_known_and_a_server_that_is_silent_are_told() -> None:
    async def unknown(host: str) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def never(host: str) -> object:
        return await asyncio.sleep(60)

    found = look(network.names(["plane.example"], unknown))
    assert (found.state, "plane.example: Name or service not known" in found.words) == ("fault", True)
    assert "no answer within" in look(network.names(["plane.example"], never, 0.05)).words
    assert look(network.names(["127.0.0.1", "localhost"])).state == "ok"


def test_a_broker_that_is_away_silent_or_anothers_is_told_apart(silent: int, tmp_path: Path) -> None:
    away = look(network.broker("127.0.0.1", free_port(), None))
    assert (away.state, "cannot be reached" in away.words) == ("fault", True)
    mute = look(network.broker("127.0.0.1", silent, ssl.create_default_context(), LOOK_S))
    assert (mute.state, "does not answer within" in mute.words) == ("fault", True)
    assert look(network.broker("127.0.0.1", silent, None, LOOK_S)).state == "ok"
    ours, theirs = (_authority(tmp_path / name) for name in ("ours", "theirs"))
    stranger = asyncio.run(_told_by_tls(theirs, ours, tmp_path / "chain"))
    assert (stranger.state, "not who it should be" in stranger.words) == ("fault", True)
    assert asyncio.run(_told_by_tls(ours, ours, tmp_path / "chain")).state == "ok"


def _authority(folder: Path) -> authority.Authority:
    authority.create(folder / "authority", folder / "offline" / "root-key.pem", "lab", WallClock())
    return authority.load(folder / "authority", WallClock())


async def _told_by_tls(server: authority.Authority, believed: authority.Authority, chain: Path) -> Finding:
    """What a device that believes one authority says of a broker with a certificate of another."""
    chain.write_bytes(server.own("broker", ["127.0.0.1", "localhost"]))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    listening = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", free_port(), ssl=context)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        ours = ssl.create_default_context(cadata=believed.root_pem)
        return await network.broker("127.0.0.1", port, ours)


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (401, "fault", "does not accept this device"),
        (403, "fault", "does not accept"),
        (503, "warning", "503"),
        (204, "ok", ""),
    ],
)
def test_a_control_plane_is_judged_by_its_answer(answering: str, status: int, state: str, words: str) -> None:
    async def asked() -> Finding:
        async with httpx.AsyncClient() as client:
            return await network.control_plane(client, f"{answering}/{status}")

    found = asyncio.run(asked())
    assert (found.state, words in found.words) == (state, True)


def test_a_control_plane_that_is_away_is_a_fault() -> None:
    async def asked() -> Finding:
        async with httpx.AsyncClient() as client:
            return await network.control_plane(client, f"http://127.0.0.1:{free_port()}")

    assert (asyncio.run(asked())).state == "fault"


def test_silent_cameras_are_counted_and_no_password_is_shown(silent: int) -> None:
    gone = f"rtsp://admin:geheim@127.0.0.1:{free_port()}/main"
    there = f"rtsp://admin:geheim@127.0.0.1:{silent}/main"
    some = look(network.cameras({"dock": gone, "door": there, "film": "/v.mp4"}, LOOK_S))
    assert (some.state, "1 of 2 silent: dock" in some.words) == ("warning", True)
    assert "geheim" not in some.line()
    assert look(network.cameras({"dock": gone}, LOOK_S)).state == "fault"
    assert look(network.cameras({"door": there}, LOOK_S)).state == "ok"


def test_engines_whose_look_crashes_are_a_fault_of_their_own(tmp_path: Path) -> None:
    crash = tmp_path / "crash"
    crash.write_text("#!/bin/sh\nkill -SEGV $$\n")
    crash.chmod(0o755)
    config = agent_config.Config(state_dir=tmp_path, run_dir=tmp_path)
    patient = examination.patient_of(config, SystemClock(), {})
    found = {finding.what: finding for finding in asyncio.run(examination.examine(patient, (str(crash),)))}
    assert (found["engines"].state, "-11" in found["engines"].words) == ("fault", True)
    assert found["enrolment"].state == "fault"


def test_the_command_line_says_what_to_do_and_fails_where_something_is_at_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--state-dir", str(tmp_path / "none"), "--run-dir", "/tmp/or-none"]
    assert main(["agent", "doctor", "--json", *where]) == 1
    findings = [Finding(**row) for row in json.loads(capsys.readouterr().out)]
    assert {"service", "watchdog", "disk speed", "clock", "enrolment", "onnxruntime"} <= {
        f.what for f in findings
    }
    assert all(finding.remedy for finding in findings if finding.state != "ok")


@pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")
def test_a_device_examines_itself_when_it_is_asked(tmp_path: Path) -> None:
    with rig(tmp_path) as made:
        made.children_script = []
        made.start()
        made.observer.wait(lambda: made.observer.of("conn"), 60.0)
        request = command.Command(
            device="d1", name="doctor", rid="x1", issued_at=1.0, expires_at=4e9, arguments={}
        )
        made.observer.publish(f"{BASE}/cmd/doctor", command.sign(request, made.plane.key), retain=False)
        (answer,) = made.observer.wait(lambda: made.observer.of("rsp"), 120.0)
        assert answer["ok"], answer
        found = {row["what"]: Finding(**row) for row in answer["result"]["findings"]}
        assert (found["broker"].state, found["enrolment"].state) == ("ok", "ok")
        assert found["certificate"].state == "fault"
        assert answer["result"]["worst"] == "fault"
