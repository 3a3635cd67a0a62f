"""Health, faults and alerts end to end: simulated devices on a real broker, what the control plane makes of them, what people see."""

from __future__ import annotations

import json
import queue
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import CallbackAPIVersion

from fleet.client import ApiError, Client
from outrider.cli import main
from tests.integration.fleet_stand import Device, Stand, eventually
from tests.integration.sink_rig import requests
from tests.integration.test_sink_notices import secure_mailbox, trusted
from wire import cloudevents

__all__ = ["trusted"]
pytestmark = pytest.mark.usefixtures("mosquitto")

SECRETS = {"signing": "k3y-of-the-webhook", "mail": "hunter2"}
QUICK = {"visible_s": 0.3, "clear_s": 0.2}
CODES = ("site-offline", "device-offline", "network-lost", "camera-unreachable", "camera-password")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory, trusted: ssl.SSLContext) -> Iterator[Stand]:
    folder = tmp_path_factory.mktemp("faults")
    kinds: dict[str, dict[str, float]] = {code: dict(QUICK) for code in CODES}
    kinds["device-offline"]["visible_s"] = 3.0
    for name, text in SECRETS.items():
        (folder / name).write_text(text + "\n")
    running = Stand(
        folder / "data",
        more={
            "faults": {"every_s": 0.1, "kinds": kinds},
            "alerts": {"secrets": {name: f"file:{folder / name}" for name in SECRETS}},
        },
        readers={"desk": "reading-is-silver"},
    )
    with running.client() as client:
        client.alerts.set_rule("critical", {"min_severity": "critical", "for_s": 0, "place": 1000})
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
    assert kinds["device-offline"]["visible_s"] == 3.0
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


def one(client: Client, **filters: str) -> Any:
    """The one alert that fires for these."""
    return eventually(lambda: (rows := client.alerts.all(**filters)) and len(rows) == 1 and rows[0])


def about(request: tuple[Any, ...]) -> tuple[str, str]:
    """Type and subject of what a webhook was told."""
    event = json.loads(request[3])
    return event["type"], event["subject"]


def told_by_target(client: Client, alert: str) -> set[tuple[str, str, int]]:
    """Target, state and attempts of each delivery of an alert."""
    rows = client.alerts.get(alert)["deliveries"]
    return {(each["target"], each["state"], each["attempts"]) for each in rows}


def test_an_alert_reaches_every_kind_of_target_once_and_is_told_to_be_over(
    stand: Stand, lyon: list[Simulated], trusted: ssl.SSLContext
) -> None:
    inbox: queue.Queue[dict[str, Any]] = queue.Queue()
    mail = {"tls_context": trusted, "require_starttls": True}
    with (
        requests() as hook,
        requests() as chat,
        secure_mailbox(**mail) as (box, port),
        stand.client() as client,
        reading(stand, inbox),
    ):
        eventually(lambda: client.alerts.all() == [] and roots(client) == [])
        hook.answers = [(500, b"not now"), (200, b"")]
        client.alerts.set_target(
            "hook",
            {
                "kind": "webhook",
                "url": f"{hook.url}/in",
                "secret": "secret:signing",
                "headers": {"X-Team": "a"},
            },
        )
        client.alerts.set_target("chat", {"kind": "slack", "url": f"{chat.url}/services/T0/key"})
        client.alerts.set_target("broker", {"kind": "mqtt", "topic": "all"})
        client.alerts.set_target(
            "mail",
            {
                "kind": "email", "host": "127.0.0.1", "port": port, "username": "camera@example.org",
                "password": "secret:mail", "sender": "fleet@example.org", "to": ["a@example.org"],
            },
        )  # fmt: skip
        lyon[3].tell(door="camera-password", yard="", gate="")
        alert = one(client, device="d3")
        eventually(lambda: len(hook.got) == 2 and len(chat.got) == 1 and len(box.got) == 1, 60)
        (_, _, headers, body), again = hook.got
        event = json.loads(body)
        assert json.loads(again[3])["id"] == event["id"]
        assert (event["specversion"], event["type"], event["subject"]) == (
            "1.0", "outrider.alert.firing", "camera:d3/door",
        )  # fmt: skip
        assert headers["Content-Type"] == cloudevents.ONE
        assert headers["X-Team"] == "a"
        signed = {name.lower(): value for name, value in headers.items()}
        assert cloudevents.is_signed(SECRETS["signing"], signed, body, time.time())
        assert not cloudevents.is_signed("another", signed, body, time.time())
        assert "CRITICAL: camera-password of camera:d3/door" in json.loads(chat.got[0][3])["text"]
        receivers, letter = box.got[0]
        assert receivers == ["a@example.org"]
        assert letter["Subject"] == "[lab] CRITICAL: camera-password of camera:d3/door"
        assert inbox.get(timeout=30)["data"]["alert"] == alert["id"]
        everywhere = {
            (name, "delivered", 2 if name == "hook" else 1) for name in ("hook", "chat", "broker", "mail")
        }
        eventually(lambda: told_by_target(client, alert["id"]) == everywhere)

        client.alerts.acknowledge(alert["id"], "on my way")
        lyon[3].tell(door="", yard="", gate="")
        eventually(lambda: client.alerts.get(alert["id"])["state"] == "resolved", 60)
        eventually(lambda: len(hook.got) == 3 and len(box.got) == 2, 60)
        assert json.loads(hook.got[2][3])["type"] == "outrider.alert.resolved"
        assert client.alerts.get(alert["id"])["acknowledged_by"] == "token:admin"
        assert b"hunter2" not in stand.database_content()
        for name in ("hook", "chat", "broker", "mail"):
            client.alerts.remove_target(name)


def reading(stand: Stand, inbox: queue.Queue[dict[str, Any]]) -> Any:
    """A reader of the broker that gets alerts, as a context."""
    from contextlib import contextmanager

    @contextmanager
    def running() -> Iterator[None]:
        broker = stand.enrol(f"reader-{time.monotonic_ns()}")["broker"]
        mqtt, ready = Paho(CallbackAPIVersion.VERSION2), queue.Queue()  # type: ignore[var-annotated]
        mqtt.username_pw_set("_reader.desk", "reading-is-silver")
        mqtt.on_message = lambda _c, _u, message: inbox.put(json.loads(message.payload))
        mqtt.on_subscribe = lambda *_: ready.put(True)
        mqtt.connect(broker["host"], broker["port"])
        mqtt.loop_start()
        mqtt.subscribe("outrider/1/lab/_alerts/#", 1)
        ready.get(timeout=30)
        yield
        mqtt.disconnect()
        mqtt.loop_stop()

    return running()


def test_nobody_is_told_of_what_is_silenced_and_a_dead_switch_is_one_message(
    stand: Stand, lyon: list[Simulated], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)

    def alert(*arguments: str) -> tuple[int, str, str]:
        status = main(["fleet", "alert", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    with requests() as hook, stand.client() as client:
        assert (
            alert("target", "set", "hook", "kind=webhook", f"url={hook.url}", "secret=secret:sining")[0] == 1
        )
        assert alert("target", "set", "hook", "kind=webhook", f"url={hook.url}")[0] == 0
        assert alert("target", "test", "hook")[0] == 0
        assert json.loads(hook.got.pop()[3])["type"] == "outrider.alert.test"
        hook.answers = [(404, b"nobody here")]
        status, _, error = alert("target", "test", "hook")
        assert (status, "HTTP 404: nobody here" in error) == (1, True)
        hook.answers = [(200, b"")]
        hook.got.clear()
        assert alert("silence", "add", "--device", "d0", "--for", "1h", "--reason", "being moved")[0] == 0
        lyon[0].tell(door="camera-password", yard="", gate="")
        quiet = one(client, device="d0")
        assert quiet["silenced"]
        assert "silenced" in alert("list")[1]
        (silence,) = client.alerts.silences()
        assert alert("silence", "end", silence["id"])[0] == 0
        eventually(lambda: len(hook.got) == 1)
        lyon[0].tell(door="", yard="", gate="")
        eventually(lambda: len(hook.got) == 2)

        for device in lyon:
            device.say("offline")
        site = one(client, site="lyon")
        assert site["subject"] == "site:lyon"
        eventually(lambda: len(hook.got) == 3)
        assert about(hook.got[2]) == ("outrider.alert.firing", "site:lyon")
        assert alert("ack", site["id"], "--note", "the switch")[0] == 0
        assert "the switch" in alert("show", site["id"])[1]
        for device in lyon:
            device.say("online")
        eventually(lambda: client.alerts.get(site["id"])["state"] == "resolved")
        eventually(lambda: roots(client) == [])
        eventually(lambda: ("outrider.alert.resolved", "site:lyon") in map(about, hook.got))
        assert "critical" in alert("rule", "list")[1]
        assert alert("rule", "remove", "warning")[0] == 1
        assert "hook" in alert("target", "list")[1]
        assert "delivered" in alert("deliveries")[1]
        assert alert("target", "remove", "hook")[0] == 0
        actions = {row["action"] for row in client.audit(action="alert.*")}
        assert actions >= {"alert.silence", "alert.silence.end", "alert.acknowledge", "alert.target.test"}


def test_who_does_not_operate_a_device_neither_silences_nor_acknowledges(
    stand: Stand, lyon: list[Simulated]
) -> None:
    with stand.client() as client:
        far = client.create_api_token("far-operator", "operator", "site=paris")["token"]
        near = client.create_api_token("near-operator", "operator", "site=lyon")["token"]
        alert = client.alerts.all("all")[0]["id"]
    until = time.time() + 60
    with stand.client(far) as client:
        assert client.alerts.all("all") == []
        with pytest.raises(ApiError, match="no device is called"):
            client.alerts.silence({"device": "d0"}, until, "no")
        with pytest.raises(ApiError, match="no alert is called"):
            client.alerts.acknowledge(alert)
    with stand.client(near) as client:
        with pytest.raises(ApiError, match="this needs operator"):
            client.alerts.silence({"code": "*"}, until, "no")
        client.alerts.silence({"site": "lyon", "code": "picture-*"}, until, "cleaning")
        with pytest.raises(ApiError, match="this needs"):
            client.alerts.set_target("x", {"kind": "mqtt"})


def test_drift_and_versions_are_asked_for_by_command(
    stand: Stand, lyon: list[Simulated], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTRIDER_FLEET_URL", stand.url)
    monkeypatch.setenv("OUTRIDER_FLEET_TOKEN", stand.admin_token)
    for command in (["drift"], ["drift", "d0"], ["compare", "people"]):
        assert main(["fleet", *command, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []
    assert main(["fleet", "drift", "nobody"]) == 1
