"""The agent's life: brings up what `current` names at once, then the network; ends everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import importlib
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import (
    farewell,
    lean,  # noqa: F401 - before what imports httpx
)
from agent import identity as identities
from agent.child import Launcher
from agent.clock import Clock
from agent.composition import compose, version
from agent.config import Config
from agent.errors import AgentError, Degraded, Refused
from agent.files import write_atomic
from agent.identity import Identity
from agent.inventory import read_inventory
from agent.notify import Notifier
from agent.refuge import sheltered
from agent.reload import reload
from agent.supervise import TICK_S
from wire.errors import WireError
from wire.phase import Phase
from wire.reasons import Reason

if TYPE_CHECKING:
    from agent.api.app import Api
    from agent.api.server import HttpServer

log = logging.getLogger(__name__)

ALIVE_S = 10 * TICK_S
PORT_FILE = "http-port"
FIRST_HEALTH_S = 3.0
DEFAULT_HEALTH_S = 30.0
INVENTORY_S = 600.0
START_AT_MOST_S = 600.0
"""What systemd is asked to wait for a start in all: an outbox of 256 MB on a slow card is read and mended within it."""
STOP_AT_MOST_S = 300.0


class Agent:
    """One device's agent. `run` works until `stop` is called; a part that fails for good ends it with that error."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        clock: Clock,
        environment: Mapping[str, str],
        launcher: Launcher | None = None,
    ) -> None:
        self._config = config = sheltered(config)
        self._identity = identity
        self._clock = clock
        self._stopped = asyncio.Event()
        self._ready = False
        self.starts_anew = False
        """Whether it has ended for the launcher to start the release that is current now."""
        self._parts = compose(config, identity, clock, environment, launcher, self.stop)
        self._parts.work.device.on_tick = self._tick
        self._parts.work.updater.on_phase = self._phase_changed
        self._parts.work.releases.on_restart = self._start_anew
        self._parts.uplink.on_change = self._tell_status

    def stop(self) -> None:
        """End in good order."""
        self._stopped.set()

    def _start_anew(self) -> None:
        self.starts_anew = True
        self._stopped.set()

    def reload(self, read: Callable[[], Config]) -> None:
        """Take over what may change of the configuration, and certificates that were renewed by hand."""
        self._parts.notifier.reloading()
        self._config = reload(self._config, read)
        try:
            self._parts.network.trust.refresh()
        except AgentError as e:
            log.error("the certificate is not reloaded", extra={"cause": str(e)})
        self._parts.notifier.ready(self._summary())

    async def run(self) -> None:
        """:raises AgentError, OSError: the agent cannot work here"""
        with _locked(self._config.state_dir):
            try:
                async with self._parts.notifier.more_time(START_AT_MOST_S):
                    await self._parts.messages.outbox.start()
                    self._parts.work.updater.start()
                await self._serve()
            finally:
                self._parts.notifier.stopping()
                async with self._parts.notifier.more_time(STOP_AT_MOST_S):
                    await self._close()
                self._parts.notifier.close()
            if farewell.is_ordered(self._config.state_dir):
                farewell.wipe(self._config)

    async def _serve(self) -> None:
        parts = self._parts
        work: list[Coroutine[Any, Any, None]] = [
            parts.work.device.supervisor.run(),
            parts.work.updater.run(),
            *parts.uplink.work(),
            self._report_health(),
            parts.network.renewal.run(),
            parts.network.vouch.run(),
            parts.uploads.run(),
            parts.inbox.run(),
            parts.farewell.run(),
            self._take_stock(),
        ]
        if self._config.http_port >= 0:
            work.append(self._serve_locally())
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
                raise Degraded(Reason.INTERNAL, f"{task.get_coro()} ended by itself")
        finally:
            parts.notifier.stopping()
            await parts.uplink.close()
            await _cancelled({*tasks, stopped})

    async def _serve_locally(self) -> None:
        """The local interface. Its libraries are loaded aside, while the children are on their way."""
        for name in ("agent.api.server", "agent.api.app"):
            await asyncio.to_thread(importlib.import_module, name)
        from agent.api.server import HttpServer

        http = HttpServer(self._config.http_host, self._config.http_port)
        if self._open(http):
            await http.run(self._api().app())
        else:
            await self._stopped.wait()

    def _open(self, http: HttpServer) -> bool:
        try:
            http.open()
            write_atomic(self._config.run_dir / PORT_FILE, str(http.port).encode(), durable=False)
        except OSError as e:
            # Cameras must not depend on a port.
            log.error(
                "the local interface cannot be served",
                extra={"port": self._config.http_port, "cause": str(e)},
            )
            return False
        log.info("local interface", extra={"url": f"http://{self._config.http_host}:{http.port}"})
        return True

    async def _close(self) -> None:
        parts = self._parts
        await parts.commands.close()
        await parts.work.device.close(Reason.AGENT_RESTARTING if self.starts_anew else Reason.AGENT_DOWN)
        await parts.messages.relays.close()
        await parts.messages.outbox.close()
        await parts.network.client.aclose()
        await parts.network.elsewhere.aclose()
        parts.work.journal.close()
        parts.work.recorder.flush()
        parts.figures.gpus.close()

    def _api(self) -> Api:
        from agent.api import access
        from agent.api.app import Api
        from agent.api.updates import UpdateRoutes

        about = {
            "device": self._identity.device,
            "fleet": self._identity.fleet,
            "agent_version": version(),
            "pid": os.getpid(),
        }
        return Api(
            self._parts.work.device,
            self._clock,
            self._parts.work.twin.reported,
            self._parts.figures.health.read,
            self._alive,
            about,
            lambda: self._parts.uplink.is_connected,
            access.token(self._config.state_dir),
            self._parts.filming,
            UpdateRoutes(self._parts.work.updater, self._parts.work.recorder.read),
        )

    # --- the supervisor's tick ----------------------------------------------------------------------------------------

    def _tick(self, at_mono: float) -> None:
        self._parts.work.twin.tick(at_mono)
        self._parts.figures.strain.tick(at_mono)
        self._parts.work.ground.tick(at_mono)
        if not self._ready:
            self._ready = True
            self._parts.notifier.ready(self._summary())
        self._parts.notifier.watchdog()

    def _alive(self) -> bool:
        return self._clock.mono() - self._parts.work.device.supervisor.last_tick_mono < ALIVE_S

    def _phase_changed(self) -> None:
        self._parts.work.twin.tell()
        self._tell_status()

    def _tell_status(self) -> None:
        self._parts.notifier.status(self._summary())

    def _summary(self) -> str:
        status = self._parts.work.updater.status
        link = "connected" if self._parts.uplink.is_connected else "offline"
        phase = "" if status.phase is Phase.IDLE else f", {status.phase.value.lower()} {status.offered}"
        cameras = len(self._parts.work.device.pipelines)
        return f"revision {status.revision}{phase}, {cameras} camera(s), {link}"

    async def _take_stock(self) -> None:
        """What the machine is made of, told with the reported state."""
        while True:
            gpus = self._parts.figures.gpus.read()
            self._parts.work.twin.made_of(await asyncio.to_thread(read_inventory, gpus))
            await asyncio.sleep(INVENTORY_S)

    async def _report_health(self) -> None:
        due_mono = self._clock.mono() + FIRST_HEALTH_S
        while True:
            running = self._parts.work.updater.status.running
            period_s = running.settings.health_s if running else DEFAULT_HEALTH_S
            # A changed period holds at once, not after the old one is over.
            due_mono = min(due_mono, self._clock.mono() + period_s)
            await asyncio.sleep(max(0.0, min(1.0, due_mono - self._clock.mono())))
            if self._clock.mono() < due_mono:
                continue
            due_mono += period_s
            try:
                health = self._parts.figures.health.read()
                self._parts.messages.out.health(health)
                self._parts.work.recorder.health(health)
            except (OSError, WireError) as e:
                log.warning("health cannot be told", extra={"cause": str(e)})


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """End the tasks. Again each second: up to Python 3.11 `asyncio.wait_for` loses a cancellation that meets a result."""
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=1.0)


@contextlib.contextmanager
def _locked(state_dir: Path) -> Any:
    """One agent for a state directory; a second one would fight over journal and cameras."""
    descriptor = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Refused(
            Reason.CONFIG_INVALID, f"another agent works on {state_dir}; stop it, or give another state_dir"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


async def serve(
    config: Config,
    clock: Clock,
    environment: Mapping[str, str],
    read: Callable[[], Config] | None = None,
) -> bool:
    """Run an agent until SIGTERM or SIGINT, once this device has an identity. SIGHUP has `read` read the configuration again; the watchdog's SIGABRT, and a crash of
    native code, leave the stack of every thread on stderr. Whether the launcher is to start another release now.

    :raises AgentError, OSError: the agent cannot work here
    """
    faulthandler.enable()
    if farewell.is_ordered(config.state_dir):  # cut short by a loss of power
        farewell.wipe(config)
    identity = identities.load(config.state_dir) or await _enrolled(config, clock, environment)
    if identity is None:
        return False
    agent = Agent(config, identity, clock, environment)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, agent.reload, read or (lambda: config))
    await agent.run()
    return agent.starts_anew


async def _enrolled(config: Config, clock: Clock, environment: Mapping[str, str]) -> Identity | None:
    """Wait for an identity; None where the agent is stopped before there is one."""
    from agent import first_boot

    notifier = Notifier(environment)
    waiting = asyncio.ensure_future(first_boot.await_identity(config, clock, environment, notifier))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, waiting.cancel)
    loop.add_signal_handler(signal.SIGHUP, notifier.ready, first_boot.WAITING)
    try:
        return await waiting
    except asyncio.CancelledError:
        notifier.stopping()
        return None
    finally:
        notifier.close()
