"""The page that Prometheus reads: the census, which is taken anew when it is older than `CENSUS_S`, and this process's own counters."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector

from fleet.clock import Clock
from fleet.lags import BOUNDS_S
from fleet.metrics import census
from fleet.metrics.census import Census
from fleet.metrics.requests import Requests

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CENSUS_S = 25.0
HOOKS = {
    "delivered": "Events that a receiver has taken.",
    "refused": "Events that a receiver does not take.",
    "failures": "Times a receiver was not reached.",
}


class Parts(Protocol):
    """The parts of a control plane that are told of (`fleet.plane.Plane`)."""

    @property
    def database(self) -> Any: ...
    @property
    def ingest(self) -> Any: ...
    @property
    def link(self) -> Any: ...
    @property
    def broker(self) -> Any: ...
    @property
    def replica(self) -> Any: ...
    @property
    def runner(self) -> Any: ...
    @property
    def keeping(self) -> Any: ...
    @property
    def streams(self) -> Any: ...
    @property
    def outward(self) -> Any: ...
    @property
    def clock(self) -> Clock: ...


class MetricsPage:
    """`label`: by which label of devices figures are told apart."""

    def __init__(self, parts: Parts, requests: Requests, label: str) -> None:
        self._parts = parts
        self._requests = requests
        self._label = label
        self._census: Census | None = None
        self._taken_mono = -1e18
        self._lock = asyncio.Lock()
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    async def text(self) -> bytes:
        """The page. Several readers share a census."""
        async with self._lock:
            if self._parts.clock.mono() - self._taken_mono > CENSUS_S:
                self._census = await asyncio.to_thread(
                    census.take, self._parts.database, self._label, self._parts.clock.wall()
                )
                self._taken_mono = self._parts.clock.mono()
            return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Asked by the registry; names are checked when the page is made."""
        return ()

    def collect(self) -> Iterable[Metric]:
        yield from _fleet(self._census or Census(), _safe(self._label))
        yield from self._own()
        yield from self._requests.collect()

    def _own(self) -> Iterable[Metric]:
        parts = self._parts
        counters, effort = parts.ingest.counters, parts.runner.effort
        info = InfoMetricFamily("outrider_control_plane", "Version.")
        info.add_metric([], {"version": importlib.metadata.version("outrider")})
        yield info
        connected = float(parts.link.connected.is_set())
        yield _gauge("broker_connected", "1 while there is a session with the broker.", [((), connected)])
        yield _counter("broker_restarts", "Of the broker that is supervised.", [((), parts.broker.restarts)])
        yield _gauge(
            "replica_leads",
            "1 where this process does what one does for all.",
            [((), float(parts.replica.leads))],
        )
        keeper = parts.keeping.figures
        own = float(keeper.process == "own")
        yield _gauge(
            "keeper_own_process", "1 where health is worked on in a process of its own.", [((), own)]
        )
        yield _counter("keeper_restarts", "Of that process.", [((), keeper.restarts)])
        yield _gauge("keeper_behind_seconds", "How late history is rolled up.", [((), keeper.behind_s)])
        yield _counter("ingest_messages", "Messages of devices.", [((), counters.received)])
        yield _counter("ingest_events", "Events stored.", [((), counters.stored_events)])
        yield _counter("ingest_repeated", "Events that were there already.", [((), counters.repeated_events)])
        refused = [((cause,), count) for cause, count in counters.refused.items()]
        yield _counter("ingest_refused", "Messages refused.", refused, ["cause"])
        yield _counter(
            "ingest_write_retries", "Times the database took nothing.", [((), counters.write_retries)]
        )
        yield _ages(counters.lags.counts)
        yield _counter("rollout_decisions", "Times rollouts were decided on.", [((), effort.decisions)])
        yield _gauge("rollout_decision_mean_seconds", "What deciding takes.", [((), effort.mean_s)])
        yield _gauge("rollout_decision_most_seconds", "The longest of them.", [((), effort.most_s)])
        hooks = parts.outward.hooks.figures if parts.outward.hooks else {}
        for name, words in HOOKS.items():
            told = [((hook,), getattr(figures, name)) for hook, figures in hooks.items()]
            yield _counter(f"webhook_{name}", words, told, ["webhook"])
        yield _gauge("event_streams", "Readers of live events.", [((), parts.streams.open)])


def _fleet(taken: Census, label: str) -> Iterable[Metric]:
    by = [label]
    yield _gauge("devices", "Devices by presence.", taken.devices.items(), [*by, "presence"])
    yield _gauge(
        "devices_phase", "Devices by the phase of their update.", taken.phases.items(), [*by, "phase"]
    )
    yield _gauge("devices_hot", "Devices at 85 degrees Celsius or above.", taken.hot.items(), by)
    yield _gauge("agents", "Devices by the agent's version.", taken.agents.items(), ["version"])
    yield _gauge(
        "cameras",
        "Cameras by state, of devices that told their health lately.",
        taken.cameras.items(),
        [*by, "state"],
    )
    yield _gauge(
        "camera_faults", "Faults of pictures that are visible.", taken.faults.items(), [*by, "reason"]
    )
    yield _gauge(
        "blind_last_hour_seconds",
        "Blind time of the last hour, of all cameras.",
        taken.blind_s.items(),
        [*by, "cause"],
    )
    yield _gauge("results_per_second", "Frames with a result, of all cameras.", taken.results_s.items(), by)
    yield _gauge("outbox_rows", "Messages that wait on devices.", taken.outbox_rows.items(), by)
    faults = ["site", "code", "severity", "standing"]
    yield _gauge("faults", "Faults that are visible.", taken.open_faults.items(), faults)
    yield _gauge("alerts", "Alerts that fire.", taken.alerts.items(), ["severity", "acknowledged"])
    yield _gauge("rollouts", "Rollouts by phase.", taken.rollouts.items(), ["phase"])
    yield _counter("events_numbered", "The number of the newest event.", [((), taken.newest_event)])
    yield _gauge("kept_files", "Clips and pictures.", taken.kept.items(), ["kind"])
    yield _gauge("kept_bytes", "Bytes of clips and pictures.", taken.kept_bytes.items(), ["kind"])
    yield _gauge("census_seconds", "What counting all this took.", [((), taken.took_s)])


def _ages(counts: Sequence[int]) -> Metric:
    """How old messages were when they were stored; the sum is not known."""
    total, buckets = 0, []
    for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    words = "Age of messages when they were stored."
    family = HistogramMetricFamily("outrider_fleet_ingest_age_seconds", words)
    family.add_metric([], buckets, None)
    return family


Samples = Iterable[tuple[Sequence[str], float]]


def _gauge(name: str, words: str, samples: Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(GaugeMetricFamily(f"outrider_fleet_{name}", words, labels=labels), samples)


def _counter(name: str, words: str, samples: Samples, labels: Sequence[str] = ()) -> Metric:
    return _filled(CounterMetricFamily(f"outrider_fleet_{name}", words, labels=labels), samples)


def _filled(family: Any, samples: Samples) -> Metric:
    for values, value in samples:
        family.add_metric(list(values), float(value))
    filled: Metric = family
    return filled


def _safe(label: str) -> str:
    """A label of devices as a name of Prometheus: letters, digits and underscores."""
    text = "".join(c if c.isascii() and c.isalnum() else "_" for c in label) or "label"
    return f"_{text}" if text[0].isdigit() else text
