"""Everything that is told outwards, made from the configuration and run together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Protocol

import httpx

from fleet.clock import Clock
from fleet.config import Config, HomeAssistant
from fleet.db import Database
from fleet.events.log import EventLog
from fleet.outward.bridge import Bridge
from fleet.outward.homeassistant import HomeAssistantTalk
from fleet.outward.hooks import Hooks
from fleet.outward.look import Lookout
from fleet.outward.sparkplug import SparkplugTalk
from fleet.outward.tracing import Tracing, open_sender
from fleet.pictures import Pictures
from fleet.references import resolve
from fleet.selector import parse as parse_selector


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
        pictures: Pictures,
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

        for name, broker in (("homeassistant", config.homeassistant), ("sparkplug", config.sparkplug)):
            if broker.broker:
                password = resolve(broker.password, environment, f"{name}.password")
                lookout = Lookout(database, parse_selector(broker.selector))
                talk = (
                    HomeAssistantTalk(config.fleet, broker, lookout, event_log, pictures, clock, leads)
                    if isinstance(broker, HomeAssistant)
                    else SparkplugTalk(config.fleet, broker, lookout, database, event_log, clock, leads)
                )
                self._parts.append(Bridge(name, broker, password, talk, leads))

    async def run(self) -> None:
        try:
            await asyncio.gather(*(part.run() for part in self._parts))
        finally:
            await asyncio.to_thread(self._closing.close)
