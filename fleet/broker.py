"""The broker: mosquitto as a supervised child, amqtt where there is none, or one that runs elsewhere.

Owns the child process and the files it reads. A broker that dies is started again on the same port with back-off; it dies
with the control plane.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet import accounts, children, mosquitto
from fleet.clock import Clock
from fleet.config import Broker as BrokerConfig
from fleet.confined import Bounds
from fleet.errors import Misconfigured, Transient
from fleet.files import write_atomic
from fleet.ports import free_port
from fleet.references import resolve
from wire.names import FleetId
from wire.reasons import Reason

log = logging.getLogger(__name__)

START_DEADLINE_S = 15.0
BACKOFF_FIRST_S = 0.2
BACKOFF_MOST_S = 10.0
GOOD_RUN_S = 30.0
"""A broker that ran this long starts the back-off anew."""
POLL_S = 0.05
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where a program of this machine reaches what listens on all addresses."""


@dataclass(frozen=True)
class Endpoint:
    """Where the broker is and how the control plane logs in. `v5`: it speaks MQTT 5. `mutual`: devices and control plane show
    certificates; then `authority` is what to trust and `certificate` what to show. `password_port` is where others log in,
    `control_port` where the control plane does, if elsewhere. `websocket` is a URL that devices are told, `websocket_port` the port where the
    broker speaks it."""

    kind: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    tls: bool = False
    v5: bool = True
    mutual: bool = False
    authority: Path | None = None
    certificate: Path | None = None
    password_port: int | None = None
    control_port: int | None = None
    websocket: str = ""
    websocket_port: int | None = None


def choose_kind(config: BrokerConfig, program: str | None) -> str:
    """:raises Misconfigured: mosquitto is asked for and not there"""
    if config.kind == "mosquitto" and program is None:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            "broker.kind is mosquitto, which is not installed; apt-get install mosquitto",
        )
    if config.kind != "auto":
        return config.kind
    return "mosquitto" if program else "amqtt"


def choose_port(host: str, port: int, kept: Path) -> int:
    """The configured port; for 0 the free one chosen the first time, because enrolled devices remember it."""
    if port:
        return port
    try:
        port = int(kept.read_text())
    except (FileNotFoundError, ValueError):
        port = free_port(host)
        write_atomic(kept, str(port).encode())
    return port


class Broker:
    """A broker in use. `accounts_of` gives user → password hash of every device."""

    def __init__(
        self,
        endpoint: Endpoint,
        folder: Path,
        fleet: FleetId,
        accounts_of: Callable[[], Mapping[str, str]],
        command: Sequence[str] | None,
        clock: Clock,
        readers: Mapping[str, str] | None = None,
        revocations: Callable[[], tuple[bytes, Sequence[str]]] | None = None,
    ) -> None:
        """`readers` maps user names to passwords; `revocations` gives the list of certificates, PEM, and the devices."""
        self._revocations = revocations
        self.endpoint = endpoint
        self._readers = readers or {}
        self._folder = folder
        self._fleet = fleet
        self._accounts_of = accounts_of
        self._command = command
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Lock()
        self._salt = os.urandom(accounts.SALT_BYTES)
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Start the child and wait until it accepts connections.

        :raises Transient: it does not within the deadline
        """
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        await asyncio.to_thread(self._write_files)
        if self._command is None:
            return
        if await self._accepts():
            raise Transient(
                Reason.BROKER_UNAVAILABLE,
                f"port {self.endpoint.port} of {self.endpoint.host} is taken by another program; "
                "choose one with --broker-port or broker.port in fleet.toml",
            )
        self._task = asyncio.create_task(self._supervise(self._command), name="broker")
        await self._wait_ready()

    async def stop(self) -> None:
        """End the child; nothing of it is left when this returns."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def reload(self) -> None:
        """Let the broker know accounts, revocations and its own certificate as they are now."""
        async with self._changed:
            await asyncio.to_thread(self._write_files)
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(signal.SIGHUP)

    def _write_files(self) -> None:
        revoked: Sequence[str] = ()
        if self._revocations is not None:
            content, revoked = self._revocations()
            write_atomic(self._folder / "revoked.pem", content, 0o600)
        rules = accounts.acl_file(self._fleet, self._readers, revoked)
        write_atomic(self._folder / "acl", rules, 0o600)
        everyone = {
            accounts.CONTROL_USER: accounts.password_hash(self.endpoint.password, self._salt),
            **{name: accounts.password_hash(word, self._salt) for name, word in self._readers.items()},
            **self._accounts_of(),
        }
        write_atomic(self._folder / "passwords", accounts.password_file(everyone), 0o600)

    async def _wait_ready(self) -> None:
        deadline_mono = self._clock.mono() + START_DEADLINE_S
        while not await self._accepts():
            if self._clock.mono() > deadline_mono:
                await self.stop()
                raise Transient(
                    Reason.BROKER_UNAVAILABLE, f"the broker did not start within {START_DEADLINE_S:.0f} s"
                )
            await asyncio.sleep(POLL_S)

    async def _accepts(self) -> bool:
        try:
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(self.endpoint.host, self.endpoint.port), 1.0
            )
        except (OSError, asyncio.TimeoutError):
            return False
        writer.close()
        return True

    async def _supervise(self, command: Sequence[str]) -> None:
        delay_s = BACKOFF_FIRST_S
        while True:
            started_mono = self._clock.mono()
            status = await self._run(command)
            if self._clock.mono() - started_mono > GOOD_RUN_S:
                delay_s = BACKOFF_FIRST_S
            self.restarts += 1
            log.warning("broker ended", extra={"status": status, "retry_s": delay_s})
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, BACKOFF_MOST_S)

    async def _run(self, command: Sequence[str]) -> int:
        process = await asyncio.create_subprocess_exec(
            *Bounds().command(command, signal.SIGTERM),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._process = process
        assert process.stderr is not None
        try:
            while line := await process.stderr.readline():
                log.warning("broker says: %s", line.decode(errors="replace").strip()[:500])
            return await process.wait()
        finally:
            await children.end(process)


@dataclass(frozen=True)
class Surroundings:
    """What a broker is made of besides its configuration. `accounts_of` gives user → password hash of every device; `control_certificate`
    is what the control plane shows; `revocations` gives the list of certificates, PEM, and the devices. `tls` is for one with TLS."""

    folder: Path
    fleet: FleetId
    control_password: str
    accounts_of: Callable[[], Mapping[str, str]]
    clock: Clock
    tls: mosquitto.Tls | None = None
    control_certificate: Path | None = None
    revocations: Callable[[], tuple[bytes, Sequence[str]]] | None = None


def make_broker(config: BrokerConfig, around: Surroundings) -> Broker:
    """The broker the configuration asks for, not yet started.

    :raises Misconfigured: it cannot be had
    """
    program = mosquitto.find()
    kind = choose_kind(config, program)
    around.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    make = {"external": _external, "mosquitto": _mosquitto, "amqtt": _amqtt}[kind]
    endpoint, command = make(config, around)
    readers = {accounts.READER_PREFIX + name: password for name, password in config.readers.items()}
    return Broker(
        endpoint,
        around.folder,
        around.fleet,
        around.accounts_of,
        command,
        around.clock,
        readers,
        around.revocations,
    )


def _external(config: BrokerConfig, around: Surroundings) -> tuple[Endpoint, list[str] | None]:
    password = resolve(config.password, os.environ, "broker.password") or around.control_password
    endpoint = Endpoint(
        "external",
        config.host,
        config.port,
        config.username or accounts.CONTROL_USER,
        password,
        tls=config.tls,
        mutual=config.tls and config.certificates,
        authority=Path(config.authority) if config.authority else _authority_of(config, around),
        certificate=around.control_certificate if config.tls and config.certificates else None,
        control_port=config.control_port,
        websocket=config.websocket,
    )
    return endpoint, None


def _authority_of(config: BrokerConfig, around: Surroundings) -> Path | None:
    """Where the external broker judges our certificates it shows one of our authority too, unless another is named."""
    return around.tls.authority if config.tls and config.certificates and around.tls else None


def _mosquitto(config: BrokerConfig, around: Surroundings) -> tuple[Endpoint, list[str] | None]:
    folder, used = around.folder, around.tls if config.tls else None

    def port(wanted: int | None, kept: str) -> int | None:
        return None if wanted is None else choose_port(config.host, wanted, folder / kept)

    listeners = mosquitto.Listeners(
        config.host,
        choose_port(config.host, config.port, folder / "port"),
        port(config.password_port if used else None, "password-port"),
        config.password_tls,
        port(config.websocket_port, "websocket-port"),
    )
    write_atomic(folder / "mosquitto.conf", mosquitto.configuration(folder, listeners, used), 0o600)
    endpoint = Endpoint(
        "mosquitto",
        WILDCARDS.get(config.host, config.host),
        listeners.port,
        accounts.CONTROL_USER,
        around.control_password,
        tls=used is not None,
        mutual=used is not None,
        authority=used.authority if used else None,
        certificate=around.control_certificate if used else None,
        password_port=listeners.password_port,
        websocket=config.websocket,
        websocket_port=listeners.websocket_port,
    )
    program = mosquitto.find()
    assert program is not None
    return endpoint, [program, "-c", str(folder / "mosquitto.conf")]


def _amqtt(config: BrokerConfig, around: Surroundings) -> tuple[Endpoint, list[str] | None]:
    log.warning(
        "mosquitto is not installed: the broker is amqtt, which speaks MQTT 3.1.1 only, keeps nothing across a "
        "restart, has no TLS and collapses past about 1,000 devices. It is for the demo; install mosquitto for "
        "anything else"
    )
    port = choose_port(config.host, config.port, around.folder / "port")
    settings = {
        "host": config.host,
        "port": port,
        "fleet": around.fleet,
        "passwords": str(around.folder / "passwords"),
    }
    host = WILDCARDS.get(config.host, config.host)
    endpoint = Endpoint("amqtt", host, port, accounts.CONTROL_USER, around.control_password, v5=False)
    return endpoint, [sys.executable, "-m", "fleet.broker_amqtt", json.dumps(settings)]
