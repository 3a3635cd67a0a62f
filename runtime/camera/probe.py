"""Why a network camera could not be opened, as its port shows: it refuses, is silent, talks nonsense, or wants a password.

One short conversation of our own, because the decoder's library tells no causes apart. User name and password are sent only
where they are asked for, and only once, in the form the camera asks for (RFC 7617, RFC 2069 and 7616 with MD5).
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import time
from urllib.parse import SplitResult, unquote, urlsplit

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
            connection.sendall(_request(scheme, parts, port))
            answer = _answer(connection, end_mono)
            if scheme == "rtsp" and b" 401 " in answer[:20] and parts.username:
                connection.sendall(_request(scheme, parts, port, _authorization(answer, parts, port)))
                answer = _answer(connection, end_mono)
            return _judge(scheme, answer, host, port)
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


def _target(parts: SplitResult, port: int) -> str:
    path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    return f"rtsp://{parts.hostname}:{port}{path}" if parts.scheme.lower() == "rtsp" else path


def _request(scheme: str, parts: SplitResult, port: int, authorization: str = "") -> bytes:
    target = _target(parts, port)
    if scheme == "rtsp":
        number = 2 if authorization else 1
        head = (
            f"DESCRIBE {target} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{authorization}\r\n"
        )
    else:
        given = _basic(parts) if parts.username else ""
        head = f"GET {target} HTTP/1.0\r\nHost: {parts.hostname}\r\n{given}\r\n"
    return head.encode("ascii", "ignore")


def _authorization(challenge: bytes, parts: SplitResult, port: int) -> str:
    """The header line that answers the challenge; Basic where no digest is asked for."""
    text = challenge.decode("latin-1")
    found = re.search(r"^WWW-Authenticate:\s*Digest\s+(.*)$", text, re.IGNORECASE | re.MULTILINE)
    if found is None:
        return _basic(parts)
    fields = dict(re.findall(r'(\w+)="?([^",\r]*)"?', found[1]))
    realm, nonce, uri = fields.get("realm", ""), fields.get("nonce", ""), _target(parts, port)
    user, word = unquote(parts.username or ""), unquote(parts.password or "")
    secret = _md5(f"{_md5(f'{user}:{realm}:{word}')}:{nonce}:{_md5(f'DESCRIBE:{uri}')}")
    return (
        f'Authorization: Digest username="{user}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
        f'response="{secret}"\r\n'
    )


def _basic(parts: SplitResult) -> str:
    both = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Authorization: Basic {base64.b64encode(both.encode()).decode()}\r\n"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _answer(connection: socket.socket, end_mono: float) -> bytes:
    """The answer's head, or what of it comes in time."""
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
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
