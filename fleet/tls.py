"""TLS of the control plane: its own certificate kept fresh, the HTTPS server's context, and who is at the other end."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
from uvicorn.protocols.http.h11_impl import H11Protocol

from fleet import accounts, authority
from fleet.authority import Authority
from fleet.broker import WILDCARDS
from fleet.config import Config, DataDir
from fleet.errors import Misconfigured
from fleet.files import write_atomic
from wire.reasons import Reason

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
PEER = "outrider.peer_certificate"
"""Where a request's scope holds the peer's verified certificate (DER), if it has shown one."""


def refresh(data: DataDir, config: Config, issuer: Authority, at_wall: float) -> bool:
    """Make the control plane's certificates anew where they are missing, two thirds over, or for other hosts; whether one was."""
    hosts = server_hosts(config)
    server_fits = _fits(data.server_certificate, at_wall) and authority.hosts_of(
        data.server_certificate.read_bytes()
    ) >= set(hosts)
    if not server_fits:
        write_atomic(data.server_certificate, issuer.own("Outrider control plane", hosts), 0o600)
    client_fits = _fits(data.control_certificate, at_wall)
    if not client_fits:
        write_atomic(data.control_certificate, issuer.own(accounts.CONTROL_USER, ()), 0o600)
    return not (server_fits and client_fits)


def server_hosts(config: Config) -> list[str]:
    """The names and addresses by which this machine may be called; every address of it where it listens on all."""
    listens = {config.http.host, config.broker.host}
    hosts = {"localhost", "127.0.0.1", "::1", socket.gethostname(), *config.http.names}
    hosts |= {host for host in (*listens, config.broker.advertise_host) if host not in WILDCARDS}
    if listens & set(WILDCARDS):
        families = (socket.AF_INET, socket.AF_INET6)
        addresses = [address for each in psutil.net_if_addrs().values() for address in each]
        hosts |= {address.address.partition("%")[0] for address in addresses if address.family in families}
    return sorted(host for host in hosts if authority.is_host(host))


def server_context(data: DataDir, config: Config) -> ssl.SSLContext:
    """The HTTPS server's: a client may show a certificate of our authority, and need not.

    :raises Misconfigured: the given certificate or key cannot be used
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(data.root_certificate)
    context.verify_mode = ssl.CERT_OPTIONAL
    load_server_certificate(context, data, config)
    return context


def load_server_certificate(context: ssl.SSLContext, data: DataDir, config: Config) -> None:
    """Let new connections of the context see the certificate as it is now.

    :raises Misconfigured: it cannot be used
    """
    own = config.http.tls == "own"
    certificate = data.server_certificate if own else Path(config.http.certificate)
    key = None if own or not config.http.key else Path(config.http.key)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as e:
        raise Misconfigured(
            Reason.CONFIG_INVALID,
            f"http.certificate {certificate} or http.key cannot be used: {e}; expected PEM files",
        ) from e


def client_context(root: Path, certificate: Path | None) -> ssl.SSLContext:
    """For a client that trusts our authority only."""
    context = ssl.create_default_context(cafile=str(root))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


class PeerProtocol(H11Protocol):  # type: ignore[misc]
    """uvicorn's HTTP/1.1 protocol, which besides tells the application the peer's certificate."""

    app: Application
    cycle: Any
    transport: Any

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der:
            self.app = _with_peer(self.app, der)

    def shutdown(self) -> None:
        """End an idle connection at once: TLS would wait for a client that has no cause to answer."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            self.cycle.keep_alive = False


def _with_peer(application: Application, der: bytes) -> Application:
    async def told(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await application({**scope, PEER: der}, receive, send)

    return told


def _fits(path: Path, at_wall: float) -> bool:
    return path.exists() and not authority.due(path.read_bytes(), at_wall)
