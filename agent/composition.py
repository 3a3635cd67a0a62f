"""The parts of an agent made and wired to each other. Nothing is started here: `agent.daemon` starts and ends them."""

from __future__ import annotations

import asyncio
import importlib.metadata
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from agent.admission import LiveAdmission
from agent.backoff import Backoff
from agent.bench import Bench
from agent.child import Launcher, ModuleLauncher
from agent.clock import Clock, unique_id
from agent.commands import Commands
from agent.config import Config
from agent.device import Device
from agent.diagnostics import Diagnostics
from agent.doctor.examination import report
from agent.farewell import Farewell
from agent.filming import Filming, open_filming
from agent.health.host import HostFigures
from agent.health.nvidia import Gpus, best_capability
from agent.health.report import HealthReport
from agent.health.strain import Strain
from agent.identity import Identity
from agent.inbox import Inbox
from agent.jury import DeviceJury
from agent.network import Network
from agent.network import network as make_network
from agent.notify import Notifier
from agent.observer import Observer
from agent.outbox import Figures as Waiting
from agent.outbox import Kind, Outbox
from agent.outgoing import Outgoing
from agent.proxy import parse as parse_proxy
from agent.relay import Relays
from agent.requests import Requests
from agent.shadow import LiveShadow
from agent.stamp import Stamp
from agent.store import Store
from agent.trust import Gate
from agent.twin import Twin
from agent.update.account import Accounts
from agent.update.contact import Contact
from agent.update.install import install
from agent.update.installed import look, python_of
from agent.update.journal import Journal
from agent.update.live import Gates, LiveGround
from agent.update.recorder import Recorder
from agent.update.releases import Releases
from agent.update.slots import Slots
from agent.update.updater import Updater
from agent.update.wishes import Deadlines
from agent.uplink import Uplink
from agent.uploads import Uploads
from agent.vault import Vault
from agent.vouch import TrustedFetcher
from wire import local
from wire.names import DeviceId, FleetId
from wire.topics import DeviceTopics

SWAP_MARGIN_S = 30.0
"""Beyond the switch itself: what ends has its time to end."""


def version() -> str:
    """The installed version."""
    try:
        return importlib.metadata.version("outrider")
    except importlib.metadata.PackageNotFoundError:
        return "0"


@dataclass(frozen=True)
class Messages:
    """What the device says, kept until it is safe."""

    topics: DeviceTopics
    outbox: Outbox
    out: Outgoing
    relays: Relays

    def keep(self, message: local.Event | local.Publication) -> asyncio.Future[bool]:
        """Commit what a pipeline hands over, to where it is to go."""
        if isinstance(message, local.Event):
            return self.out.event(message)
        return self.relays.keep(message) if message.broker else self.out.publication(message)


@dataclass(frozen=True)
class Work:
    """What runs, and how it becomes something else."""

    journal: Journal
    store: Store
    device: Device
    ground: LiveGround
    releases: Releases
    contact: Contact
    updater: Updater
    recorder: Recorder
    twin: Twin
    vault: Vault


@dataclass(frozen=True)
class Figures:
    """How it goes."""

    gpus: Gpus
    health: HealthReport
    strain: Strain


@dataclass(frozen=True)
class Parts:
    """Everything of one agent."""

    network: Network
    messages: Messages
    work: Work
    figures: Figures
    uplink: Uplink
    inbox: Inbox
    commands: Commands
    notifier: Notifier
    filming: Filming
    uploads: Uploads
    farewell: Farewell


def compose(
    config: Config,
    identity: Identity,
    clock: Clock,
    environment: Mapping[str, str],
    launcher: Launcher | None = None,
    stop: Callable[[], None] = lambda: None,
) -> Parts:
    """Make every part once. `stop` ends the agent.

    :raises AgentError, OSError: the state directory cannot be used
    """
    network = make_network(config, identity, clock)
    messages = _messages(config, identity, clock)
    work = _work(config, identity, clock, environment, launcher or ModuleLauncher(), network, messages)
    gate = Gate(identity, clock, network.vouch.state_keys)
    bench = Bench(
        lambda: work.updater.status.running, work.store, config.state_dir / "engine-cache", config.run_dir
    )
    figures = _figures(config, clock, messages, work, lambda: uplink.settling)
    requests = Requests(work.device, work.updater, work.twin, figures.health, messages.out, clock, version())
    filming = open_filming(work.device, config, clock)
    uploads = _uploads(config, identity, clock, network, filming)
    farewell = Farewell(
        config, identity.device, clock, lambda: messages.outbox.count(Kind.RESPONSE), stop, asyncio.sleep
    )
    handlers = {
        **requests.handlers(),
        **farewell.handlers(),
        **_diagnostics(config, identity, clock, environment, network, work, figures).handlers(),
        "bench": bench.run,
        "clip": filming.command,
        "doctor": lambda _arguments: report(config, clock, environment),
    }
    commands = Commands(gate.open_command, handlers, messages.out.response)
    uplink = _uplink(config, identity, clock, network, messages, work, gate, commands)
    messages.outbox.on_added = uplink.wake
    work.contact.connected = lambda: uplink.is_connected
    work.contact.by_mqtt = lambda: uplink.by_mqtt
    work.contact.by_https = network.answers
    network.reaching.on_change = uplink.move
    inbox = _inbox(config, identity, network, gate, work, uplink)
    return Parts(
        network,
        messages,
        work,
        figures,
        uplink,
        inbox,
        commands,
        Notifier(environment),
        filming,
        uploads,
        farewell,
    )


def _uploads(config: Config, identity: Identity, clock: Clock, network: Network, filming: Filming) -> Uploads:
    return Uploads(
        (filming.store, filming.samples),
        network.client,
        identity.url,
        identity.api_token,
        lambda: Backoff(1.0, 60.0, random.random),
        clock,
        config.limits.upload_max_bytes_s,
        filming.may_leave,
    )


def _uplink(
    config: Config,
    identity: Identity,
    clock: Clock,
    network: Network,
    messages: Messages,
    work: Work,
    gate: Gate,
    commands: Commands,
) -> Uplink:
    return Uplink(
        config,
        identity,
        clock,
        messages.topics,
        messages.outbox,
        messages.out,
        work.journal,
        work.updater,
        work.twin,
        gate,
        commands,
        network.client,
        network.trust,
        network.vouch,
        network.reaching.current,
    )


def _inbox(
    config: Config, identity: Identity, network: Network, gate: Gate, work: Work, uplink: Uplink
) -> Inbox:
    return Inbox(
        config.state_dir,
        identity,
        network.vouch,
        gate,
        work.journal,
        work.store,
        uplink.offered,
        lambda reason, why: work.updater.reject(0, reason, why, ()),
    )


def _diagnostics(
    config: Config,
    identity: Identity,
    clock: Clock,
    environment: Mapping[str, str],
    network: Network,
    work: Work,
    figures: Figures,
) -> Diagnostics:
    def running() -> object:
        desired = work.updater.status.running
        return desired.to_json() if desired else None

    parts = {
        "reported.json": lambda: work.twin.reported().to_json(),
        "health.json": lambda: figures.health.read().to_json(),
        "running.json": running,
        "doctor.json": lambda: report(config, clock, environment),
    }
    secrets = [identity.api_token, identity.broker.password]
    if (proxy := parse_proxy(config.network.proxy)) is not None:
        secrets.append(proxy.password)

    def texts() -> list[str]:
        return [text for text in (*secrets, *work.vault.texts()) if text]

    return Diagnostics(network.client, config, identity, clock, parts, texts)


def _messages(config: Config, identity: Identity, clock: Clock) -> Messages:
    limits = config.limits
    topics = DeviceTopics(FleetId(identity.fleet), DeviceId(identity.device))
    outbox = Outbox(
        config.state_dir / "outbox.db",
        max_bytes=limits.outbox_bytes,
        max_age_s=limits.outbox_age_s,
        clock=clock,
    )
    relays = Relays(
        config.state_dir,
        f"{identity.fleet}.{identity.device}",
        limits,
        clock,
        lambda: Backoff(limits.reconnect_min_s, limits.reconnect_max_s, random.random),
    )
    out = Outgoing(outbox, topics, Stamp(clock, unique_id), clock, version())
    return Messages(topics, outbox, out, relays)


def _work(
    config: Config,
    identity: Identity,
    clock: Clock,
    environment: Mapping[str, str],
    launcher: Launcher,
    network: Network,
    messages: Messages,
) -> Work:
    journal = Journal(config.state_dir)
    store = Store(config.state_dir, quota_bytes=config.limits.store_bytes)
    vault = Vault(
        network.keys, identity.device, config.state_dir / "secrets", config.run_dir / "fleet-secrets"
    )
    device = Device(config, store, launcher, clock, messages.keep, vault)
    slots = Slots(config.state_dir)
    release = slots.running_digest
    base = python_of(environment)
    releases = Releases(
        slots, journal, store, install, lambda: look(base), version(), config.limits.free_space_bytes
    )
    contact = Contact()
    fetcher = TrustedFetcher(network.vouch, network.downloader)
    gates = Gates(
        DeviceJury(device, Observer(device, clock, config.state_dir), config.state_dir),
        LiveAdmission(device, store, fetcher, config.state_dir, config.limits, best_capability),
        LiveShadow(device),
    )
    ground = LiveGround(
        device, store, fetcher, config.limits, releases, contact, gates, network.reaching, journal.former
    )
    deadlines = Deadlines(
        fetch_s=config.limits.fetch_deadline_s, swap_s=config.limits.switch_deadline_s + SWAP_MARGIN_S
    )
    accounts = Accounts(config.state_dir)
    updater = Updater(journal, ground, slots, clock, deadlines, identity.device, accounts)
    network.downloader.trouble = network.vouch.trouble = updater.trouble
    twin = Twin(device, lambda: updater.status, clock, messages.out.reported, version(), lambda: release)
    device.on_change = twin.changed
    messages.out.on_reported_lost = twin.lost
    recorder = Recorder(config.state_dir / "recorder", clock)
    updater.on_outcome = recorder.outcome
    return Work(journal, store, device, ground, releases, contact, updater, recorder, twin, vault)


def _figures(
    config: Config, clock: Clock, messages: Messages, work: Work, settling: Callable[[], int]
) -> Figures:
    gpus = Gpus()

    def waiting() -> Waiting:
        """What the broker has not acknowledged yet."""
        figures = messages.outbox.figures()
        return replace(figures, rows=max(0, figures.rows - settling()))

    health = HealthReport(
        work.device,
        lambda: work.updater.status,
        waiting,
        messages.relays.figures,
        HostFigures(config.state_dir, clock.mono()),
        gpus,
        clock,
    )
    return Figures(gpus, health, Strain(work.device, gpus, config.limits))
