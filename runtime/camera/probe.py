"""Why a network camera could not be opened, as its port shows: it refuses, is silent, talks nonsense, or wants a password.

One short conversation of our own, because the decoder's library tells no causes apart. No password is ever sent.
"""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

from wire.reasons import Reason

PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443, "rtmp": 1935}
CONNECT_S = 3.0
MAX_ANSWER_BYTES = 4096

Cause = tuple[Reason, str]


def explain(url: str, deadline_s: float) -> Cause | None:
    """The reason and what to do about it; None where the port shows nothing wrong."""
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    try:
        host, port = parts.hostname, parts.port or PORTS.get(scheme)
    except ValueError:
        return Reason.CAMERA_SOURCE_INVALID, "its port is no number; correct it"
    if host is None or port is None:
        return None
    end_mono = time.monotonic() + min(deadline_s, CONNECT_S)
    try:
        with socket.create_connection((host, port), timeout=min(deadline_s, CONNECT_S)) as connection:
            if scheme not in ("rtsp", "http"):
                return None
            connection.sendall(_request(scheme, parts.hostname or "", port, parts.path or "/", parts.query))
            return _judge(scheme, _answer(connection, end_mono), host, port)
    except socket.gaierror:
        return Reason.CAMERA_UNREACHABLE, f"no address is known for {host!r}; check the name"
    except ConnectionRefusedError:
        return (
            Reason.CAMERA_UNREACHABLE,
            f"{host} refuses connections to port {port}; is the camera's service on?",
        )
    except TimeoutError:
        return Reason.CAMERA_UNREACHABLE, f"{host} does not answer; check cable, switch and power"
    except OSError as e:
        return Reason.CAMERA_UNREACHABLE, f"{host}: {e.strerror or e}"


def _request(scheme: str, host: str, port: int, path: str, query: str) -> bytes:
    target = f"{path}?{query}" if query else path
    if scheme == "rtsp":
        head = f"DESCRIBE rtsp://{host}:{port}{target} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    else:
        head = f"GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    return head.encode("ascii", "ignore")


def _answer(connection: socket.socket, end_mono: float) -> bytes:
    """The first bytes of the answer; empty where none come in time."""
    answer = b""
    while b"\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
        left_s = end_mono - time.monotonic()
        if left_s <= 0:
            break
        connection.settimeout(left_s)
        try:
            part = connection.recv(MAX_ANSWER_BYTES)
        except (TimeoutError, ConnectionError):
            break
        if not part:
            break
        answer += part
    return answer


def _judge(scheme: str, answer: bytes, host: str, port: int) -> Cause | None:
    if not answer:
        return (
            Reason.CAMERA_SILENT,
            f"port {port} of {host} accepts the connection and says nothing; restart the camera",
        )
    if not answer.startswith((b"RTSP/", b"HTTP/")):
        return (
            Reason.CAMERA_NONSENSE,
            f"port {port} of {host} does not speak {scheme.upper()}; check address and port",
        )
    status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if status in ([b"401"], [b"403"]):
        return Reason.CAMERA_PASSWORD, "it does not accept the user name or password; correct them"
    if status == [b"404"]:
        return Reason.CAMERA_UNREACHABLE, "the camera has no stream of that name; correct the path"
    return None
