"""mosquitto: where its program is, and the configuration it is started with."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from wire.envelope import MAX_BYTES


def find() -> str | None:
    """The broker's program; Debian puts it where the PATH of users does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/sbin")


@dataclass(frozen=True)
class Tls:
    """What mosquitto needs for TLS: the authority to trust, its own certificate with key."""

    authority: Path
    certificate: Path


@dataclass(frozen=True)
class Listeners:
    """Where mosquitto listens: `port` for devices; `password_port` besides for who has a password, with TLS if `password_tls`;
    `websocket_port` for devices whose network lets nothing but the web through, in the same way as `port`."""

    host: str
    port: int
    password_port: int | None = None
    password_tls: bool = True
    websocket_port: int | None = None


def configuration(folder: Path, listeners: Listeners, tls: Tls | None = None) -> bytes:
    """The configuration file. What is written of the session store is at most 30 s old; retained desired states are
    published again after each reconnect, and events wait in the devices until they are acknowledged.

    With `tls` devices show certificates.
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
        "max_inflight_messages 2000",
        "max_queued_messages 100000",
        "max_queued_bytes 268435456",
        "set_tcp_nodelay true",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "connection_messages false",
    ]
    lines += _for_devices(folder, listeners.host, listeners.port, tls)
    if tls is not None and listeners.password_port is not None:
        lines += [*_listener(folder, listeners.host, listeners.password_port)]
        lines += [f"password_file {folder / 'passwords'}"]
        lines += _listener_tls(tls) if listeners.password_tls else []
    if listeners.websocket_port is not None:
        lines += _for_devices(folder, listeners.host, listeners.websocket_port, tls, "protocol websockets")
    return ("\n".join(lines) + "\n").encode()


def _for_devices(folder: Path, host: str, port: int, tls: Tls | None, *more: str) -> list[str]:
    lines = [*_listener(folder, host, port), *more]
    if tls is None:
        return [*lines, f"password_file {folder / 'passwords'}"]
    lines += _listener_tls(tls)
    return [
        *lines,
        "require_certificate true",
        "use_identity_as_username true",
        f"crlfile {folder / 'revoked.pem'}",
    ]


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
