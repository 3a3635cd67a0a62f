"""A control plane as a process: one line when it is ready, ended cleanly by SIGTERM or SIGINT, leaving no child."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import uvicorn
from fastapi import FastAPI

from fleet import tls
from fleet.app import make_app
from fleet.config import Config, DataDir, Http, load
from fleet.errors import Misconfigured, Taken
from fleet.files import write_atomic
from fleet.plane import Plane, Seams
from wire.reasons import Reason

SWITCH_S = 0.0002
"""How long a thread keeps the interpreter. The MQTT client gives it away several times a message, and waits so long for it each
time while the ingest computes."""
GRACEFUL_S = 5
BACKLOG = 2048
KEEP_ALIVE_S = 30


class _Server(uvicorn.Server):  # type: ignore[misc]
    """Signals are the process's business, not the web server's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def configured(root: Path, http: Http | None, broker_port: int | None) -> tuple[DataDir, Config]:
    """The configuration of the directory with what the command line says instead.

    :raises Misconfigured: there is none, or it has problems
    """
    data = DataDir(root)
    config = load(data)
    if http is not None:
        config = config.model_copy(update={"http": http})
    if broker_port is not None:
        broker = config.broker.model_copy(update={"port": broker_port})
        config = config.model_copy(update={"broker": broker})
    return data, config


async def serve(data: DataDir, config: Config, seams: Seams | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    :raises FleetError: it cannot start; the message says why and what to do
    """
    sys.setswitchinterval(SWITCH_S)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _only_one(data), _listening(config.http) as listener:
        plane = Plane(data, config, seams)
        async with plane:
            app = make_app(plane)
            async with _console(app, plane):
                server = _Server(_web(app, plane))
                serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
                try:
                    await _run(server, serving, stop, plane, listener)
                finally:
                    _tell_systemd("STOPPING=1")
                    data.serve.unlink(missing_ok=True)
                    plane.streams.end()
                    server.should_exit = True
                    await asyncio.gather(serving, return_exceptions=True)


def _console(app: FastAPI, plane: Plane) -> contextlib.AbstractAsyncContextManager[Any]:
    """The web console, where it is wanted; its libraries are imported only then."""
    if not plane.config.console.enabled:
        return contextlib.nullcontext()
    from fleet.console.install import install

    return install(app, plane)


def _web(app: FastAPI, plane: Plane) -> uvicorn.Config:
    """The web server's settings; its certificate is read again when the control plane has made a new one.

    :raises Misconfigured: a given certificate cannot be used
    """
    secure = plane.config.http.tls != "off"
    config = uvicorn.Config(
        app,
        http=tls.PeerProtocol if secure else "auto",
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACEFUL_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    if secure:
        context = tls.server_context(plane.data, plane.config)
        plane.on_new_certificate = lambda: tls.load_server_certificate(context, plane.data, plane.config)
        config.load()
        config.ssl = context
    return config


async def _run(
    server: uvicorn.Server,
    serving: asyncio.Task[None],
    stop: asyncio.Event,
    plane: Plane,
    listener: socket.socket,
) -> None:
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers no event
        await asyncio.sleep(0.01)
    _announce(plane, listener)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((stopped, serving), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


def _announce(plane: Plane, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    endpoint = plane.broker.endpoint
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    told = {
        "pid": os.getpid(),
        "url": f"{'http' if plane.config.http.tls == 'off' else 'https'}://{shown}:{port}",
        "authority": str(plane.data.root_certificate) if plane.config.http.tls == "own" else "",
        "http_port": port,
        "broker": endpoint.kind,
        "broker_host": endpoint.host,
        "broker_port": endpoint.password_port or endpoint.port,
        "device_port": endpoint.port,
        "broker_pid": plane.broker.pid,
        "fleet": plane.fleet,
    }
    write_atomic(plane.data.serve, json.dumps(told).encode())
    console = f", console at {told['url']}/" if plane.config.console.enabled else ""
    print(
        f"control plane of fleet {plane.fleet} at {told['url']}, {endpoint.kind} at {endpoint.host}:{endpoint.port}{console}",
        flush=True,
    )
    _tell_systemd(f"READY=1\nSTATUS=fleet {plane.fleet} at {told['url']}")


def _tell_systemd(message: str) -> None:
    """sd_notify(3); nothing where no systemd listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notified,
        contextlib.suppress(OSError),
    ):
        notified.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)


@contextlib.contextmanager
def _only_one(data: DataDir) -> Iterator[IO[str]]:
    """One process a data directory; the lock goes with the process, however it ends."""
    with data.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            raise Taken(
                Reason.NAME_TAKEN, f"another process serves {data.root} already; see {data.serve}"
            ) from e
        yield file


@contextlib.contextmanager
def _listening(http: Http) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((http.host, http.port))
        except OSError as e:
            raise Misconfigured(
                Reason.CONFIG_INVALID,
                f"cannot listen on {http.host}:{http.port}: {e.strerror}; choose another with --port",
            ) from e
        listener.listen(BACKLOG)
        listener.setblocking(False)
        yield listener
