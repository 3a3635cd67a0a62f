"""Everything that is told outwards, made from the configuration and run together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

import httpx

from fleet.clock import Clock
from fleet.config import Config
from fleet.db import Database
from fleet.events.log import EventLog
from fleet.outward.hooks import Hooks
from fleet.outward.tracing import Tracing, open_sender
from fleet.references import resolve


class Part(Protocol):
    """Something that tells."""

    async def run(self) -> None: ...


class Outward:
    """`run` until cancelled. What is not configured is not imported."""

    def __init__(
        self,
        config: Config,
        database: Database,
        event_log: EventLog,
        clock: Clock,
        leads: Callable[[], bool],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """:raises Misconfigured: something that is configured cannot be done"""
        self._closing = ExitStack()
        self._parts: list[Part] = []
        self.hooks: Hooks | None = None
        if config.otel.endpoint:
            headers = {
                name: resolve(value, environment, f"otel.headers.{name}")
                for name, value in config.otel.headers.items()
            }
            send, close = open_sender(config.otel, headers, config.fleet)
            self._closing.callback(close)
            self._parts.append(Tracing(config.fleet, database, clock, send, leads))

        if config.webhooks:
            hooks = [
                (hook, resolve(hook.secret, environment, f"webhooks.{hook.name}.secret"))
                for hook in config.webhooks
            ]
            client = httpx.AsyncClient(follow_redirects=False)
            self.hooks = Hooks(config.fleet, hooks, database, event_log, clock, leads, client)
            self._parts.append(self.hooks)

    async def run(self) -> None:
        try:
            await asyncio.gather(*(part.run() for part in self._parts))
        finally:
            await asyncio.to_thread(self._closing.close)
