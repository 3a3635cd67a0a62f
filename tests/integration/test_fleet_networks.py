"""Networks as they are, with real agents: WebSocket, a proxy that asks for a password, HTTPS alone, a reverse proxy with a private authority."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fleet.ports import free_port
from tests.fakes.connect_proxy import ConnectProxy
from tests.fakes.mosquitto import PROGRAM as MOSQUITTO
from tests.fakes.nginx import PROGRAM as NGINX
from tests.fakes.nginx import Nginx
from tests.integration.agent_process import AgentProcess
from tests.integration.enrolled import Enrolled
from tests.integration.fleet_stand import Stand, eventually
from wire import proof

pytestmark = [
    pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed"),
    pytest.mark.timeout(240),
]
WORKS_S = 60.0


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("networks") / "data", secure=True, websocket_port=0)
    yield running
    assert running.stop() == 0


@pytest.fixture
def agents() -> Iterator[list[AgentProcess]]:
    """Those that a test starts, to be stopped."""
    started: list[AgentProcess] = []
    yield started
    for agent in started:
        agent.stop()


def presence(stand: Stand, name: str) -> Any:
    with stand.client() as client:
        return client.device(name)["presence"]


def works(stand: Stand, name: str, revision: int = 1) -> None:
    """A desired state gets there, what it became comes back, and a command is answered."""
    with stand.client() as client:
        client.set_desired(name, {})
        eventually(lambda: (client.device(name)["reported"] or {}).get("revision") == revision, WORKS_S)
        assert client.command(name, "ping", {}, 30.0)["ok"]
        eventually(lambda: client.device(name)["health"], WORKS_S)


def test_desired_state_takes_a_device_past_the_proxy_and_back(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    """Its password stays in the device's own file."""
    with ConnectProxy() as proxy, stand.client() as client:
        agent = AgentProcess(tmp_path, "site-9", proxy=proxy.url)
        agent.enrol(stand)
        agent.start()
        agents.append(agent)
        eventually(lambda: presence(stand, "site-9") == "online", WORKS_S)
        for revision, wanted in enumerate(("direct", f"http://127.0.0.1:{proxy.port}"), 1):
            asked = len(proxy.asked)
            client.set_desired("site-9", {"settings": {"connection": {"proxy": wanted}}})
            eventually(lambda n=revision: _committed(client.device("site-9")["reported"], n), WORKS_S)  # type: ignore[misc]
            assert client.command("site-9", "ping", {}, 30.0)["ok"]
            assert (len(proxy.asked) > asked) is (wanted != "direct")
        assert proxy.refused == 0


def _committed(reported: dict[str, Any] | None, revision: int) -> bool:
    told = reported or {}
    return (told.get("offered"), told.get("phase")) == (revision, "COMMITTED")


def test_mqtt_over_websocket_with_the_devices_certificate(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    agent = AgentProcess(tmp_path, "web-1", mqtt="websocket")
    agent.enrol(stand)
    assert agent.identity["broker"]["websocket"].startswith("wss://127.0.0.1:")
    agent.start()
    agents.append(agent)
    eventually(lambda: presence(stand, "web-1") == "online", WORKS_S)
    works(stand, "web-1")


# paho leaves the socket of a refused WebSocket to the garbage collection.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_websocket_listener_lets_no_revoked_certificate_in(stand: Stand, tmp_path: Path) -> None:
    old = Enrolled(stand, tmp_path / "old", "web-2")
    assert old.websocket().try_connect() == ""
    new = Enrolled(stand, tmp_path / "new", "web-2", replace=True)
    assert new.websocket().try_connect() == ""
    assert eventually(lambda: old.websocket().try_connect()) != ""


def test_agent_takes_the_websocket_where_tcp_is_blocked(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    agent = AgentProcess(tmp_path, "web-3")
    agent.enrol(stand)
    blocked = agent.state_dir / "identity.json"
    blocked.write_text(
        blocked.read_text().replace(f'"port": {stand.told["device_port"]}', f'"port": {free_port()}')
    )
    agent.start()
    agents.append(agent)
    eventually(lambda: presence(stand, "web-3") == "online", WORKS_S)
    works(stand, "web-3")


def test_everything_goes_through_the_sites_proxy(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    with ConnectProxy() as proxy:
        agent = AgentProcess(tmp_path, "proxied", proxy=proxy.url)
        agent.enrol(stand)
        agent.start()
        agents.append(agent)
        eventually(lambda: presence(stand, "proxied") == "online", WORKS_S)
        works(stand, "proxied")
        ports = {int(target.rpartition(":")[2]) for target in proxy.asked}
        assert ports >= {stand.told["http_port"], stand.told["device_port"]}
        assert "pr0xy-secret" not in agent.log
        assert proxy.refused == 0
        agent.stop()


def test_https_alone_carries_state_commands_health_and_events(
    stand: Stand, tmp_path: Path, agents: list[AgentProcess]
) -> None:
    agent = AgentProcess(tmp_path, "walled", mqtt="off")
    agent.enrol(stand)
    agent.start()
    agents.append(agent)
    eventually(lambda: presence(stand, "walled") == "polling", WORKS_S)
    works(stand, "walled")
    works(stand, "walled", revision=2)


def test_messages_over_https_are_under_the_rules_of_the_broker(stand: Stand, tmp_path: Path) -> None:
    device, other = Enrolled(stand, tmp_path / "a", "rules-a"), Enrolled(stand, tmp_path / "b", "rules-b")
    topics, foreign = device.mqtt().topics, other.mqtt().topics
    says = [
        (topics.event("door"), True),
        (foreign.event("door"), False),
        (topics.desired, False),
        (topics.command("ping"), False),
        (f"{topics.base}/event/+", False),
    ]
    body = {"messages": [{"topic": topic, "payload": "{}"} for topic, _ in says]}
    with device.client() as client:
        answer = client.post("/api/v1/device/messages", json=body)
        assert answer.json()["accepted"] == [may for _, may in says]
        with stand.client() as operator:
            operator.set_desired("rules-b", {})
        assert client.get("/api/v1/device/inbox").json()["desired"] is None
    with httpx.Client(base_url=stand.url, verify=device.trust.context) as nobody:
        bad = proof.make("rules-a", other.keys._signing(), 1.0)
        refused = nobody.get("/api/v1/device/inbox", headers={"Authorization": f"Bearer {bad}"})
        assert refused.status_code == 401


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
def test_behind_a_reverse_proxy_with_a_private_authority(tmp_path: Path, agents: list[AgentProcess]) -> None:
    nginx = Nginx(tmp_path / "nginx")
    websocket_port = free_port()
    stand = Stand(
        tmp_path / "data",
        websocket_port=websocket_port,
        websocket=f"wss://127.0.0.1:{nginx.port}/mqtt",
    )
    try:
        nginx.start(stand.told["http_port"], websocket_port)
        url = f"https://127.0.0.1:{nginx.port}"
        stranger = AgentProcess(tmp_path / "stranger", "stranger")
        with stand.client() as client:
            token = client.create_enrolment_token(device="stranger")["token"]
        refused = stranger.outrider("enroll", url, token)
        assert refused.returncode == 1
        assert "certificate verify failed" in refused.stderr
        agent = AgentProcess(tmp_path / "agent", "behind", mqtt="websocket", ca_file=str(nginx.authority))
        agent.enrol(stand, url=url)
        assert agent.identity["api_token"] == ""
        agent.start()
        agents.append(agent)
        eventually(lambda: presence(stand, "behind") == "online", WORKS_S)
        works(stand, "behind")
        agent.stop()
    finally:
        nginx.stop()
        stand.stop()
