"""The broker: mosquitto as a supervised child, amqtt where there is none, or one that runs elsewhere.

Owns the child process and the files it reads. A broker that dies is started again on the same port with back-off; it dies
with the control plane.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pwd
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleet import accounts
from fleet.clock import Clock
from fleet.config import Broker as BrokerConfig
from fleet.confined import Bounds
from fleet.errors import Misconfigured, Transient
from fleet.files import write_atomic
from fleet.ports import free_port
from wire.envelope import MAX_BYTES
from wire.names import FleetId
from wire.reasons import Reason

log = logging.getLogger(__name__)

START_DEADLINE_S = 15.0
STOP_DEADLINE_S = 5.0
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
    certificates; then `authority` is what to trust and `certificate` what to show. `password_port` is where others log in."""

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


def find_mosquitto() -> str | None:
    """The broker's program; Debian puts it where the PATH of users does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/sbin")


def choose_kind(config: BrokerConfig, mosquitto: str | None) -> str:
    """:raises Misconfigured: mosquitto is asked for and not there"""
    if config.kind == "mosquitto" and mosquitto is None:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            "broker.kind is mosquitto, which is not installed; apt-get install mosquitto",
        )
    if config.kind != "auto":
        return config.kind
    return "mosquitto" if mosquitto else "amqtt"


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


@dataclass(frozen=True)
class Tls:
    """What mosquitto needs for TLS: the authority to trust, its own certificate with key."""

    authority: Path
    certificate: Path


def mosquitto_config(
    folder: Path, host: str, port: int, tls: Tls | None = None, password: tuple[int, bool] | None = None
) -> bytes:
    """The configuration file. What is written of the session store is at most 30 s old; retained desired states are
    published again after each reconnect, and events wait in the devices until they are acknowledged.

    With `tls` clients of `port` show certificates. `password` is the port of a second listener with passwords, and whether
    it has TLS.
    """
    user = pwd.getpwuid(os.geteuid()).pw_name
    lines = [
        "per_listener_settings true",
        f"user {user}",  # a change of user would lose the signal that ends it with its parent
        "persistence true",
        f"persistence_location {folder}/",
        "persistence_file sessions.db",
        "autosave_interval 30",
        "persistent_client_expiration 30d",
        f"max_packet_size {MAX_BYTES + 4096}",
        "max_inflight_messages 100",
        "max_queued_messages 100000",
        "max_queued_bytes 268435456",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "connection_messages false",
    ]
    if tls is None:
        lines += [*_listener(folder, host, port), f"password_file {folder / 'passwords'}"]
    else:
        lines += _listener(folder, host, port) + _listener_tls(tls)
        lines += [
            "require_certificate true",
            "use_identity_as_username true",
            f"crlfile {folder / 'revoked.pem'}",
        ]
    if tls is not None and password is not None:
        lines += [*_listener(folder, host, password[0]), f"password_file {folder / 'passwords'}"]
        lines += _listener_tls(tls) if password[1] else []
    return ("\n".join(lines) + "\n").encode()


def _listener(folder: Path, host: str, port: int) -> list[str]:
    return [
        f"listener {port} {host}",
        "allow_anonymous false",
        f"acl_file {folder / 'acl'}",
        "use_username_as_clientid true",  # or a device could take over another one's session by its client id
    ]


def _listener_tls(tls: Tls) -> list[str]:
    return [
        f"cafile {tls.authority}",
        f"certfile {tls.certificate}",
        f"keyfile {tls.certificate}",
        "tls_version tlsv1.2",
    ]


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
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_DEADLINE_S)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()


def make_broker(
    config: BrokerConfig,
    folder: Path,
    fleet: FleetId,
    control_password: str,
    accounts_of: Callable[[], Mapping[str, str]],
    clock: Clock,
    tls: Tls | None = None,
    control_certificate: Path | None = None,
    revocations: Callable[[], tuple[bytes, Sequence[str]]] | None = None,
) -> Broker:
    """The broker the configuration asks for, not yet started. `tls` and `control_certificate` are for one with TLS.

    :raises Misconfigured: it cannot be had
    """
    mosquitto = find_mosquitto()
    kind = choose_kind(config, mosquitto)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    readers = {accounts.READER_PREFIX + name: password for name, password in config.readers.items()}
    if kind == "external":
        login = (config.username or accounts.CONTROL_USER, config.password or control_password)
        endpoint = Endpoint(kind, config.host, config.port, *login, tls=config.tls)
        return Broker(endpoint, folder, fleet, accounts_of, None, clock, readers, revocations)
    port = choose_port(config.host, config.port, folder / "port")
    host = WILDCARDS.get(config.host, config.host)
    login = (accounts.CONTROL_USER, control_password)
    if kind == "mosquitto":
        assert mosquitto is not None
        used = tls if config.tls else None
        password = None
        if used and config.password_port is not None:
            chosen = choose_port(config.host, config.password_port, folder / "password-port")
            password = (chosen, config.password_tls)
        content = mosquitto_config(folder, config.host, port, used, password)
        write_atomic(folder / "mosquitto.conf", content, 0o600)
        command = [mosquitto, "-c", str(folder / "mosquitto.conf")]
        endpoint = Endpoint(kind, host, port, *login)
        if used:
            endpoint = Endpoint(
                kind,
                host,
                port,
                *login,
                tls=True,
                mutual=True,
                authority=used.authority,
                certificate=control_certificate,
                password_port=password[0] if password else None,
            )
    else:
        log.warning(
            "mosquitto is not installed: the broker is amqtt, which speaks MQTT 3.1.1 only, keeps nothing across a "
            "restart, has no TLS and collapses past about 1,000 devices. It is for the demo; install mosquitto for "
            "anything else"
        )
        settings = {
            "host": config.host,
            "port": port,
            "fleet": fleet,
            "passwords": str(folder / "passwords"),
        }
        command = [sys.executable, "-m", "fleet.broker_amqtt", json.dumps(settings)]
        endpoint = Endpoint(kind, host, port, *login, v5=False)
    return Broker(endpoint, folder, fleet, accounts_of, command, clock, readers, revocations)
