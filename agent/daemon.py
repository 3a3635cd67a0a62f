"""The agent: puts the parts together, brings up what `current` names at once, then the network; ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib.metadata
import logging
import os
import random
import signal
import ssl
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from agent import download
from agent.api import access
from agent.api.app import Api
from agent.api.server import HttpServer
from agent.apply import Updater
from agent.backoff import Backoff
from agent.bench import Bench
from agent.child import Launcher, ModuleLauncher
from agent.clock import Clock, unique_id
from agent.commands import Commands
from agent.config import Config
from agent.courier import Courier
from agent.device import Device
from agent.errors import AgentError, Degraded, Disconnected, Refused
from agent.files import write_atomic
from agent.health.host import HostFigures
from agent.health.nvidia import Gpus
from agent.health.report import HealthReport
from agent.health.strain import Strain
from agent.identity import Identity
from agent.journal import Journal
from agent.keys import FileKeys
from agent.link import Link
from agent.notify import Notifier
from agent.outbox import Figures, Outbox
from agent.outgoing import Outgoing
from agent.relay import Relays
from agent.renewal import Renewal
from agent.snapshots import fleet_snapshot
from agent.stamp import Stamp
from agent.store import Store
from agent.supervise import TICK_S
from agent.tls import SignedTokens, Trust
from agent.trust import Gate, SignedNonsense
from agent.twin import Twin
from agent.vault import Vault
from wire import envelope, local
from wire.errors import WireError
from wire.names import DeviceId, FleetId
from wire.reasons import Reason
from wire.reported import Phase
from wire.topics import DeviceTopics

log = logging.getLogger(__name__)

ALIVE_S = 10 * TICK_S
PORT_FILE = "http-port"
FIRST_HEALTH_S = 3.0
DEFAULT_HEALTH_S = 30.0


def version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("outrider")
    except importlib.metadata.PackageNotFoundError:
        return "0"


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
        limits = config.limits
        self._config = config
        self._identity = identity
        self._clock = clock
        self._stopped = asyncio.Event()
        self._topics = DeviceTopics(FleetId(identity.fleet), DeviceId(identity.device))
        self._stamp = Stamp(clock, unique_id)
        self._notifier = Notifier(environment)
        self._keys = FileKeys(config.state_dir)
        self._trust = Trust(identity.authority, self._keys, clock, public=identity.public_authorities)
        self._client = httpx.AsyncClient(
            timeout=limits.connect_s,
            verify=self._trust.context,
            auth=None if identity.api_token else SignedTokens(identity.device, self._keys, clock),
        )
        self._renewal = Renewal(
            self._client, identity.url, self._keys, clock, self._trust.refresh, limits.renewal_check_s
        )
        self._outbox = Outbox(
            config.state_dir / "outbox.db",
            max_bytes=limits.outbox_bytes,
            max_age_s=limits.outbox_age_s,
            clock=clock,
        )
        self._out = Outgoing(self._outbox, self._topics, self._stamp, clock, version())
        self._journal = Journal(config.state_dir)
        store = Store(config.state_dir)
        downloader = download.Downloader(
            self._client,
            identity.url,
            identity.api_token,
            lambda: self._backoff(1.0, 60.0),
            keep_free_bytes=limits.free_space_bytes,
        )
        self._relays = Relays(
            config.state_dir,
            f"{identity.fleet}.{identity.device}",
            limits,
            clock,
            lambda: self._backoff(limits.reconnect_min_s, limits.reconnect_max_s),
        )
        vault = Vault(
            self._keys, identity.device, config.state_dir / "secrets", config.run_dir / "fleet-secrets"
        )
        self._device = Device(config, store, launcher or ModuleLauncher(), clock, self._keep, vault)
        self._updater = Updater(self._device, self._journal, store, downloader, clock, limits)
        downloader.trouble = self._updater.trouble
        self._twin = Twin(self._device, lambda: self._updater.status, clock, self._out.reported, version())
        self._gate = Gate(identity, clock)
        self._gpus = Gpus()
        self._health = HealthReport(
            self._device,
            lambda: self._updater.status,
            self._waiting,
            self._relays.figures,
            HostFigures(config.state_dir, clock.mono()),
            self._gpus,
            clock,
        )
        self._strain = Strain(self._device, self._gpus, limits)
        self._bench = Bench(
            lambda: self._updater.status.running, store, config.state_dir / "engine-cache", config.run_dir
        )
        self._commands = Commands(self._gate.open_command, self._handlers(), self._out.response)
        self._link = Link(
            identity.broker,
            f"{identity.fleet}.{identity.device}",
            (self._topics.desired, self._topics.commands),
            lambda: self._out.connection("offline"),
            self,
            self._backoff(limits.reconnect_min_s, limits.reconnect_max_s),
            limits.connect_s,
            tls=self._tls,
        )
        self._courier = Courier(
            self._outbox,
            self._link,
            clock,
            window=limits.in_flight,
            no_subscriber_retry_s=limits.no_subscriber_retry_s,
            settle_s=limits.settle_s,
        )
        self._offline_since_mono = clock.mono()
        self._unkept: object | None = None
        self._poll_failure: Reason | None = None
        self._http = HttpServer(config.http_host, config.http_port)
        self._device.on_change = self._twin.changed
        self._device.on_tick = self._tick
        self._updater.on_phase = self._phase_changed
        self._outbox.on_added = self._courier.wake

    def stop(self) -> None:
        """End in good order."""
        self._stopped.set()

    async def run(self) -> None:
        """:raises AgentError, OSError: the agent cannot work here"""
        with _locked(self._config.state_dir):
            try:
                await self._outbox.start()
                self._updater.start()
                await self._serve()
            finally:
                await self._close()

    async def _serve(self) -> None:
        work: list[Coroutine[Any, Any, None]] = [
            self._device.supervisor.run(),
            self._updater.run(),
            self._courier.run(),
            self._link.run(),
            self._report_health(),
            self._poll(),
            self._renewal.run(),
        ]
        if self._config.http_port >= 0 and self._open_http():
            work.append(self._http.run(self._api().app()))
        tasks = [asyncio.create_task(coroutine) for coroutine in work]
        stopped = asyncio.create_task(self._stopped.wait())
        self._notifier.ready(self._summary())
        try:
            done, _ = await asyncio.wait({*tasks, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
                raise Degraded(Reason.INTERNAL, f"{task.get_coro()} ended by itself")
        finally:
            self._notifier.stopping()
            if self._link.connected:
                self._courier.finish()
            await self._link.close(self._out.connection("offline"))
            await _cancelled({*tasks, stopped})

    def _open_http(self) -> bool:
        try:
            self._http.open()
            write_atomic(self._config.run_dir / PORT_FILE, str(self._http.port).encode(), durable=False)
        except OSError as e:
            # Cameras must not depend on a port.
            log.error(
                "the local interface cannot be served",
                extra={"port": self._config.http_port, "cause": str(e)},
            )
            return False
        log.info("local interface", extra={"url": f"http://{self._config.http_host}:{self._http.port}"})
        return True

    def _keep(self, message: local.Event | local.Publication) -> asyncio.Future[bool]:
        """Commit what a pipeline hands over, to where it is to go."""
        if isinstance(message, local.Event):
            return self._out.event(message)
        return self._relays.keep(message) if message.broker else self._out.publication(message)

    async def _close(self) -> None:
        await self._commands.close()
        await self._device.close()
        await self._relays.close()
        await self._outbox.close()
        await self._client.aclose()
        self._journal.close()
        self._gpus.close()
        self._notifier.close()

    def _api(self) -> Api:
        about = {
            "device": self._identity.device,
            "fleet": self._identity.fleet,
            "agent_version": version(),
            "pid": os.getpid(),
        }
        return Api(
            self._device,
            self._clock,
            self._twin.reported,
            self._health.read,
            self._alive,
            about,
            lambda: self._link.connected,
            access.token(self._config.state_dir),
        )

    # --- the supervisor's tick ----------------------------------------------------------------------------------------

    def _tick(self, at_mono: float) -> None:
        self._twin.tick(at_mono)
        self._strain.tick(at_mono)
        self._notifier.watchdog()

    def _waiting(self) -> Figures:
        """What the broker has not acknowledged yet."""
        figures = self._outbox.figures()
        return replace(figures, rows=max(0, figures.rows - self._courier.settling))

    def _alive(self) -> bool:
        return self._clock.mono() - self._device.supervisor.last_tick_mono < ALIVE_S

    def _phase_changed(self) -> None:
        self._twin.tell()
        self._notifier.status(self._summary())

    def _summary(self) -> str:
        status = self._updater.status
        link = "connected" if self._link.connected else "offline"
        phase = "" if status.phase is Phase.IDLE else f", {status.phase.value.lower()} {status.offered}"
        return f"revision {status.revision}{phase}, {len(self._device.pipelines)} camera(s), {link}"

    def _tls(self) -> ssl.SSLContext:
        self._trust.refresh()
        return self._trust.context

    # --- the link's handler -------------------------------------------------------------------------------------------

    def connected(self) -> None:
        self._out.connected = True
        birth = self._out.connection("online")
        with contextlib.suppress(Disconnected):
            self._link.publish(birth.topic, birth.payload, retain=True)
        self._twin.tell(again=True)
        self._notifier.status(self._summary())
        self._courier.wake()

    def disconnected(self, why: str) -> None:
        self._out.connected = False
        self._offline_since_mono = self._clock.mono()
        self._courier.disconnected()
        self._notifier.status(self._summary())

    def acknowledged(self, token: int, reason: int) -> None:
        self._courier.acknowledged(token, reason)

    def received(self, topic: str, payload: bytes) -> None:
        if not payload:  # a retained message that was cleared
            return
        try:
            message = envelope.decode(payload)
        except WireError as e:
            log.warning("message is dropped", extra={"topic": topic, "cause": str(e)})
            if topic == self._topics.desired:
                self._updater.reject(0, e.reason, str(e), ())
            return
        if topic == self._topics.desired:
            self._offered(message.data)
        elif topic.startswith(self._topics.command("")):
            self._commands.received(topic.rsplit("/", 1)[-1], message.data, message.rid)

    def _offered(self, document: object) -> None:
        self._unkept = None
        try:
            desired = self._gate.open_desired(document, self._journal.highest())
            if desired is not None:
                self._updater.offer(desired)
        except SignedNonsense as e:
            self._updater.reject(e.revision, e.reason, str(e), e.problems)
        except WireError as e:
            self._updater.reject(0, e.reason, str(e), getattr(e, "problems", ()))
        except OSError as e:
            self._unkept = document
            self._updater.reject(0, Reason.DISK_FULL, f"the document cannot be kept: {e}", ())

    # --- commands -----------------------------------------------------------------------------------------------------

    def _handlers(self) -> dict[str, Any]:
        return {
            "bench": self._bench.run,
            "ping": self._ping,
            "report": self._report,
            "restart-camera": self._restart_camera,
            "snapshot": lambda arguments: fleet_snapshot(self._device, arguments),
        }

    def _ping(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        return {"agent_version": version(), "at_wall": self._clock.wall()}

    def _report(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        self._out.health(self._health.read())
        self._twin.tell(again=True)
        return {"revision": self._updater.status.revision}

    def _restart_camera(self, arguments: dict[str, Any]) -> dict[str, Any]:
        camera = arguments.get("camera")
        unit = self._device.pipeline_of(camera) if isinstance(camera, str) else None
        if unit is None:
            known = sorted(unit.spec.camera.name for unit in self._device.pipelines.values())
            raise Refused(Reason.UNKNOWN_REFERENCE, f"no camera is called {camera!r}; running are {known}")
        unit.keeper.restart("restart-camera was asked for")
        return {"camera": camera}

    # --- regular work -------------------------------------------------------------------------------------------------

    async def _report_health(self) -> None:
        due_mono = self._clock.mono() + FIRST_HEALTH_S
        while True:
            running = self._updater.status.running
            period_s = running.settings.health_s if running else DEFAULT_HEALTH_S
            # A changed period holds at once, not after the old one is over.
            due_mono = min(due_mono, self._clock.mono() + period_s)
            await asyncio.sleep(max(0.0, min(1.0, due_mono - self._clock.mono())))
            if self._clock.mono() < due_mono:
                continue
            due_mono += period_s
            try:
                self._out.health(self._health.read())
            except (OSError, WireError) as e:
                log.warning("health cannot be told", extra={"cause": str(e)})

    async def _poll(self) -> None:
        """The same documents over HTTPS, when the broker has been unreachable for a while.

        And once more one that the disk did not take: the broker delivers it only once.
        """
        limits = self._config.limits
        while True:
            await asyncio.sleep(min(limits.poll_s, limits.poll_after_s))
            if self._unkept is not None:
                self._offered(self._unkept)
            offline_s = self._clock.mono() - self._offline_since_mono
            if self._link.connected or offline_s < limits.poll_after_s:
                continue
            try:
                document = await download.desired_state(
                    self._client, self._identity.url, self._identity.api_token
                )
            except AgentError as e:
                told = (
                    log.debug if e.reason in (Reason.ARTIFACT_UNREACHABLE, self._poll_failure) else log.error
                )
                self._poll_failure = e.reason
                told("polling failed", extra={"reason": e.reason.value, "cause": str(e)})
                continue
            self._poll_failure = None
            if document is not None:
                self._offered(document)

    @staticmethod
    def _backoff(min_s: float, max_s: float) -> Backoff:
        return Backoff(min_s, max_s, random.random)


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


async def serve(config: Config, identity: Identity, clock: Clock, environment: Mapping[str, str]) -> None:
    """Run an agent until SIGTERM or SIGINT.

    :raises AgentError, OSError: the agent cannot work here
    """
    agent = Agent(config, identity, clock, environment)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    await agent.run()
