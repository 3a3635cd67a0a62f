"""The metrics page of a real control plane; and that dashboards and alert rules name nothing that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agent.api import metrics as device_page
from fleet.metrics.census import MOST_VALUES, Census, Groups, _bound
from tests.integration.fleet_stand import Device, Stand, event_body, eventually
from wire.health import (
    Accelerator,
    BlindNow,
    CameraFault,
    CameraHealth,
    Health,
    Host,
    ModelHealth,
    OutboxHealth,
    SinkHealth,
)

pytestmark = pytest.mark.usefixtures("mosquitto")

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
NAME = re.compile(r"\b(?:outrider|process)_[a-z0-9_]+\b")
LABELS = re.compile(r"\b((?:outrider|process)_[a-z0-9_]+)\{([^}]*)\}")
HOST = Host(
    uptime_s=1, cpu_percent=2, cpu_count=1, load_1m=0, memory_total_bytes=1, memory_available_bytes=1,
    disk_total_bytes=1, disk_free_bytes=1, temperature_celsius=90,
)  # fmt: skip
CAMERA = CameraHealth(
    state="streaming", pipeline="p", fps=12.5, latency_p50_ms=1, latency_p95_ms=2, blind_s={"camera-lost": 1},
    blind_hour_s={"camera-lost": 60}, no_answer={"engine-down": 1}, skipped={"rate": 1}, packets_lost=1,
    blind_now=BlindNow(cause="camera-lost", for_s=1), faults=(CameraFault(reason="picture-frozen"),),
    sinks={"hook": SinkHealth()}, step_errors={"s": 1},
)  # fmt: skip
HEALTH = Health(
    revision=1, agent_uptime_s=1, host=HOST, cameras={"gate": CAMERA, "yard": CAMERA},
    models={"m": ModelHealth(digest="d", state="ok", infer_p50_ms=1, infer_p95_ms=2)},
    accelerators=(Accelerator(name="g", memory_used_bytes=1, utilisation_percent=5, temperature_celsius=50),),
    outbox=OutboxHealth(rows=3, bytes=10, dropped={"event": 1}),
)  # fmt: skip


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("metrics") / "data", more={"metrics": {"access": "token"}})
    yield running
    assert running.stop() == 0


def series(page: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Samples by their full name; a family without samples is there, with none."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page):
        counter = family.type == "counter" and not family.name.endswith("_total")
        found.setdefault(family.name + ("_total" if counter else ""), [])
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.fixture(scope="module")
def told(stand: Stand) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The page of a control plane with two devices of a site, one of them with figures, and an event."""
    with stand.client() as client, Device(stand.enrol("e1")) as device:
        stand.enrol("e2")
        for name in ("e1", "e2"):
            client.set_labels(name, {"site": 'ly"on'})
        device.publish(device.topics.conn, {"state": "online", "agent_version": "1.2"}, retain=True)
        device.publish(device.topics.health, HEALTH.to_json())
        device.publish(device.topics.reported, {"revision": 1, "offered": 2, "phase": "ROLLED_BACK"})
        device.publish(device.topics.event("gate"), event_body("gate", 1))
        eventually(lambda: len(list(client.fleet_events.each({}))) == 1)
        eventually(lambda: client.device("e1").get("phase") == "ROLLED_BACK")
        page = eventually(
            lambda: (page := stand.get("/metrics")).status_code == 200 and _counted(page) and page
        )
    assert page.headers["content-type"].startswith("text/plain")
    return series(page.text)


def _counted(page: httpx.Response) -> bool:
    """Whether the page is of after all that was said."""
    found = series(page.text)
    return (
        bool(found["outrider_fleet_cameras"])
        and value(found, "outrider_fleet_devices", presence="online") == 1
    )


def value(told: dict[str, list[tuple[dict[str, str], float]]], name: str, **labels: str) -> float:
    return sum(number for found, number in told[name] if labels.items() <= found.items())


def test_the_fleet_is_told_by_site_and_never_by_device(told: Any) -> None:
    site = {"site": 'ly"on'}
    assert value(told, "outrider_fleet_devices", **site, presence="online") == 1
    assert value(told, "outrider_fleet_devices", **site, presence="never") == 1
    assert value(told, "outrider_fleet_cameras", **site, state="streaming") == 2
    assert value(told, "outrider_fleet_camera_faults", **site, reason="picture-frozen") == 2
    assert value(told, "outrider_fleet_blind_last_hour_seconds", **site, cause="camera-lost") == 120
    assert value(told, "outrider_fleet_results_per_second", **site) == 25
    assert value(told, "outrider_fleet_devices_phase", **site, phase="ROLLED_BACK") == 1
    assert value(told, "outrider_fleet_devices_hot", **site) == 1
    assert value(told, "outrider_fleet_outbox_rows", **site) == 3
    assert value(told, "outrider_fleet_agents", version="1.2") == 1
    assert value(told, "outrider_fleet_ingest_events_total") == 1
    assert value(told, "outrider_fleet_ingest_age_seconds_bucket", le="+Inf") >= 1
    assert value(told, "outrider_fleet_broker_connected") == 1
    assert value(told, "outrider_fleet_http_request_seconds_count", route="/api/v1/enroll", status="2xx") == 2
    labels = {key for samples in told.values() for found, _ in samples for key in found}
    assert not labels & {"device", "camera"}


def test_who_may_read_it(stand: Stand) -> None:
    assert httpx.get(f"{stand.url}/metrics").status_code == 401
    with stand.client() as client:
        part = client.create_api_token("part", "viewer", "site=a")["token"]
        whole = client.create_api_token("whole", "viewer")["token"]
    assert stand.get("/metrics", part).status_code == 403
    assert stand.get("/metrics", whole).status_code == 200


def test_what_devices_say_makes_no_more_series_than_are_good() -> None:
    groups = Groups("site", 2)
    assert [groups.of({"site": site}) for site in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
    assert groups.of({}) == "other"
    census = Census()
    for number in range(1000):
        census.faults["a", f"reason-{number}"] += 1 + (number == 7)
    _bound(census.faults)
    assert len(census.faults) == MOST_VALUES + 1
    assert census.faults["a", "reason-7"] == 2
    assert sum(census.faults.values()) == 1001


def expressions() -> Iterator[tuple[str, str]]:
    """Where, and each expression of dashboards and rules."""
    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        board = json.loads(path.read_text())
        numbers = [panel["id"] for panel in board["panels"]]
        assert len(numbers) == len(set(numbers)), path.name
        for panel in board["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"][1:]:
            yield f"{path.name}: ${variable['name']}", variable["definition"]
    for group in yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
            assert rule["labels"]["severity"] in ("info", "warning", "critical")
            assert rule["annotations"]["summary"]
            yield rule["alert"], rule["expr"]


def test_dashboards_and_rules_name_metrics_and_labels_that_are_exported(told: Any) -> None:
    exported = {**told, **series(device_page.text(HEALTH, connected=True))}
    names = 0
    for where, expression in expressions():
        assert expression.count("(") == expression.count(")"), where
        for name in NAME.findall(expression):
            names += 1
            assert name in exported, f"{where} names {name}"
        for name, selected in LABELS.findall(expression):
            labels = {key for found, _ in exported[name] for key in found} | {"job", "device"}
            for key in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selected):
                assert not exported[name] or key in labels, f"{where}: {name} has no label {key}"
    assert names > 50


def test_the_example_of_a_scrape_names_the_rules_beside_it() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    assert all((DEPLOY / "prometheus" / name).is_file() for name in config["rule_files"])
    assert {job["job_name"] for job in config["scrape_configs"]} == {
        "outrider-control-plane",
        "outrider-devices",
    }
