"""The network's part: names, the broker, the control plane, network cameras. Every look has a deadline; nothing is sent but hellos."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from urllib.parse import urlsplit

import httpx

from wire.finding import FAULT, OK, WARNING, Finding
from wire.source import Kind, kind_of

LOOK_S = 5.0
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935, "mqtt": 1883, "mqtts": 8883}
UNREACHABLE = "check cable, router, firewall"

Resolve = Callable[[str], Awaitable[object]]


async def resolve(host: str) -> object:
    """:raises OSError: the name is not known"""
    return await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)


async def names(hosts: Iterable[str], look_up: Resolve = resolve, look_s: float = LOOK_S) -> Finding:
    """Whether the names of control plane and broker are known."""
    wanted = sorted(set(hosts))
    failures = []
    for host in wanted:
        try:
            await asyncio.wait_for(look_up(host), look_s)
        except asyncio.TimeoutError:
            failures.append(f"{host}: no answer within {look_s:g} s")
        except OSError as e:
            failures.append(f"{host}: {e.strerror or e}")
    if failures:
        return Finding(
            "DNS", FAULT, "; ".join(failures), "check resolv.conf and the name servers; an address in place of a name needs none"
        )  # fmt: skip
    return Finding("DNS", OK, f"knows {', '.join(wanted)}" if wanted else "nothing to look up")


async def broker(host: str, port: int, context: ssl.SSLContext | None, look_s: float = LOOK_S) -> Finding:
    """A connection, with TLS and the device's certificate where the broker has TLS."""
    where = f"{host}:{port}"
    try:
        await asyncio.wait_for(_hello(host, port, context), look_s)
    except asyncio.TimeoutError:
        return Finding("broker", FAULT, f"{where} does not answer within {look_s:g} s", UNREACHABLE)
    except ssl.SSLCertVerificationError as e:
        return Finding(
            "broker", FAULT, f"{where} is not who it should be: {e.verify_message}", "is it another fleet's? enrol again"
        )  # fmt: skip
    except ssl.SSLError as e:
        return Finding(
            "broker",
            FAULT,
            f"{where}: no TLS: {e.reason or e}",
            "is the port right? is the certificate revoked?",
        )
    except OSError as e:
        return Finding("broker", FAULT, f"{where} cannot be reached: {e.strerror or e}", UNREACHABLE)
    return Finding("broker", OK, f"{where} answers" + (" with TLS" if context else ""))


async def _hello(host: str, port: int, context: ssl.SSLContext | None) -> None:
    _, writer = await asyncio.open_connection(host, port, ssl=context)
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


async def control_plane(client: httpx.AsyncClient, url: str, look_s: float = LOOK_S) -> Finding:
    """That it answers, and knows this device."""
    name = "control plane"
    try:
        answer = await client.get(f"{url}/api/v1/device/desired", timeout=look_s)
    except httpx.HTTPError as e:
        return Finding(name, FAULT, f"{url} does not answer: {e or type(e).__name__}", UNREACHABLE)
    if answer.status_code in (401, 403):
        return Finding(
            name, FAULT, f"{url} does not accept this device ({answer.status_code})", "is it retired or revoked? is the clock right?"
        )  # fmt: skip
    if answer.status_code >= 500:
        return Finding(name, WARNING, f"{url} answers {answer.status_code}", "see the control plane's log")
    return Finding(name, OK, f"{url} answers")


async def cameras(sources: Mapping[str, str], look_s: float = LOOK_S) -> Finding:
    """That the network cameras of the running state take a connection. `sources`: camera → source; no password is shown."""
    name = "cameras"
    wanted = {camera: found for camera, text in sources.items() if (found := _address(text)) is not None}
    if not wanted:
        return Finding(name, OK, f"{len(sources)} in the running state, none on the network")
    outcomes = await asyncio.gather(*(_reached(*found, look_s) for found in wanted.values()))
    silent = [
        f"{camera} at {found[0]}:{found[1]} ({why})"
        for (camera, found), why in zip(wanted.items(), outcomes, strict=True)
        if why
    ]
    if silent:
        state = FAULT if len(silent) == len(wanted) else WARNING
        return Finding(name, state, f"{len(silent)} of {len(wanted)} silent: {', '.join(silent)}", f"{UNREACHABLE}, the camera's power")  # fmt: skip
    return Finding(name, OK, f"{len(wanted)} of {len(wanted)} take a connection")


def _address(source: str) -> tuple[str, int] | None:
    if kind_of(source) is not Kind.STREAM:
        return None
    parts = urlsplit(source.removeprefix("snapshot+"))
    port = parts.port or PORTS.get(parts.scheme)
    return (parts.hostname, port) if parts.hostname and port else None


async def _reached(host: str, port: int, look_s: float) -> str:
    try:
        await asyncio.wait_for(_hello(host, port, None), look_s)
    except asyncio.TimeoutError:
        return f"no answer within {look_s:g} s"
    except OSError as e:
        return e.strerror or type(e).__name__
    return ""
