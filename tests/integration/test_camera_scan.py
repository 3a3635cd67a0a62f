"""Discovery against a responder on the loopback address, and answers that are none."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.camera.discovery import parse, scan

ANSWER = """<?xml version="1.0" encoding="UTF-8"?>
<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing"
 xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery"><s:Header><a:RelatesTo>{to}</a:RelatesTo></s:Header><s:Body>
<d:ProbeMatches><d:ProbeMatch><a:EndpointReference><a:Address>urn:uuid:{number}</a:Address></a:EndpointReference>
<d:Types>dn:NetworkVideoTransmitter</d:Types><d:Scopes>onvif://www.onvif.org/name/Yard%20{number}
 onvif://www.onvif.org/hardware/X1 onvif://www.onvif.org/location/gate%1b[2J</d:Scopes>
<d:XAddrs>http://192.0.2.{number}/onvif/device_service</d:XAddrs></d:ProbeMatch></d:ProbeMatches></s:Body></s:Envelope>"""


@pytest.fixture
def responder() -> Iterator[int]:
    """Two cameras that answer every probe, among nonsense and an answer to somebody else's."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def answer() -> None:
        while True:
            request, client = sock.recvfrom(65536)
            if request == b"end":
                return
            found = re.search(rb"<w:MessageID>(.*?)</w:MessageID>", request)
            assert found is not None
            assert b"NetworkVideoTransmitter" in request
            sock.sendto(b"\x00\xff nonsense", client)
            sock.sendto(ANSWER.format(to="urn:uuid:other", number=9).encode(), client)
            for number in (2, 1):
                sock.sendto(ANSWER.format(to=found[1].decode(), number=number).encode(), client)

    thread = threading.Thread(target=answer)
    thread.start()
    port: int = sock.getsockname()[1]
    yield port
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"end", ("127.0.0.1", port))
    thread.join(10)
    sock.close()


def test_every_camera_that_answers_is_listed_once(responder: int) -> None:
    cameras = scan(1.0, target=("127.0.0.1", responder))
    assert [camera.address for camera in cameras] == ["192.0.2.1", "192.0.2.2"]
    first = cameras[0]
    assert (first.id, first.name, first.hardware) == ("urn:uuid:1", "Yard 1", "X1")
    assert first.location == "gate?[2J", "a name cannot move the cursor of a terminal"
    assert first.services == ("http://192.0.2.1/onvif/device_service",)


def test_the_command_prints_them(responder: int) -> None:
    command = [sys.executable, "-m", "outrider", "camera", "scan", "--timeout", "1", "--json"]
    done = subprocess.run(
        [*command, "--target", f"127.0.0.1:{responder}"], capture_output=True, text=True, timeout=60
    )
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["Yard 1", "Yard 2"]


def test_an_answer_with_entities_is_none() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + ANSWER.format(to="urn:uuid:1", number=1).encode()
    assert parse(bomb, "192.0.2.1", "urn:uuid:1") == []


@given(st.binary(max_size=300))
def test_no_datagram_breaks_the_scan(datagram: bytes) -> None:
    assert parse(datagram, "192.0.2.1", "urn:uuid:1") == []
