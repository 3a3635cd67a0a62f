"""Updates while the world outside fails: broker, control plane, names, clock. Real agent, broker, engine and pipeline, a real video at live
pace; broker and control plane are reached through relays that can be shut.

Each test says how many frames have no result (none: nothing outside costs one), which revision runs, and what the control plane was told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agent_rig import until
from tests.fakes.mosquitto import PROGRAM
from tests.fakes.name_server import ADDRESS, NameServer
from tests.fakes.tcp_gate import TcpGate, Way
from tests.faults.device_stand import VIDEO, DeviceStand, at_work

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(300),
    pytest.mark.long,
]
DAY_S = 86400.0
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


def own_mounts() -> bool:
    """Whether a process may have a view of the file system of its own here."""
    unshare = shutil.which("unshare")
    return bool(unshare) and os.geteuid() == 0 and not subprocess.run([unshare, "-m", "true"]).returncode


class Outside:
    """The device, and what stands between it and the world."""

    def __init__(self, stand: DeviceStand, broker: TcpGate, plane: TcpGate, names: NameServer | None) -> None:
        self.stand, self.broker, self.plane, self.names = stand, broker, plane, names

    def offered(self, revision: int) -> None:
        until(lambda: self.stand.made.status()["reported"]["offered"] == revision, 30.0)

    def new_weights(self, tag: str) -> str:
        """The detector with other bytes, all of which have to be fetched. A field of the file that says nothing is another."""
        import onnx

        model = onnx.load_from_string(self.stand.files["model.onnx"])
        model.doc_string = tag
        return self.stand.model(tag, **{"model.onnx": model.SerializeToString()})


@pytest.fixture(scope="module")
def outside(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path], assets: Path
) -> Iterator[Outside]:
    directory = tmp_path_factory.mktemp("outside")
    gates: list[TcpGate] = []
    names = NameServer() if own_mounts() else None
    resolver = directory / "resolv.conf"
    resolver.write_text(f"nameserver {ADDRESS}\noptions timeout:1 attempts:2\n")

    def before_start(made: Any) -> None:
        gates.append(TcpGate(made.broker.port))
        gates.append(TcpGate(int(made.plane.url.rpartition(":")[2])))
        broker, plane = ("broker.site.test", "plane.site.test") if names else ("127.0.0.1", "127.0.0.1")
        made.reach(broker, gates[0].port, f"http://{plane}:{gates[1].port}")
        if names:
            view = f'mount --bind {resolver} /etc/resolv.conf && exec "$@"'
            made.wrapper = ["unshare", "-m", "--propagation", "private", "sh", "-c", view, "sh"]

    with at_work(
        directory, packages["nanodet_m_320"], assets / VIDEO, before_start=before_start, poll_after_s=600.0
    ) as stand:
        yield Outside(stand, *gates, names)
    for gate in gates:
        gate.close()
    if names:
        names.close()


def test_a_torn_download_goes_on_where_it_was_torn(outside: Outside) -> None:
    stand, plane = outside.stand, outside.stand.made.plane
    plane.cut_after_bytes, plane.cuts = 1_500_000, 0
    stand.push(outside.new_weights("torn"))
    reported = stand.ended("COMMITTED")
    plane.cut_after_bytes = None
    assert plane.cuts >= 2
    assert any(asked for _, asked in plane.requests), "asked for by range"
    assert [swap["frames_lost"] for swap in reported["swaps"]] == [0]


@pytest.mark.parametrize("way", [Way.REFUSE, Way.SWALLOW], ids=["dead", "half-open"])
def test_an_update_needs_no_broker_once_it_is_there(outside: Outside, way: Way) -> None:
    stand = outside.stand
    revision = stand.push(stand.model(f"broker {way.name}"))
    outside.offered(revision)
    outside.broker.turn(way)
    stand.phase("COMMITTED")
    outside.broker.turn(Way.OPEN)
    stand.ended("COMMITTED")


def test_an_update_does_not_wait_for_a_broker_that_hangs(outside: Outside) -> None:
    stand = outside.stand
    revision = stand.push(stand.model("broker stopped"))
    outside.offered(revision)
    stand.made.broker.pause()
    try:
        stand.phase("COMMITTED")
    finally:
        stand.made.broker.resume()
    stand.ended("COMMITTED")


def test_without_control_plane_for_the_whole_of_it_what_is_there_is_applied(outside: Outside) -> None:
    stand, former = outside.stand, outside.stand.model("there already")
    stand.commits(former)
    stand.commits(stand.model("in between"))
    outside.plane.turn(Way.REFUSE)
    requests = len(stand.made.plane.requests)
    stand.push(former)
    stand.ended("COMMITTED")
    outside.plane.turn(Way.OPEN)
    assert len(stand.made.plane.requests) == requests


def test_what_is_not_there_waits_for_the_control_plane_and_says_so(outside: Outside) -> None:
    stand = outside.stand
    outside.plane.turn(Way.REFUSE)
    revision = stand.push(outside.new_weights("plane is down"))
    waits = stand.made.observer.wait(lambda: interrupted(stand, revision), 60.0)
    assert waits["revision"] == stand.running
    outside.plane.turn(Way.OPEN)
    stand.ended("COMMITTED")


def test_with_dead_names_an_update_waits_says_so_and_goes_on(outside: Outside) -> None:
    stand, names = outside.stand, outside.names
    if names is None:
        pytest.skip("needs root, for a resolver of the agent's own")
    names.dead = True
    outside.plane.turn(Way.REFUSE)
    outside.plane.turn(Way.OPEN)
    revision = stand.push(outside.new_weights("no names"))
    stand.made.observer.wait(lambda: interrupted(stand, revision), 60.0)
    assert names.unanswered > 0
    names.dead = False
    stand.ended("COMMITTED")


def interrupted(stand: DeviceStand, revision: int) -> dict[str, Any] | None:
    """What was told of a download that does not come on."""
    for data in stand.made.observer.of("reported"):
        if (data["offered"], data["phase"], data["reason"]) == (revision, "FETCHING", "artifact-unreachable"):
            return dict(data)
    return None


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed")
@pytest.mark.parametrize("days", [1, -1], ids=["a-day-ahead", "a-day-back"])
def test_a_clock_that_steps_by_a_day_in_the_middle_changes_nothing(
    clocked: tuple[DeviceStand, Path], days: int
) -> None:
    stand, clock = clocked
    model = stand.model(f"clock {days}")
    stand.push(model, probation_s=3.0)
    stand.phase("PROBATION")
    clock.write_text(f"{days:+d}d\n")
    stepped_mono = time.monotonic()
    reported = stand.ended("COMMITTED", pause_s=2 * DAY_S + 10)
    assert time.monotonic() - stepped_mono < 60
    assert [swap["frames_lost"] for swap in reported["swaps"]] == [0]
    told = [body["at"] for topic, body in stand.made.observer.messages if topic.endswith("/reported")]
    assert abs(told[-1] - time.time() - days * DAY_S) < 3600, "the agent's clock did step"
    assert sum(stand.made.status()["health"]["cameras"]["door"]["blind_s"].values()) < 30


@pytest.fixture(scope="module")
def clocked(
    tmp_path_factory: pytest.TempPathFactory, packages: dict[str, Path], assets: Path
) -> Iterator[tuple[DeviceStand, Path]]:
    """A device all of whose processes go by a clock that a file sets; the monotonic one is the machine's."""
    directory = tmp_path_factory.mktemp("clock")
    clock = directory / "clock"
    clock.write_text("+0d\n")

    def before_start(made: Any) -> None:
        made.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    with at_work(directory, packages["nanodet_m_320"], assets / VIDEO, before_start=before_start) as stand:
        yield stand, clock
