"""The device API of a control plane, on the loopback address: objects with ranges, the desired state, and mishaps to order."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire import dsse
from wire.manifest import FileEntry, Manifest, digest_of

TOKEN = "device-token-of-the-tests"


class ControlPlane:
    """`objects` by digest. `cut_after_bytes`: each answer ends there, the connection with it. `status`: answered instead.
    `hide_length`: no Content-Length. `drip_bytes`, `drip_s`: so many bytes are sent at a time, with a pause after each."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, bytes] = {}
        self.root = ""
        self.hide_length = False
        self.drip_bytes: int | None = None
        self.drip_s = 0.0
        self.desired: dict[str, Any] | None = None
        self.cut_after_bytes: int | None = None
        self.cuts = 0
        self.status: int | None = None
        self.requests: list[tuple[str, str | None]] = []
        self.enrolments: list[dict[str, Any]] = []
        self.broker_port = 1883
        self.url = ""

    @property
    def state_keys(self) -> dict[str, str]:
        raw = dsse.public_bytes(self.key)
        return {dsse.key_id(raw): base64.b64encode(raw).decode()}

    def add(self, content: bytes) -> str:
        digest = digest_of(content)
        self.objects[digest] = content
        return digest

    def add_workflow(self, body: dict[str, Any]) -> str:
        return self.add(json.dumps(body).encode())

    def add_model(self, files: dict[str, bytes]) -> str:
        entries = tuple(FileEntry(path=p, sha256=self.add(c), size=len(c)) for p, c in files.items())
        return self.add(Manifest(files=entries).encode())

    @contextlib.contextmanager
    def serving(self) -> Iterator[ControlPlane]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="control plane")
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join(10)
            server.server_close()


def _handler(plane: ControlPlane) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments: Any) -> None:
            return

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            plane.enrolments.append(body)
            if body["token"] != "one-time-token":
                self._json(403, {"reason": "token-invalid", "detail": "the token is used up"})
                return
            broker = {"host": "127.0.0.1", "port": plane.broker_port, "username": "d", "password": "p"}
            answer = {"fleet": "f", "device": "d1", "api_token": TOKEN, "broker": broker}
            self._json(201, {**answer, "state_keys": plane.state_keys, "root": plane.root})

        def do_GET(self) -> None:
            self.path = self.path.partition("?")[0]
            plane.requests.append((self.path, self.headers.get("Range")))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._json(401, {})
            elif plane.status is not None:
                self._json(plane.status, {})
            elif self.path == "/api/v1/device/desired":
                if plane.desired is None:
                    self.send_response(204)
                    self.end_headers()
                else:
                    self._json(200, plane.desired)
            elif "/device/tuf/" in self.path:
                self._file(plane.metadata.get(self.path.rsplit("/", 1)[-1]))
            else:
                self._file(plane.objects.get(self.path.partition("?")[0].rsplit("/", 1)[-1]))

        def _file(self, content: bytes | None) -> None:
            if content is None:
                self._json(404, {})
                return
            asked = self.headers.get("Range")
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if start >= len(content) and asked:
                self._json(416, {})
                return
            self.send_response(206 if asked else 200)
            if not plane.hide_length:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            part = content[start:]
            if plane.cut_after_bytes is not None and len(part) > plane.cut_after_bytes:
                plane.cuts += 1
                part = part[: plane.cut_after_bytes]
                self.close_connection = True
            self._send(part)

        def _send(self, part: bytes) -> None:
            with contextlib.suppress(OSError):  # the other side may have left
                while part and plane.drip_bytes is not None:
                    self.wfile.write(part[: plane.drip_bytes])
                    part = part[plane.drip_bytes :]
                    time.sleep(plane.drip_s)
                self.wfile.write(part)

        def _json(self, status: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

    return Handler
