"""What a real control plane tells others: traces to a collector, events to receivers of webhooks, each a real HTTP server."""

from __future__ import annotations

import gzip
import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.integration.fleet_stand import Device, Stand, event_body, eventually
from tests.integration.sink_rig import Requests, requests
from wire import cloudevents

pytestmark = pytest.mark.usefixtures("mosquitto")

SECRET = "whsec_c2VjcmV0IG9mIGEgcmVjZWl2ZXI="


@pytest.fixture(scope="module")
def collector() -> Iterator[Requests]:
    with requests() as server:
        server.answers = [(200, b"")]
        yield server


@pytest.fixture(scope="module")
def single() -> Iterator[Requests]:
    with requests() as server:
        yield server


@pytest.fixture(scope="module")
def many() -> Iterator[Requests]:
    with requests() as server:
        yield server


@pytest.fixture(scope="module")
def stand(
    collector: Requests, single: Requests, many: Requests, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    hooks = [
        {"name": "one", "url": f"{single.url}/in", "secret": SECRET, "selector": "site=a", "fields": ["outputs.open=true"]},
        {"name": "many", "url": many.url, "batch": 50, "camera": "gate"},
    ]  # fmt: skip
    headers = {"authorization": "Bearer x"}
    more = {"otel": {"endpoint": collector.url, "headers": headers}, "webhooks": hooks}
    running = Stand(tmp_path_factory.mktemp("outward") / "data", more=more)
    yield running
    assert running.stop() == 0


def spans(collector: Requests) -> dict[str, list[Any]]:
    """Every span that has come, by name."""
    found: dict[str, list[Any]] = {}
    for _, path, headers, content in list(collector.got):
        assert path == "/v1/traces"
        assert headers["authorization"] == "Bearer x"
        told = ExportTraceServiceRequest()
        told.ParseFromString(gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content)
        for resource in told.resource_spans:
            attributes = {a.key: a.value.string_value for a in resource.resource.attributes}
            assert attributes["service.name"] == "outrider"
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found.setdefault(span.name, []).append(span)
    return found


def report(device: Device, revision: int, phase: str, *phases: str, **more: Any) -> None:
    """A reported state: each phase began a second after the one before, beginning now."""
    at = time.time()
    began = {name: at + n for n, name in enumerate([*phases, phase.lower()])}
    update = {"began": began, "phases": {"prepare": {"note": "engine built"}}}
    document = {"revision": revision, "offered": revision, "phase": phase, "update": update, **more}
    device.publish(device.topics.reported, document)


def test_an_update_is_a_trace_from_the_click_to_its_end(stand: Stand, collector: Requests) -> None:
    with stand.client() as client, Device(stand.enrol("t1")) as device:
        revision = client.set_desired("t1", {})["revision"]
        report(device, revision, "COMMITTED", "offered", "prepare", "probation")
        whole = eventually(lambda: spans(collector).get("update t1"))[0]
        found = spans(collector)
        parts = {name: found[name][0] for name in ("deliver", "offered", "prepare", "probation")}
        assert {span.trace_id for span in parts.values()} == {whole.trace_id}
        assert {span.parent_span_id for span in parts.values()} == {whole.span_id}
        assert len({span.span_id for span in [whole, *parts.values()]}) == 5
        assert whole.start_time_unix_nano == parts["deliver"].start_time_unix_nano
        assert whole.end_time_unix_nano == parts["probation"].end_time_unix_nano
        assert parts["prepare"].end_time_unix_nano - parts["prepare"].start_time_unix_nano == pytest.approx(
            1e9, rel=1e-3
        )
        notes = {a.key: a.value.string_value for a in parts["prepare"].attributes}
        assert notes["outrider.note"] == "engine built"
        assert whole.status.code == 1
        report(
            device, revision, "COMMITTED", "offered", "prepare", "probation"
        )  # told again after a reconnect
        revision = client.set_desired("t1", {"settings": {"health_s": 20}})["revision"]
        report(device, revision, "ROLLED_BACK", "offered", reason="probation-failed", message="frame rate")
        second = eventually(lambda: spans(collector)["update t1"][1:])
        assert len(second) == 1
        assert second[0].trace_id != whole.trace_id
        assert (second[0].status.code, second[0].status.message) == (2, "probation-failed: frame rate")


def test_the_updates_of_a_rollout_are_one_trace(stand: Stand, collector: Requests) -> None:
    with stand.client() as client, Device(stand.enrol("t2")) as device:
        first = client.set_desired("t2", {})["revision"]
        device.publish(device.topics.conn, {"state": "online"}, retain=True)
        report(device, first, "COMMITTED", "offered")
        client.set_labels("t2", {"site": "r"})
        plan = {
            "name": "v2",
            "selector": "site=r",
            "change": {"settings": {"health_s": 20}},
        }
        client.rollouts.create(plan)
        told = eventually(lambda: client.desired("t2")["revision"] > first and client.desired("t2"))
        report(device, told["revision"], "COMMITTED", "offered")
        update = eventually(
            lambda: [span for span in spans(collector).get("update t2", ()) if span.parent_span_id]
        )[0]
        client.rollouts.order("v2", "abort")
        root = eventually(lambda: spans(collector).get("rollout v2"))[0]
        assert update.trace_id == root.trace_id
        assert update.parent_span_id == root.span_id
        assert root.parent_span_id == b""


def probe(device: Device, receiver: Requests) -> int:
    """Send events until one arrives, for the devices of a selector are looked up now and then; how many have."""
    numbers = itertools.count()

    def arrives() -> bool:
        name, end_mono = f"probe-{next(numbers)}", time.monotonic() + 2
        body = {**event_body("probe", 1), "outputs": {"open": True}}
        device.publish(device.topics.event("probe"), body, name)
        there: list[bool] = []
        while not any(there) and time.monotonic() < end_mono:
            time.sleep(0.05)
            there = [json.loads(content)["id"] == name for *_, content in receiver.got]
        return any(there)

    eventually(arrives, 60)
    return len(receiver.got)


def test_events_reach_receivers_once_in_order_signed_or_are_told_as_refused(
    stand: Stand, single: Requests, many: Requests
) -> None:
    with stand.client() as client, Device(stand.enrol("w1")) as device, Device(stand.enrol("w2")) as other:
        client.set_labels("w1", {"site": "a"})
        probes = probe(device, single)
        single.got.clear()
        # Away at first, and the third event is refused.
        single.answers[:] = [(503, b""), (204, b""), (204, b""), (410, b""), (204, b"")]
        for number in range(5):
            body = {**event_body("gate", number), "outputs": {"open": number % 2 == 0 or number == 3}}
            device.publish(device.topics.event("gate"), body, f"w1-{number}")
        other.event("gate", 1, "w2-1")
        other.event("yard", 2, "w2-2")
        eventually(lambda: len(single.got) == 5)  # the first one twice
    told = [json.loads(content) for _, _, _, content in single.got]
    assert [event["id"] for event in told] == ["w1-0", "w1-0", "w1-2", "w1-3", "w1-4"]
    first = told[0]
    assert (first["specversion"], first["type"], first["source"]) == (
        "1.0",
        "outrider.event.result",
        "/outrider/lab/w1",
    )
    assert (first["subject"], first["data"]["outputs"]) == ("gate", {"open": True})
    for _, path, headers, content in single.got:
        small = {name.lower(): value for name, value in headers.items()}
        assert path == "/in"
        assert small["content-type"] == cloudevents.ONE
        assert cloudevents.is_signed(SECRET, small, content, time.time())
        assert not cloudevents.is_signed(SECRET, small, content + b" ", time.time())
        assert not cloudevents.is_signed(SECRET, small, content, time.time() + 1000)
    batches = eventually(
        lambda: len(b"".join(c for *_, c in many.got).split(b'"specversion"')) == 7 and many.got
    )
    assert all(headers["Content-Type"] == cloudevents.BATCH for _, _, headers, _ in batches)
    ids = [event["id"] for *_, content in batches for event in json.loads(content)]
    assert ids == [f"w1-{n}" for n in range(5)] + ["w2-1"]
    delivered = f'outrider_fleet_webhook_delivered_total{{webhook="one"}} {probes + 3}.0'
    eventually(lambda: delivered in stand.get("/metrics").text)
    assert 'outrider_fleet_webhook_refused_total{webhook="one"} 1.0' in stand.get("/metrics").text
