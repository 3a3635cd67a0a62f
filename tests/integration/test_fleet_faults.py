"""Health, faults and alerts end to end: simulated devices on a real broker, what the control plane makes of them, what people see."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.client import ApiError, Client
from outrider.cli import main
from tests.integration.fleet_stand import Device, Stand, eventually

pytestmark = pytest.mark.usefixtures("mosquitto")

QUICK = {"visible_s": 0.3, "clear_s": 0.2}
CODES = ("site-offline", "device-offline", "network-lost", "camera-unreachable")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    faults = {"every_s": 0.1, "kinds": {code: dict(QUICK) for code in CODES}}
    faults["kinds"]["device-offline"]["visible_s"] = 1.0
    running = Stand(tmp_path_factory.mktemp("faults") / "data", more={"faults": faults})
    yield running
    assert running.stop() == 0


def health(**cameras: str) -> dict[str, Any]:
    """A document whose cameras are blind by these causes; an empty one is well."""
    host = {
        "uptime_s": 1.0, "cpu_percent": 20.0, "cpu_count": 4, "load_1m": 1.0, "memory_total_bytes": 8 << 30,
        "memory_available_bytes": 4 << 30, "disk_total_bytes": 64 << 30, "disk_free_bytes": 32 << 30,
    }  # fmt: skip
    return {
        "revision": 1,
        "agent_uptime_s": 1.0,
        "host": host,
        "cameras": {
            name: {
                "state": "streaming",
                "pipeline": name,
                "fps": 10.0,
                "results": 100,
                **({"blind_now": {"cause": cause, "for_s": 1.0}} if cause else {}),
            }
            for name, cause in cameras.items()
        },
    }


class Simulated(Device):
    """A device that says it is there, and what it is told to say."""

    def __init__(self, stand: Stand, name: str, site: str) -> None:
        super().__init__(stand.enrol(name))
        self.name = name
        with stand.client() as client:
            client.set_labels(name, {"site": site})

    def say(self, state: str) -> None:
        self.publish(self.topics.conn, {"state": state, "agent_version": "0.1.0", "boot": "b"}, retain=True)

    def tell(self, **cameras: str) -> None:
        self.publish(self.topics.health, health(**cameras))


@pytest.fixture(scope="module")
def lyon(stand: Stand) -> Iterator[list[Simulated]]:
    """Four devices of a site, online."""
    devices = [Simulated(stand, f"d{number}", "lyon") for number in range(4)]
    for device in devices:
        device.__enter__()
        device.say("online")
        device.tell(door="", yard="", gate="")
    with stand.client() as client:
        eventually(lambda: client.overview()["presence"] == {"online": 4})
    yield devices
    for device in devices:
        device.__exit__()


def roots(client: Client) -> list[str]:
    return sorted(f"{fault['code']} {fault['subject']}" for fault in client.faults.all())


def test_a_dead_switch_of_a_site_is_one_fault_with_the_devices_beneath(
    stand: Stand, lyon: list[Simulated]
) -> None:
    with stand.client() as client:
        for device in lyon:
            device.say("offline")
        eventually(
            lambda: (
                roots(client) == ["site-offline site:lyon"] and client.faults.all()[0]["consequences"] == 4
            )
        )
        (fault,) = client.faults.all()
        assert fault["severity"] == "critical"
        assert fault["message"] == "4 of 4 devices are away"
        beneath = client.faults.get(fault["id"])["beneath"]
        assert {f"{each['code']} {each['subject']}" for each in beneath} == {
            f"device-offline device:d{number}" for number in range(4)
        }
        assert eventually(lambda: client.overview()["faults"] == {"critical": 1, "warning": 0, "info": 0})
        lyon[0].say("online")
        eventually(lambda: roots(client) == [f"device-offline device:d{number}" for number in (1, 2, 3)])
        for device in lyon:
            device.say("online")
        eventually(lambda: roots(client) == [])
        over = client.faults.all(active=False)
        assert {each["code"] for each in over} >= {"site-offline"}
        assert all(each["opened_at"] <= each["visible_at"] <= each["cleared_at"] for each in over)


def test_cameras_behind_a_dead_switch_are_one_fault_and_one_dead_camera_is_its_own(
    stand: Stand, lyon: list[Simulated], tmp_path: Path
) -> None:
    device = lyon[0]
    with stand.client() as client:
        workflow = tmp_path / "watch.json"
        workflow.write_text(json.dumps({"uses": []}))
        client.upload_workflow(workflow)
        client.set_desired(device.name, _watching())
        device.tell(door="camera-lost", yard="camera-silent", gate="camera-unreachable")
        eventually(lambda: roots(client) == ["network-lost network:d0/10.0.0.0/24"])
        eventually(lambda: client.faults.all()[0]["consequences"] == 3)
        device.tell(door="camera-lost", yard="", gate="")
        eventually(lambda: roots(client) == ["camera-unreachable camera:d0/door"])
        device.tell(door="", yard="", gate="")
        eventually(lambda: roots(client) == [])


def test_figures_come_as_series_and_commands_show_them(
    stand: Stand, lyon: list[Simulated], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    lyon[1].tell(door="camera-lost", yard="", gate="")
    with stand.client() as client:
        (point, *_) = client.health_history("d1")
        assert point["figures"]["cameras"]["door"]["fps"] == 10.0
        chart = eventually(lambda: client.faults.chart("d1", figures=["fps", "cpu_percent"]))
        assert {(each["scope"], each["name"], each["figure"]) for each in chart["series"]} == {
            ("device", "", "cpu_percent"), *(("camera", name, "fps") for name in ("door", "yard", "gate")),
        }  # fmt: skip
        assert {value for each in chart["series"] for value in each["values"]} <= {10.0, 20.0, None}
        with pytest.raises(ApiError, match="no figure is called 'nonsense'"):
            client.faults.chart("d1", figures=["nonsense"])
        (fault,) = eventually(lambda: client.faults.all(device="d1"))
    assert main(["fleet", "health", "d1", "--since", "1h", "--figures", "fps"]) == 0
    assert "camera door" in capsys.readouterr().out
    assert main(["fleet", "health", "d1", "--since", "soon"]) == 1
    assert "expected e.g. 90m" in capsys.readouterr().err
    assert main(["fleet", "fault", "list", "--severity", "critical"]) == 0
    assert "camera-unreachable" in capsys.readouterr().out
    assert main(["fleet", "fault", "show", fault["id"]]) == 0
    assert "Check address, cable and power" in capsys.readouterr().out
    assert main(["fleet", "fault", "kinds", "--json"]) == 0
    kinds = {kind["code"]: kind for kind in json.loads(capsys.readouterr().out)}
    assert kinds["device-offline"]["visible_s"] == 1.0
    lyon[1].tell(door="", yard="", gate="")


def test_who_may_see_a_part_of_the_fleet_sees_the_faults_of_that_part(
    stand: Stand, lyon: list[Simulated]
) -> None:
    lyon[2].tell(door="camera-lost", yard="", gate="")
    with stand.client() as client:
        (fault,) = eventually(lambda: client.faults.all(device="d2"))
        near = client.create_api_token("near", "viewer", "site=lyon")["token"]
        far = client.create_api_token("far", "viewer", "site=paris")["token"]
    with stand.client(near) as client:
        assert "camera-unreachable camera:d2/door" in roots(client)
        assert client.overview()["devices"] == 4
        assert client.faults.get(fault["id"])["remedy"]
    with stand.client(far) as client:
        assert roots(client) == []
        assert client.overview()["devices"] == 0
        with pytest.raises(ApiError, match="no fault is called"):
            client.faults.get(fault["id"])
    lyon[2].tell(door="", yard="", gate="")


def _watching() -> dict[str, Any]:
    cameras = {
        name: {"source": f"rtsp://10.0.0.{number}/a"} for number, name in enumerate(("door", "yard", "gate"))
    }
    pipelines = {name: {"camera": name, "workflow": "w"} for name in cameras}
    return {"cameras": cameras, "workflows": {"w": "watch"}, "pipelines": pipelines}
