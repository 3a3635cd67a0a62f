"""`python -m fleet.broker_amqtt SETTINGS`: the pure-Python broker, for the demo where no mosquitto is found.

The same passwords and topic rules as with mosquitto. It speaks MQTT 3.1.1 only and keeps nothing across a restart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.broker import Broker
from amqtt.contexts import Action as BrokerAction
from amqtt.contexts import BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from fleet import accounts
from wire.names import FleetId


class Passwords(BaseAuthPlugin):  # type: ignore[misc]
    """Checks user and password against the file the control plane writes."""

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._path = Path(self.config.path)
        self._known: dict[str, str] = {}
        self._read_at_ns = 0

    async def authenticate(self, *, session: Session) -> bool:
        hashed = self._accounts().get(session.username or "")
        fits = hashed is not None and accounts.password_fits(session.password or "", hashed)
        if fits:
            session.client_id = session.username
        return fits

    def _accounts(self) -> dict[str, str]:
        """Read again when the file has been replaced, so no signal is needed."""
        changed_ns = self._path.stat().st_mtime_ns
        if changed_ns != self._read_at_ns:
            self._known = accounts.read_password_file(self._path.read_bytes())
            self._read_at_ns = changed_ns
        return self._known

    @dataclass
    class Config:
        path: str = ""


class Topics(BaseTopicPlugin):  # type: ignore[misc]
    """Keeps each device to its own topics."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: BrokerAction | None = None
    ) -> bool:
        if session is None or topic is None or session.username is None:
            return False
        kind = accounts.Action.WRITE if action == BrokerAction.PUBLISH else accounts.Action.READ
        return accounts.allowed(FleetId(self.config.fleet), session.username, topic, kind)

    @dataclass
    class Config:
        fleet: str = ""


def configuration(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "listeners": {
            "default": {
                "type": "tcp",
                "bind": f"{settings['host']}:{settings['port']}",
                "max_connections": 1000,
            }
        },
        "plugins": {
            "fleet.broker_amqtt.Passwords": {"path": settings["passwords"]},
            "fleet.broker_amqtt.Topics": {"fleet": settings["fleet"]},
        },
    }


async def serve(settings: dict[str, Any]) -> None:
    """Run until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)
    broker = Broker(configuration(settings))
    await broker.start()
    await stopped.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(serve(json.loads(sys.argv[1])))
