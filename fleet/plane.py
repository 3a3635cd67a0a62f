"""The control plane put together: every part made once, started in order, ended in reverse order."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType

from fleet import authority, tls
from fleet.access.answers import KeptAnswers
from fleet.access.passwords import Passwords
from fleet.access.provider import Provider
from fleet.access.provider import check as check_provider
from fleet.access.sessions import Sessions
from fleet.access.users import Users
from fleet.alerts.care import AlertCare
from fleet.aliases import Aliases
from fleet.audit import AuditLog
from fleet.auth import Tokens
from fleet.benchmarks import Benchmarks
from fleet.broker import Broker, Surroundings, make_broker
from fleet.bundle import Bundles
from fleet.certificates import Certificates
from fleet.checker import COMMANDS, Checker
from fleet.clips import Clips
from fleet.clock import Clock, Ids, RandomIds, SystemClock
from fleet.commands import Commands
from fleet.config import Config, DataDir
from fleet.confined import Bounds
from fleet.db import Database, check_schema
from fleet.desired import DesiredStates
from fleet.devices import Devices
from fleet.errors import FleetError, Misconfigured, Transient
from fleet.events.live import Streams
from fleet.events.log import EventLog
from fleet.garbage import Garbage
from fleet.health.care import HealthCare
from fleet.ingest import Ingest
from fleet.keeper.keeping import Keeping
from fleet.lease import Leadership
from fleet.link import Link
from fleet.mosquitto import Tls
from fleet.objects import Objects, open_objects
from fleet.outward.desk import Outward
from fleet.parts import Parts
from fleet.pictures import Pictures
from fleet.references import resolve
from fleet.registry import Registry
from fleet.replicas import Alone, Replica
from fleet.rollout.desk import Rollouts
from fleet.rollout.pins import pinned
from fleet.rollout.runner import Runner
from fleet.roster import Roster
from fleet.running import Running
from fleet.secrets import Secrets
from fleet.signing import Signer, load_signer
from fleet.trials import Trials
from fleet.tuf.repository import Guard, anybody
from fleet.tuf.trust import Trust
from fleet.upkeep import Upkeep
from wire.command import Response
from wire.names import FleetId
from wire.reasons import Reason
from wire.topics import fleet_subscriptions

log = logging.getLogger(__name__)

CONNECT_DEADLINE_S = 20.0
MAINTENANCE_S = 3600.0
WATCH_S = 30.0


@dataclass(frozen=True)
class Seams:
    """What a test replaces. `check_commands` are the programs that check uploads; None takes the runtime's."""

    clock: Clock
    ids: Ids
    check_commands: dict[str, tuple[str, ...]] | None = None


class Plane:
    """The parts of one control plane. An async context manager: running inside the block."""

    def __init__(self, data: DataDir, config: Config, seams: Seams | None = None) -> None:
        seams = seams or Seams(SystemClock(), RandomIds())
        self.data = data
        self.config = config
        self.clock, self.ids = seams.clock, seams.ids
        self.fleet = FleetId(config.fleet)
        self.database = Database(data.database_url(config))
        self.signer: Signer = load_signer(data.state_key)
        self.trust = Trust(data, self.database, self.clock, config.trust_days, self.signer)
        self.objects: Objects = open_objects(config.objects, data.objects, os.environ)
        self._make_access(config)
        self._make_registry(data, config, _checker(data, config, seams))
        self._make_desired(config)
        self._make_broker(data, config)
        self._running = AsyncExitStack()

    def _make_access(self, config: Config) -> None:
        """Who may do what, and what was done."""
        self.tokens = Tokens(self.database, self.clock, self.ids)
        self.users = Users(self.database, self.clock, Passwords())
        self.sessions = Sessions(self.database, self.clock, self.ids, self.users, config.access)
        check_provider(config.oidc)
        self.provider = Provider(
            config.oidc,
            resolve(config.oidc.client_secret, os.environ, "oidc.client_secret"),
            self.database,
            self.clock,
            self.ids,
            self.sessions,
        )
        self.answers = KeptAnswers(self.database, self.clock)
        self.audit = AuditLog(self.database)
        self.roster = Roster(self.database, self.clock)
        self.running = Running(self.database, self.clock)

    def _make_registry(self, data: DataDir, config: Config, checker: Checker) -> None:
        """Devices, and what they may be given."""
        self.certificates = Certificates(
            self.database,
            authority.load(data.authority, self.clock),
            self.clock,
            config.limits.certificate_days * authority.DAY_S,
        )
        self.devices = Devices(self.database, self.clock, self.ids, self.certificates)
        self.benchmarks = Benchmarks(self.database)
        self.clips = Clips(self.database, self.objects, self.clock, config.limits.clips_bytes)
        limits = config.limits
        self.pictures = Pictures(
            self.database, self.objects, self.clock, limits.pictures_bytes, limits.pictures_total_bytes
        )
        self.parts = Parts(data.parts)
        self.registry = Registry(
            self.database, self.objects, checker, self.clock, config.limits, data.uploads
        )
        self.trials = Trials(self.registry, self.objects, checker)
        self.aliases = Aliases(self.database, self.clock)
        self.garbage = Garbage(self.database, self.objects, self.clock, (pinned,))

    def _make_desired(self, config: Config) -> None:
        """What devices are told."""
        self.desired = DesiredStates(
            self.fleet,
            self.database,
            self.signer,
            self.clock,
            self.ids,
            config.limits.desired_days,
            self._publish_retained,
            self.trust.repository.unsigned,
        )
        self.bundles = Bundles(self.fleet, self.database, self.trust.repository)
        self.rollouts = Rollouts(self.database, self.clock)
        self.upkeep = Upkeep(
            self.fleet,
            self.database,
            self.objects,
            self.certificates,
            self.clock,
            self.ids,
            self._publish_retained,
        )
        self.secrets = Secrets(self.database, self.clock)
        self.commands = Commands(
            self.fleet, self.database, self.signer, self.clock, self.ids, self._publish_expiring
        )
        self.ingest = Ingest(self.fleet, self.database, self.clock, self._answered, self.pictures)

    def _make_broker(self, data: DataDir, config: Config) -> None:
        """The broker, the connection to it, and what only one replica does."""
        around = Surroundings(
            data.broker,
            self.fleet,
            _password(data),
            self.devices.accounts,
            self.clock,
            Tls(data.root_certificate, data.server_certificate),
            data.control_certificate,
            lambda: (self.certificates.revocation_list(), self.certificates.revoked_devices()),
        )
        self.broker: Broker = make_broker(config.broker, around)
        self.on_new_certificate: Callable[[], None] = lambda: None
        self.replica_name = resolve(config.replica, os.environ, "replica")
        self.event_log = EventLog(self.database, self.clock, settled=not self.replica_name)
        self.streams = Streams()
        self.outward = Outward(config, self.database, self.event_log, self.clock, self.pictures, self._leads)
        subscriptions = fleet_subscriptions(self.fleet, shared=bool(self.replica_name))
        login = self.broker.endpoint.username
        client_id = f"{login}.{self.replica_name}" if self.replica_name else login
        self.link = Link(
            self.broker.endpoint,
            subscriptions,
            self.ingest.take,
            self._connected,
            config.limits.receive_maximum,
            client_id,
        )
        self.replica = self._make_replica(client_id, subscriptions)
        self.desired.guard = self.replica.check
        parts = (self.database, self.clock, self.ids)
        leading = (self._leads, self.replica.check)
        self.health = HealthCare(self.database, self.clock, self.roster, config)
        self.alerts = AlertCare(*parts, self.roster, config, os.environ, self._publish, *leading)
        self.keeping = Keeping(*parts, config, data.database_url(config), self.replica, self.devices.count)
        self.runner = Runner(self.database, self.desired, self.clock, *leading)

    def _leads(self) -> bool:
        return bool(self.replica.leads)

    def _make_replica(self, client_id: str, subscriptions: tuple[str, ...]) -> Alone | Replica:
        if not self.replica_name:
            return Alone()
        limits = self.config.limits
        return Replica(
            Leadership(self.database, self.clock, self.replica_name, limits.lease_s, self._gained),
            self.broker.endpoint,
            client_id,
            subscriptions,
            self.ingest.take,
            limits.receive_maximum,
            limits.lease_s,
        )

    async def __aenter__(self) -> Plane:
        """:raises FleetError: the schema is another one, or the broker does not start"""
        async with AsyncExitStack() as stack:
            stack.callback(self.database.close)
            await asyncio.to_thread(check_schema, self.database)
            self._refresh_certificates()
            await asyncio.to_thread(self.trust.publish if self.replica.leads else self.trust.follow)
            self.registry.clear_uploads()
            stack.callback(self.ingest.close)
            stack.push_async_callback(self.broker.stop)
            await self.broker.start()
            stack.push_async_callback(_cancel, asyncio.create_task(self.link.run(), name="link"))
            await self._wait_connected()
            stack.callback(self.replica.release)
            stack.push_async_callback(_cancel, asyncio.create_task(self.replica.run(), name="replica"))
            stack.push_async_callback(_cancel, asyncio.create_task(self._maintain(), name="maintenance"))
            stack.push_async_callback(_cancel, asyncio.create_task(self.runner.run(), name="rollouts"))
            stack.push_async_callback(_cancel, asyncio.create_task(self._watch(), name="watch"))
            stack.push_async_callback(_cancel, asyncio.create_task(self.keeping.run(), name="keeping"))
            stack.push_async_callback(_cancel, asyncio.create_task(self.outward.run(), name="outward"))
            stack.push_async_callback(_cancel, asyncio.create_task(self.alerts.run(), name="alerts"))
            self._running = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def _wait_connected(self) -> None:
        try:
            await asyncio.wait_for(self.link.connected.wait(), CONNECT_DEADLINE_S)
        except asyncio.TimeoutError as e:
            endpoint = self.broker.endpoint
            if endpoint.kind == "external":
                log.error("the broker is away; going on without it", extra={"host": endpoint.host})
                return
            raise Transient(
                Reason.BROKER_UNAVAILABLE,
                f"no session with the broker at {endpoint.host}:{endpoint.port} within {CONNECT_DEADLINE_S:.0f} s",
            ) from e

    async def _connected(self) -> None:
        """A broker that died may have lost what it retained; one publishes it again for all."""
        if self.replica.leads:
            await self.desired.publish_all()

    async def _gained(self) -> None:
        await self.desired.publish_all()
        await self._keep_fleet()

    async def _keep_fleet(self) -> None:
        """What one replica does for all: forget old rows, sign and issue anew what would expire."""
        limits = self.config.limits
        await asyncio.to_thread(self.certificates.forget_old)
        await asyncio.to_thread(self.sessions.forget_old)
        await asyncio.to_thread(self.answers.forget_old)
        gone = await asyncio.to_thread(self.devices.forget_old, limits.events_days)
        await asyncio.to_thread(self.alerts.forget_old)
        gone += await self.clips.forget_old(limits.events_days)
        gone += await self.pictures.forget_all(limits.pictures_days)
        await self.upkeep.forget_old(limits.diagnostics_days)
        await self.refresh_trust(self.replica.check)
        renewed = await self.desired.renew()
        log.info("maintenance done", extra={"rows_deleted": gone, "desired_renewed": renewed})
        head = await asyncio.to_thread(self.audit.head)
        log.info("head of the audit log", extra={"rows": head.count, "hash": head.hash})

    async def _maintain(self) -> None:
        """Once an hour: what each does for itself, and what the leader does for all."""
        while True:
            try:
                if await asyncio.to_thread(self._refresh_certificates):
                    self.on_new_certificate()
                await self.broker.reload()
                if self.replica.leads:
                    await self._keep_fleet()
            except FleetError as e:
                log.warning("maintenance was cut short", extra={"cause": str(e)})
            except Exception:
                log.exception("maintenance failed; it is tried again in an hour")
            await asyncio.sleep(MAINTENANCE_S)

    async def _watch(self) -> None:
        """Twice a minute, as the leader: who is silent, and whether another replica was told to sign with another key."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self._trim_pictures()
            if not self.replica.leads:
                continue
            try:
                await asyncio.to_thread(self.upkeep.mark_silent)
                await asyncio.to_thread(self.trust.follow)
                await self.sign_anew()
            except Exception:
                log.exception("silent devices and new keys are looked for later")

    async def _trim_pictures(self) -> None:
        """Each for what it has taken in."""
        try:
            await self.pictures.trim()
            await asyncio.to_thread(self.parts.forget_old)
        except Exception:
            log.exception("too many pictures are kept for now")

    async def refresh_trust(self, guard: Guard = anybody) -> set[str]:
        """Bring trust metadata up to date; the roles that wait for signatures. `guard`: where only the leader may."""
        waiting = await asyncio.to_thread(self.trust.publish, guard)
        await self.sign_anew()
        return waiting

    async def sign_anew(self) -> None:
        """Sign every desired state anew where another key signs since the last time. The leader does it for all, and looks often."""
        if self.replica.leads and self.trust.new_state_key():
            await self.desired.renew(everything=True)

    def _refresh_certificates(self) -> bool:
        return tls.refresh(self.data, self.config, self.certificates.authority, self.clock.wall())

    def _answered(self, device: str, response: Response) -> None:
        self.commands.answered(device, response)

    async def _publish(self, topic: str, payload: bytes, retain: bool) -> None:
        await self.link.publish(topic, payload, retain=retain)

    async def _publish_retained(self, topic: str, payload: bytes) -> None:
        await self.link.publish(topic, payload, retain=True)

    async def _publish_expiring(self, topic: str, payload: bytes, expires_in_s: float) -> None:
        await self.link.publish(topic, payload, retain=False, expires_in_s=expires_in_s)


def _checker(data: DataDir, config: Config, seams: Seams) -> Checker:
    limits = config.limits
    bounds = Bounds(
        memory_bytes=limits.check_memory_bytes,
        cpu_s=limits.check_cpu_s,
        file_bytes=limits.unpacked_bytes,
        nice=5,
    )
    if seams.check_commands is None:
        return Checker(bounds, limits.check_wall_s, data.uploads)
    return Checker(bounds, limits.check_wall_s, data.uploads, {**COMMANDS, **seams.check_commands})


def _password(data: DataDir) -> str:
    try:
        return data.control_password.read_text().strip()
    except FileNotFoundError as e:
        raise Misconfigured(
            Reason.CONFIG_INVALID, f"{data.control_password} is missing; run `outrider fleet init` again"
        ) from e


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
