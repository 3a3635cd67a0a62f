"""How many devices one control plane takes in: simulated devices over real MQTT to mosquitto, health written with its history.

Phases: connect at a bounded rate; settle; measure at 30 s health; a reconnect storm; a rollout over all; then faster and faster health until the
ingest's p99 is over a second, which is the limit. `--database postgresql` starts a PostgreSQL of its own, `--tls` has devices show
certificates, `--quick` leaves out storm, rollout and limit.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.fleet_stage import SITES, Stage, descriptor_limit, document, watched
from fleet.lags import quantile

WANTED = 20_000
PACE_S = 30.0
CONNECTS_PER_S = 400.0
CONNECT_MOST_S = 300.0
SETTLE_S = 75.0
"""Least time after everybody is connected; then until messages are stored in time, or for so long more."""
SETTLE_STEP_S, SETTLE_MOST_S = 10.0, 120.0
STORM = 10_000
STORM_MOST_S = 240.0
ROLLOUT_MOST_S = 1200.0
LIMIT_STEP_S = 25.0
PACES_S = (20.0, 15.0, 12.0, 10.0, 8.0, 6.0, 5.0)
BUDGET_P99_S = 1.0
PAGES = (
    "/api/v1/devices?limit=50",
    "/api/v1/devices?limit=50&labels=site%3Dsite-07",
    "/api/v1/devices/{device}",
    "/api/v1/rollouts",
    "/",
)


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Run the phases; say on stderr what goes on."""
    count = min(asked.devices, descriptor_limit())
    names = [f"device-{number:05}" for number in range(count)]
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scale-")))
        stage = Stage(root, names, _database(asked.database, root, stack), asked.tls)
        stack.callback(stage.close)
        stage.start()
        stage.load(asked.processes, PACE_S, CONNECTS_PER_S)
        figures: dict[str, Any] = {
            "devices": count,
            "descriptor_limit": descriptor_limit(),
            "database": asked.database,
            "tls": asked.tls,
            "document_bytes": len(document()),
            "connect_s": _until(lambda: stage.totals().get("connected", 0) == count, CONNECT_MOST_S),
        }
        _say(f"{stage.totals()}")
        figures["settle_s"] = _settle(stage)
        figures |= _steady(stage, asked.seconds)
        if not asked.quick:
            figures |= _storm(stage)
            figures |= _rollout(stage)
            figures |= _limit(stage)
        return figures


def _settle(stage: Stage) -> float | None:
    """Seconds until what everybody said when they connected is stored, and messages come in time; None if they never did."""
    time.sleep(SETTLE_S)

    def in_time() -> bool:
        window = Window(stage)
        time.sleep(SETTLE_STEP_S)
        p99_s = window.figures()["ingest_p99_s"]
        return p99_s is not None and p99_s <= BUDGET_P99_S

    more_s = _until(in_time, SETTLE_MOST_S)
    return None if more_s is None else SETTLE_S + more_s


def _say(words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


def _until(holds: Callable[[], bool], most_s: float, every_s: float = 0.25) -> float | None:
    """Seconds until it held; None if it never did."""
    began_mono = time.monotonic()
    while not holds():
        if time.monotonic() - began_mono > most_s:
            return None
        time.sleep(every_s)
    return round(time.monotonic() - began_mono, 1)


def _database(kind: str, root: Path, stack: ExitStack) -> str:
    if kind == "sqlite":
        return ""
    from tests.fakes.postgres import PASSWORD, Postgres

    server = Postgres(root)
    server.start()
    stack.callback(server.stop)
    return f"postgresql://outrider:{PASSWORD}@127.0.0.1:{server.port}/postgres"


class Window:
    """What the ingest has stored since this was made."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._began_mono = time.monotonic()
        self._ingest = stage.health()["ingest"]
        self._load = stage.totals()

    def figures(self) -> dict[str, Any]:
        span_s = time.monotonic() - self._began_mono
        ingest, load = self._stage.health()["ingest"], self._stage.totals()
        before = self._ingest["lags"]["counts"]
        counts = [now - was for now, was in zip(ingest["lags"]["counts"], before, strict=True)]
        return {
            "ingest_p50_s": quantile(counts, 0.5),
            "ingest_p99_s": quantile(counts, 0.99),
            "documents_per_s": round(sum(counts) / span_s, 1),
            "refused": sum(ingest["refused"].values()) - sum(self._ingest["refused"].values()),
            "skipped": load["skipped"] - self._load["skipped"],
            "waiting_at_broker": load["acknowledged"]
            - self._load["acknowledged"]
            - (ingest["received"] - self._ingest["received"]),
        }


def _steady(stage: Stage, seconds: float) -> dict[str, Any]:
    """Thirty-second health, pages read meanwhile."""
    size_before = _size_bytes(stage)
    window = Window(stage)
    loads = [psutil.Process(load.pid) for load in stage.loads]
    keepers = [stage.keeper] if stage.keeper is not None else []
    with watched(stage.plane, stage.broker, *keepers, *loads) as shares:
        pages = _pages(stage, seconds)
    figures = window.figures()
    _say(f"steady: {figures}")
    grown_bytes = _size_bytes(stage) - size_before
    stored = figures["documents_per_s"] * seconds
    return {
        **figures,
        "plane_core_share": shares[0],
        "broker_core_share": shares[1],
        "keeper_core_share": shares[2] if keepers else None,
        "load_core_share": round(sum(shares[2 + len(keepers) :]), 3),
        "plane_rss_mb": round(stage.plane.memory_info().rss / 1e6, 1),
        "broker_rss_mb": round(stage.broker.memory_info().rss / 1e6, 1),
        "keeper_rss_mb": round(keepers[0].memory_info().rss / 1e6, 1) if keepers else None,
        "roll_up_behind_s": round(stage.health()["keeper"]["behind_s"], 1),
        "pages_ms": pages,
        "history_bytes_per_document": round(grown_bytes / stored) if stored else None,
        "raw_history_mb_per_device_day": round(grown_bytes / stored * 86400 / PACE_S / 1e6, 3)
        if stored
        else None,
    }


def _size_bytes(stage: Stage) -> int:
    """Of the database, what waits in the log besides the tables left out."""
    if stage.database_url.startswith("sqlite"):
        return stage.data.database.stat().st_size
    from sqlalchemy import create_engine, text

    engine = create_engine(stage.database_url)
    with engine.connect() as connection:
        size = connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
    engine.dispose()
    return int(size)


def _pages(stage: Stage, seconds: float) -> dict[str, dict[str, float]]:
    """Milliseconds that pages take under the load: the middle one and the slowest."""
    took: dict[str, list[float]] = {page: [] for page in PAGES}
    end_mono = time.monotonic() + seconds
    while time.monotonic() < end_mono:
        for page in PAGES:
            began_mono = time.monotonic()
            stage.http.get(page.format(device=stage.names[7]), follow_redirects=True)
            took[page].append(1000 * (time.monotonic() - began_mono))
        time.sleep(1.0)
    return {page: {"p50": round(median(ms), 1), "max": round(max(ms), 1)} for page, ms in took.items()}


def _storm(stage: Stage) -> dict[str, Any]:
    """Ten thousand connections cut at once; the devices come back with their back-off."""
    count = min(STORM, len(stage.names))
    share = -(-count // len(stage.loads))
    connects = stage.totals()["connects"]
    window = Window(stage)
    for load in stage.loads:
        load.tell(f"storm {share}")
    back_s = _until(
        lambda: (
            stage.totals()["connects"] >= connects + count and stage.totals()["connected"] == len(stage.names)
        ),
        STORM_MOST_S,
    )
    time.sleep(PACE_S)
    figures = window.figures()
    _say(f"storm: back after {back_s} s, {figures}")
    return {
        "storm_devices": count,
        "storm_back_s": back_s,
        "storm_ingest_p99_s": figures["ingest_p99_s"],
        "storm_failures": stage.totals()["failures"],
    }


def _rollout(stage: Stage) -> dict[str, Any]:
    """A change of settings to everybody, in four waves; every device is told anew and reports."""
    told_before = stage.totals()["desired"]
    gates = {"soak_s": 0}
    plan = {
        "name": "everybody",
        "change": {"settings": {"health_s": 30}},
        "waves": [{"devices": 10, "gates": gates}] + [{"percent": p, "gates": gates} for p in (10, 50, 100)],
        "pace": {"concurrent": 500},
    }
    window = Window(stage)
    began_mono = time.monotonic()
    stage.http.post("/api/v1/rollouts", json=plan).raise_for_status()
    done_s = _until(
        lambda: stage.http.get("/api/v1/rollouts/everybody").json()["phase"] == "DONE",
        ROLLOUT_MOST_S,
        every_s=5.0,
    )
    figures, rollouts = window.figures(), stage.health()["rollouts"]
    told = stage.totals()["desired"] - told_before
    _say(f"rollout: {done_s} s, told {told}, {rollouts}, {figures}")
    return {
        "rollout_s": done_s,
        "rollout_devices_per_s": round(told / (time.monotonic() - began_mono), 1),
        "rollout_decision_mean_s": rollouts["decision_mean_s"],
        "rollout_decision_most_s": rollouts["decision_most_s"],
        "rollout_ingest_p99_s": figures["ingest_p99_s"],
    }


def _limit(stage: Stage) -> dict[str, Any]:
    """Health faster and faster, until it is late: the last pace that was in time, as documents a second."""
    good = 0.0
    for pace_s in PACES_S:
        for load in stage.loads:
            load.tell(f"pace {pace_s}")
        time.sleep(5.0)
        window = Window(stage)
        time.sleep(LIMIT_STEP_S)
        figures = window.figures()
        _say(f"pace {pace_s} s: {figures}")
        p99_s = figures["ingest_p99_s"]
        offered = len(stage.names) / pace_s
        if p99_s is None or p99_s > BUDGET_P99_S or figures["documents_per_s"] < 0.9 * offered:
            break
        good = figures["documents_per_s"]
    return {"limit_documents_per_s": good, "limit_devices_at_30_s": round(good * PACE_S)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--devices", type=int, default=WANTED)
    parser.add_argument("--processes", type=int, default=2, help="that hold the simulated devices")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the measurement at 30 s health")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--tls", action="store_true", help="devices show certificates")
    parser.add_argument("--quick", action="store_true", help="no storm, no rollout, no search for the limit")
    asked = parser.parse_args()
    figures = {**measure(asked), "sites": SITES}
    if asked.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
