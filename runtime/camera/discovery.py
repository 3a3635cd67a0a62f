"""Cameras on the local network that speak ONVIF: one WS-Discovery probe, and who answers it (OASIS WS-Discovery 1.0 as of
2005/04, which ONVIF Core 7 prescribes). Sends no password and opens no connection."""

from __future__ import annotations

import contextlib
import select
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

MULTICAST = ("239.255.255.250", 3702)
REPEATS = 3
"""UDP loses packets; SOAP-over-UDP asks for repetition."""
REPEAT_S = 0.25
MAX_DATAGRAM_BYTES = 65536
MAX_CAMERAS = 1024
_DISCOVERY = "{http://schemas.xmlsoap.org/ws/2005/04/discovery}"
_ADDRESSING = "{http://schemas.xmlsoap.org/ws/2004/08/addressing}"
_SCOPE = "onvif://www.onvif.org/"
_PROBE = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"'
    ' xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing"'
    ' xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"'
    ' xmlns:n="http://www.onvif.org/ver10/network/wsdl">'
    "<e:Header><w:MessageID>urn:uuid:{id}</w:MessageID>"
    '<w:To e:mustUnderstand="true">urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>'
    '<w:Action e:mustUnderstand="true">http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>'
    "<e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
)


@dataclass(frozen=True)
class Found:
    """A camera that answered. `id` is its own for ever; `services` are the addresses of its device service."""

    id: str
    address: str
    name: str = ""
    hardware: str = ""
    location: str = ""
    services: tuple[str, ...] = ()


def scan(
    timeout_s: float = 3.0,
    *,
    target: tuple[str, int] = MULTICAST,
    interface: str = "",
) -> list[Found]:
    """Ask, and listen until the time is over; `interface` is the address of the network interface to ask on.

    :raises OSError: the network cannot be asked
    """
    probe_id = str(uuid.uuid4())
    request = _PROBE.replace("{id}", probe_id).encode()
    cameras: dict[str, Found] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
        if interface:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(interface))
        began_mono, sent = time.monotonic(), 0
        while (left_s := began_mono + timeout_s - time.monotonic()) > 0:
            if sent < REPEATS and time.monotonic() >= began_mono + sent * REPEAT_S:
                sock.sendto(request, target)
                sent += 1
            if not select.select([sock], [], [], min(left_s, REPEAT_S))[0]:
                continue
            # An ICMP error of one host must not end the scan of the others.
            with contextlib.suppress(ConnectionError):
                datagram, (address, _) = sock.recvfrom(MAX_DATAGRAM_BYTES)
                for found in parse(datagram, address, f"urn:uuid:{probe_id}"):
                    if len(cameras) < MAX_CAMERAS:
                        cameras.setdefault(found.id, found)
    return sorted(cameras.values(), key=lambda found: (found.address, found.id))


def parse(datagram: bytes, address: str, relates_to: str) -> list[Found]:
    """The cameras an answer names; none where it is no answer to this probe."""
    if b"<!DOCTYPE" in datagram or b"<!ENTITY" in datagram:
        return []
    try:
        root = ElementTree.fromstring(datagram)
    except (ElementTree.ParseError, ValueError, LookupError):
        return []
    if (root.findtext(f".//{_ADDRESSING}RelatesTo") or "").strip() != relates_to:
        return []
    return [_found(match, address) for match in root.iter(f"{_DISCOVERY}ProbeMatch")]


def _found(match: ElementTree.Element, address: str) -> Found:
    services = tuple((match.findtext(f"{_DISCOVERY}XAddrs") or "").split())
    scopes = (match.findtext(f"{_DISCOVERY}Scopes") or "").split()
    own = (match.findtext(f"{_ADDRESSING}EndpointReference/{_ADDRESSING}Address") or "").strip()
    host = next((host for service in services if (host := _host(service))), address)
    return Found(
        own or host,
        host,
        _scope(scopes, "name/"),
        _scope(scopes, "hardware/"),
        _scope(scopes, "location/"),
        services,
    )


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _scope(scopes: Sequence[str], kind: str) -> str:
    prefix = _SCOPE + kind
    text = next((unquote(scope[len(prefix) :]) for scope in scopes if scope.startswith(prefix)), "")
    # It goes to a terminal: a camera's name must not move the cursor.
    return "".join(c if c.isprintable() else "?" for c in text)[:80]
