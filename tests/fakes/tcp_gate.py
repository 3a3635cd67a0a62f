"""A TCP relay on the loopback address that a test shuts: it refuses, or it swallows and says nothing, as a half-open connection does."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import Enum


class Way(Enum):
    OPEN = "passes everything on"
    REFUSE = "closes connections, old and new"
    SWALLOW = "takes what comes, passes nothing on, answers nothing"


class TcpGate:
    """Listens on `port` for a server on another; `turn` changes the way, connections that are open included."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._way = Way.OPEN
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, name="gate", daemon=True).start()

    def turn(self, way: Way) -> None:
        """From swallowing nothing comes back to life: such connections are closed when the way is another."""
        with self._lock:
            before, self._way = self._way, way
        if way is Way.REFUSE or before is Way.SWALLOW:
            self._end_all()

    def close(self) -> None:
        self.turn(Way.REFUSE)
        self._listener.close()

    def _end_all(self) -> None:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._way is Way.REFUSE:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), 5.0)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._pairs.append((client, server))
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, target), name="gate", daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._way is Way.OPEN:
                    target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
