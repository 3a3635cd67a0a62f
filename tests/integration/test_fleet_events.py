"""Events of many devices at a real control plane and broker: found, followed, taken away, within one's rights."""

from __future__ import annotations

import csv
import io
import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fleet.client import Client
from tests.integration.fleet_stand import DEADLINE_S, Device, Stand, event_body, eventually

pytestmark = pytest.mark.usefixtures("mosquitto")


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    running = Stand(tmp_path_factory.mktemp("events") / "data")
    yield running
    running.kill()


@pytest.fixture(scope="module")
def client(stand: Stand) -> Iterator[Client]:
    with stand.client() as client:
        yield client


@pytest.fixture(scope="module")
def devices(stand: Stand, client: Client) -> Iterator[dict[str, Device]]:
    """Three devices with labels; the workflow `count` is known, and each has told some events."""
    workflow = client._call(
        "POST", "/workflows", content=json.dumps({"uses": []}).encode(), params={"name": "count"}
    )
    made = {name: Device(stand.enrol(name)) for name in ("a1", "a2", "b1")}
    for name, device in made.items():
        device.__enter__()
        client.set_labels(name, {"site": name[0]})
    for n, (name, device) in itertools.product(range(3), made.items()):
        body = {**event_body("gate", n), "workflow": workflow["digest"]}
        if n == 2:
            body |= {
                "step": "alarm",
                "clip": "0" * 32,
                "outputs": {"found": {"predictions": [{"class": "cat"}]}},
            }
        device.publish(device.topics.event("gate"), body, f"{name}-{n}")
    made["b1"].event("yard", 7, "b1-yard")
    eventually(lambda: len(list(client.fleet_events.each({}))) == 10)
    yield made
    for device in made.values():
        device.__exit__()


def ids(client: Client, **conditions: Any) -> set[str]:
    return {event["id"] for event in client.fleet_events.each(conditions)}


def test_events_are_found_by_each_condition(client: Client, devices: dict[str, Device]) -> None:
    everything = ids(client)
    assert len(everything) == 10
    assert ids(client, device="a1") == {"a1-0", "a1-1", "a1-2"}
    assert ids(client, selector="site=b") == {"b1-0", "b1-1", "b1-2", "b1-yard"}
    assert ids(client, device="a1", selector="site=b") == set()
    assert ids(client, camera="yard") == {"b1-yard"}
    assert ids(client, workflow="count") == ids(client, workflow="count@1") == everything - {"b1-yard"}
    assert ids(client, kind="sink") == ids(client, having=["clip"]) == {"a1-2", "a2-2", "b1-2"}
    assert ids(client, field=["outputs.count=1", "camera=gate"]) == {"a1-1", "a2-1", "b1-1"}
    assert ids(client, field=["outputs.found.predictions.*.class=cat"]) == ids(client, kind="sink")
    assert ids(client, since=time.time() + 60) == ids(client, until=1.0) == set()
    assert ids(client, since=time.time() - 600, until=time.time() + 60) == everything
    event = next(client.fleet_events.each({"device": "a1"}))
    assert (event["workflow"], event["kind"], event["data"]["clip"]) == ("count@1", "sink", "0" * 32)


def test_pages_lose_and_repeat_nothing_in_either_order(stand: Stand, devices: dict[str, Device]) -> None:
    seen: dict[str, list[str]] = {}
    for order in ("newest", "oldest"):
        cursor, found = "", []
        while True:
            page = stand.get(f"/api/v1/events?order={order}&limit=3&selector=site=a{cursor}").json()
            found += [item["id"] for item in page["items"]]
            if page["next"] is None or not page["items"]:
                break
            cursor = f"&cursor={page['next']}"
        seen[order] = found
    assert seen["newest"] == seen["oldest"][::-1]
    assert len(seen["newest"]) == len(set(seen["newest"])) == 6


def test_a_reader_of_one_site_sees_that_site_alone(
    stand: Stand, client: Client, devices: dict[str, Device]
) -> None:
    token = client.create_api_token("reader", "viewer", "site=a")["token"]
    with stand.client(token) as reader:
        assert {event["device"] for event in reader.fleet_events.each({})} == {"a1", "a2"}
        assert b"b1" not in b"".join(reader.fleet_events.export({}))
    assert stand.get("/api/v1/events?device=b1", token).status_code == 404
    assert stand.get("/api/v1/events/stream?device=b1", token).status_code == 404
    assert httpx.get(f"{stand.url}/api/v1/events/stream").status_code == 401


def test_conditions_that_make_no_sense_are_explained(stand: Stand) -> None:
    for bad in (
        "field=nonsense",
        "workflow=unknown",
        "kind=other",
        "selector=%3D",
        "cursor=x",
        "device=nobody",
    ):
        answer = stand.get(f"/api/v1/events?{bad}")
        assert answer.status_code in (404, 422), bad
        assert answer.json()["detail"], bad


def test_what_arrives_is_told_once_and_a_reader_goes_on_where_it_was(
    stand: Stand, client: Client, devices: dict[str, Device]
) -> None:
    came: queue.Queue[str] = queue.Queue()
    first = next(client.fleet_events.each({}))["cursor"]

    def read() -> None:
        with stand.client() as watching:
            for event in watching.fleet_events.watch({"selector": "site=a"}, cursor=first):
                came.put(event["id"])
                if event["id"] == "end":
                    return

    reader = threading.Thread(target=read)
    reader.start()
    devices["a1"].event("gate", 10, "live-1")
    devices["b1"].event("gate", 10, "live-b")
    assert came.get(timeout=DEADLINE_S) == "live-1"
    devices["a2"].event("gate", 11, "live-2")
    assert came.get(timeout=DEADLINE_S) == "live-2"
    devices["a2"].event("gate", 12, "end")
    reader.join(DEADLINE_S)
    assert (came.get(timeout=1), came.empty()) == ("end", True)
    headers = {"Authorization": f"Bearer {stand.admin_token}", "Last-Event-ID": str(first)}
    with httpx.stream("GET", f"{stand.url}/api/v1/events/stream", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        told = [next(line for line in lines if line.startswith("data: ")) for _ in range(4)]
    assert [json.loads(line[6:])["id"] for line in told] == ["live-1", "live-b", "live-2", "end"]


def test_files_hold_every_event_of_the_filter(
    stand: Stand, client: Client, devices: dict[str, Device], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "outrider", "fleet", "event", "export", "--url", stand.url]
    command += [
        "--token",
        stand.admin_token,
        "--device",
        "a1",
        "--until",
        "2100-01-01",
        "--to",
        str(tmp_path),
    ]
    for more in (["--format", "jsonl"], ["--format", "csv", "--column", "outputs.count"]):
        subprocess.run([*command, *more], check=True, capture_output=True, timeout=60)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    expected = [event["id"] for event in client.fleet_events.each({"device": "a1"}, "oldest")]
    assert [line["id"] for line in lines] == expected
    rows = list(csv.DictReader(io.StringIO((tmp_path / "events.csv").read_text())))
    assert [row["id"] for row in rows] == expected
    assert [row["outputs.count"] for row in rows][:3] == ["0", "1", ""]
    assert {row["workflow"] for row in rows[:3]} == {"count@1"}


def test_a_reader_is_told_goodbye_when_the_control_plane_ends(stand: Stand) -> None:
    headers = {"Authorization": f"Bearer {stand.admin_token}"}
    with httpx.stream("GET", f"{stand.url}/api/v1/events/stream", headers=headers, timeout=60) as answer:
        chunks = answer.iter_bytes()
        assert next(chunks).startswith(b"retry: ")
        assert stand.stop() == 0
        assert list(chunks) == []  # the end of the body, and no connection that breaks
    assert "Traceback" not in stand.log.read_text()
