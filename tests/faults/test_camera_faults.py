"""Faults of real network cameras: how soon each is told, how soon it is over, how much blind time is booked, and that another
camera loses no frame meanwhile."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agent_rig import BASE, DEVICE, until
from tests.fakes.mosquitto import PROGRAM
from tests.faults.camera_yard import WORD, BadPort, Server, Yard, network, programmes, why_not, yard
from tests.faults.lossy_relay import LossyRelay
from wire import command

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed")

WORKFLOW = Path(__file__).resolve().parents[2] / "examples" / "workflows" / "count_people.json"
DETECTED_S = 15.0
RECOVERED_S = 25.0


@pytest.fixture(scope="module")
def clips(assets: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if reason := why_not():
        pytest.skip(reason)
    return programmes(assets / "video" / "one-by-one-person-detection.mp4", tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def server(clips: dict[str, Path]) -> Iterator[Server]:
    """The server whose cameras change what they show."""
    server = Server(clips)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def made(
    clips: dict[str, Path],
    server: Server,
    assets: Path,
    packages: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Yard]:
    video = assets / "video" / "one-by-one-person-detection.mp4"
    with yard(tmp_path_factory.mktemp("yard"), packages["nanodet_m_320"], video, WORKFLOW) as made:
        made.define(shows={"source": server.url("a")})
        made.watched("bystander", 60.0)
        yield made
        log = made.rig.log.read_text()
        assert WORD not in log
        print(log[-4000:])


@pytest.fixture(autouse=True)
def whole(made: Yard) -> Iterator[None]:
    yield
    made.bystander_whole()


def test_a_server_that_is_killed_and_started_again(made: Yard, clips: dict[str, Path]) -> None:
    other = Server(clips)
    other.start()
    try:
        made.define(gate={"source": other.url()})
        found = made.outage("gate", other.kill, other.start, hold_s=2.0)
        assert found.cause in ("camera-lost", "camera-unreachable")
        assert found.detected_s < DETECTED_S
        assert found.recovered_s < RECOVERED_S
        assert made.true_blind_s - 1.0 <= found.blind_s <= made.true_blind_s + found.recovered_s + 1.0
    finally:
        made.define(gate=None)
        other.kill()


def test_a_server_that_stands_still(made: Yard, clips: dict[str, Path]) -> None:
    """SIGSTOP: the connection stands, the kernel accepts new ones, nothing comes."""
    other = Server(clips)
    other.start()
    try:
        made.define(gate={"source": other.url()})
        found = made.outage(
            "gate", lambda: other.signal(signal.SIGSTOP), lambda: other.signal(signal.SIGCONT), hold_s=4.0
        )
        assert found.cause == "camera-stalled"
        assert found.detected_s < DETECTED_S
        assert found.recovered_s < RECOVERED_S
        assert made.true_blind_s - 1.0 <= found.blind_s <= made.true_blind_s + found.recovered_s + 1.0
    finally:
        made.define(gate=None)
        other.kill()


def test_a_network_that_is_cut(made: Yard, clips: dict[str, Path]) -> None:
    name = f"or{os.getpid() % 10000}"
    try:
        with network(name) as (address, cable):
            other = Server(clips, address, name)
            other.start()
            try:
                made.define(gate={"source": other.url()})
                found = made.outage("gate", lambda: cable(False), lambda: cable(True), hold_s=2.0)
                assert found.cause == "camera-stalled"
                assert found.detected_s < DETECTED_S
                assert found.recovered_s < RECOVERED_S
                assert found.blind_s >= made.true_blind_s - 1.0
            finally:
                made.define(gate=None)
                other.kill()
    except OSError as e:
        pytest.skip(f"no network namespace here: {e}")


def test_a_fifth_of_the_packets_lost_on_udp(made: Yard, server: Server) -> None:
    relay = LossyRelay(server.port)
    try:
        url = f"rtsp://viewer:{WORD}@127.0.0.1:{relay.port}/b"
        made.define(gate={"source": url, "options": {"rtsp_transport": "udp"}})
        before = made.watched("gate")
        began_mono = time.monotonic()
        relay.loss = 0.2

        def shows() -> bool:
            """What is lost shows in the frames that are missing, more than a report that is late explains, or as blind time."""
            told = made.health("gate")
            missing = 10 * (time.monotonic() - began_mono) - (told["results"] - before["results"])
            return missing > 30 or sum(told["blind_s"].values()) > sum(before["blind_s"].values())

        until(shows, 60.0)
        assert relay.dropped > 20
        relay.loss = 0.0
        after = made.watched("gate", 60.0)
        results = after["results"]
        assert until(lambda: made.health("gate")["results"] > results + 20, RECOVERED_S)
        assert after["restarts"] == 0
        assert until(lambda: made.health("gate")["packets_lost"]) >= relay.dropped * 0.8
    finally:
        made.define(gate=None)
        relay.close()


def test_a_resolution_that_changes_in_mid_stream(made: Yard, server: Server) -> None:
    before = made.watched("shows")
    server.tell("a small")
    try:
        until(lambda: made.health("shows")["results"] > before["results"] + 30)
        after = made.health("shows")
        assert after["blind_s"] == before["blind_s"]
        assert after["restarts"] == before["restarts"]
        until(lambda: [fault["reason"] for fault in made.health("shows")["faults"]] == ["picture-size"])
    finally:
        server.tell("a live")
    until(lambda: made.health("shows")["faults"] == [])


def test_a_wrong_password_is_told_apart_and_corrected_without_touching_the_others(
    made: Yard, server: Server
) -> None:
    made.define(gate={"source": server.url("c", word="wrong-word")})
    try:
        began_mono = time.monotonic()
        until(lambda: made.health("gate")["blind_now"]["cause"] == "camera-password")
        assert time.monotonic() - began_mono < DETECTED_S
        told = made.reported("gate")
        assert (told["state"], told["reason"]) == ("failed", "camera-password")
        assert "wrong-word" not in str(made.rig.status())
        pids = {name: made.health(name)["pid"] for name in ("bystander", "shows")}
        mended_mono = time.monotonic()
        made.define(gate={"source": server.url("c")})
        after = made.watched("gate")
        assert time.monotonic() - mended_mono < RECOVERED_S
        blind_s = after["blind_s"]
        assert blind_s["camera-password"] > 0
        assert {name: made.health(name)["pid"] for name in pids} == pids
    finally:
        made.define(gate=None)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [(bytes(range(256)) * 16, "camera-nonsense"), (b"", "camera-silent")],
    ids=["garbage", "endless-connect"],
)
def test_a_port_that_answers_nonsense_or_nothing(
    made: Yard, clips: dict[str, Path], answer: bytes, cause: str
) -> None:
    other = Server(clips)
    bad = BadPort(other.port, answer)
    try:
        made.define(gate={"source": other.url()})
        began_mono = time.monotonic()
        until(lambda: made.health("gate")["blind_now"]["cause"] == cause)
        assert time.monotonic() - began_mono < DETECTED_S
        bad.close()
        mended_mono = time.monotonic()
        other.start()
        after = made.watched("gate", 60.0)
        assert time.monotonic() - mended_mono < RECOVERED_S
        assert after["blind_s"][cause] >= mended_mono - began_mono - 2.0
    finally:
        made.define(gate=None)
        bad.close()
        other.kill()


@pytest.mark.parametrize("programme", ["frozen", "black"])
def test_a_picture_that_shows_nothing_of_what_it_should(made: Yard, server: Server, programme: str) -> None:
    found = made.outage(
        "shows", lambda: server.tell(f"a {programme}"), lambda: server.tell("a live"), hold_s=0.5
    )
    assert found.cause == f"picture-{programme}"
    assert found.detected_s < DETECTED_S
    assert found.recovered_s < RECOVERED_S
    # Blind since the picture stood still, not since it was found out.
    assert found.blind_s >= made.true_blind_s - 2.0
    assert f'camera="shows",cause="picture-{programme}"' in made.rig.get("/metrics").text
    assert 0.1 < made.health("shows")["brightness"] < 0.9


def test_a_call_that_never_comes_back_costs_its_process_and_is_told_apart(made: Yard, tmp_path: Path) -> None:
    """A named pipe with no writer: opening it blocks inside the library, which no deadline of its own ends."""
    pipe = tmp_path / "pipe.avi"
    os.mkfifo(pipe)
    care = {"deadlines": {"open_s": 0.5, "read_s": 1, "hang_s": 1}}
    made.define(gate={"source": str(pipe), "pace": "live", **care})
    try:
        began_mono = time.monotonic()
        first = until(lambda: made.health("gate")["pid"])
        until(lambda: made.health("gate")["blind_now"]["cause"] == "camera-hung")
        assert time.monotonic() - began_mono < DETECTED_S
        until(lambda: made.health("gate")["pid"] not in (None, first))
    finally:
        began_mono = time.monotonic()
        made.define(gate=None)
        assert time.monotonic() - began_mono < 10.0, "a stop works while the call is blocked"


def test_no_password_on_any_command_line_or_in_what_is_told(made: Yard) -> None:
    pids = [made.rig.pid, *made.rig.children("python")]
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    assert len(lines) >= 3
    with made.rig.observer._arrived:
        told = [body for topic, body in made.rig.observer.messages if not topic.endswith("/desired")]
    everything = str(
        (lines, told, made.rig.status(), made.rig.get("/metrics").text, made.rig.log.read_text())
    )
    assert WORD not in everything
    assert "wrong-word" not in everything


def test_a_picture_goes_to_the_fleet_only_where_the_policy_says_so(made: Yard, server: Server) -> None:
    def ask(rid: str) -> dict[str, Any]:
        arguments = {"camera": "gate", "max_width_px": 320}
        request = command.Command(
            device=DEVICE, name="snapshot", rid=rid, issued_at=1.0, expires_at=4e9, arguments=arguments
        )
        data = command.sign(request, made.rig.plane.key)
        made.rig.observer.publish(f"{BASE}/cmd/snapshot", data, retain=False)
        observer = made.rig.observer
        return dict(observer.wait(lambda: next((r for r in observer.of("rsp") if r["rid"] == rid), None)))

    made.define(gate={"source": server.url("c")})
    try:
        made.watched("gate")
        assert made.rig.get("/cameras/gate/snapshot.jpg").content.startswith(b"\xff\xd8")
        refused = ask("s1")
        assert (refused["ok"], refused["reason"]) == (False, "picture-withheld")
        made.define(gate={"source": server.url("c"), "privacy": {"pictures": "fleet"}})
        made.watched("gate")
        assert base64.b64decode(ask("s2")["result"]["jpeg"]).startswith(b"\xff\xd8")
        made.define(gate={"source": server.url("c"), "privacy": {"blurred_classes": ["face"]}})
        made.watched("gate")
        answer = made.rig.get("/cameras/gate/snapshot.jpg")
        assert (answer.status_code, answer.json()["reason"]) == (403, "picture-withheld")
    finally:
        made.define(gate=None)
