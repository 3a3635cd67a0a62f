"""Requests of the API, by route and class of status: how many, how long. As many series as there are routes."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any

from prometheus_client.core import HistogramMetricFamily, Metric

BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
OTHER = "other"
MOST_SERIES = 1000


class Requests:
    """Counts; one thread, the event loop's."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], list[int]] = {}
        self._sums: dict[tuple[str, str, str], float] = {}

    def add(self, method: str, route: str, status: int, took_s: float) -> None:
        key = (method, route, f"{status // 100}xx")
        if key not in self._counts and len(self._counts) >= MOST_SERIES:
            key = (OTHER, OTHER, key[2])
        counts = self._counts.setdefault(key, [0] * (len(BOUNDS_S) + 1))
        counts[bisect_left(BOUNDS_S, took_s)] += 1
        self._sums[key] = self._sums.get(key, 0.0) + took_s

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "outrider_fleet_http_request_seconds",
            "Requests of the API until the answer began.",
            labels=["method", "route", "status"],
        )
        for key, counts in self._counts.items():
            total, buckets = 0, []
            for bound, count in zip([*map(str, BOUNDS_S), "+Inf"], counts, strict=True):
                total += count
                buckets.append((bound, float(total)))
            family.add_metric(list(key), buckets, self._sums[key])
        yield family


class Timed:
    """An ASGI application around another one."""

    def __init__(self, app: Any, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun_mono = time.monotonic()

        async def told(message: Any) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", OTHER)
                took_s = time.monotonic() - begun_mono
                self._requests.add(str(scope["method"])[:10], route, int(message["status"]), took_s)
            await send(message)

        await self._app(scope, receive, told)
