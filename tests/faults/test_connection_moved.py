"""`settings.connection`: a control plane or broker that has moved is followed; a change that loses them is taken back by the device itself.

Real control plane, mosquitto, agent and camera as processes. Along the way the camera gives results throughout.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from fleet.config import save
from fleet.ports import free_port
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.faults.launched import OVER_S, Gaps, Launched, upload_workflow
from tests.integration.fleet_stand import Stand, eventually

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(300),
]
UNTOUCHED_S = 5.0
"""A camera at 10 a second, looked at by a busy machine."""


class Forward:
    """Another port that leads to the same place."""

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.taken = 0
        self._target = target
        self._server = socket.create_server(("127.0.0.1", self.port))
        self._sockets: list[socket.socket] = [self._server]
        threading.Thread(target=self._accept, name="forward", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self.taken += 1
            self._sockets += [client, there]
            for pair in ((client, there), (there, client)):
                threading.Thread(target=self._pass, args=pair, name="forward", daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(65536):
                target.sendall(content)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stand, Launched]]:
    folder = tmp_path_factory.mktemp("moved")
    stand = Stand(folder / "data", scripted=False)
    with stand.client() as client:
        upload_workflow(client, folder)
    device = Launched(stand, folder / "device", "m-1")
    try:
        device.start()
        assert device.over(device.push())["phase"] == "COMMITTED"
        device.sees()
        yield stand, device
    finally:
        device.stop()
        stand.stop()


def presence(stand: Stand) -> str:
    with stand.client() as client:
        return client.device("m-1")["presence"]


def connection(**fields: Any) -> dict[str, Any]:
    return {"settings": {"connection": fields}}


def test_a_broker_and_a_control_plane_at_other_ports_are_followed(place: tuple[Stand, Launched]) -> None:
    stand, device = place
    broker = Forward(device.broker_port)
    plane = Forward(urlsplit(stand.url).port or 0)
    try:
        pid, given = device.pid, plane.taken
        with Gaps(device) as gaps:
            told = device.over(
                device.push(**connection(broker_port=broker.port, url=f"http://127.0.0.1:{plane.port}"))
            )
            assert (told["phase"], told["reason"]) == ("COMMITTED", None), told
            assert (broker.taken, plane.taken > given) == (1, True)
            told = device.over(device.push())
            assert told["phase"] == "COMMITTED", "and back to where enrolment has sent it"
        assert (device.pid, device.starts) == (pid, 1)
        assert gaps.longest_s < UNTOUCHED_S
        eventually(lambda: presence(stand) == "online", OVER_S)
    finally:
        broker.close()
        plane.close()


@pytest.mark.parametrize(
    ("field", "words"), [("broker_port", "its broker does not answer"), ("url", "over HTTPS")]
)
def test_a_change_that_loses_contact_is_taken_back_and_the_control_plane_told_why(
    place: tuple[Stand, Launched], field: str, words: str
) -> None:
    stand, device = place
    before = device.reported()["revision"]
    dead = free_port()
    wanted: Any = dead if field == "broker_port" else f"http://127.0.0.1:{dead}"
    with Gaps(device) as gaps:
        told = device.over(device.push(**connection(**{field: wanted})))
    assert (told["phase"], told["reason"], told["revision"]) == ("ROLLED_BACK", "contact-lost", before), told
    assert words in told["message"]
    assert told["update"]["phases"]["probation"]["gate"] == "contact"
    assert told["update"]["quarantined"] == []
    assert gaps.longest_s < UNTOUCHED_S
    assert device.starts == 1
    eventually(lambda: presence(stand) == "online", OVER_S)


def test_a_broker_that_has_moved_already_is_told_over_https(place: tuple[Stand, Launched]) -> None:
    """The real mosquitto on another port: the device hears of it by the way that is left, and meets it there."""
    stand, device = place
    moved = free_port()
    assert stand.stop() == 0
    port = urlsplit(stand.url).port or 0
    config = stand.config.model_copy(
        update={
            "broker": stand.config.broker.model_copy(update={"port": moved}),
            "http": stand.config.http.model_copy(update={"port": port}),
        }
    )
    save(stand.data, config)
    stand.start()
    eventually(lambda: presence(stand) == "polling", OVER_S)
    told = device.over(device.push(**connection(broker_port=moved)))
    assert told["phase"] == "COMMITTED", told
    eventually(lambda: presence(stand) == "online", OVER_S)
    device.kill()
    eventually(lambda: device.starts == 2, OVER_S)
    eventually(lambda: presence(stand) == "online" and device.status().get("connected"), OVER_S)
