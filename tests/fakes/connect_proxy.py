"""An HTTP proxy that knows CONNECT alone and asks for a password; it tells to where it was asked."""

from __future__ import annotations

import base64
import socket
import threading

from fleet.ports import free_port

LOGIN = ("site", "pr0xy-secret")


class ConnectProxy:
    """A context manager: serving inside the block."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refused = 0
        self._server = socket.create_server(("127.0.0.1", free_port()))
        self.port = int(self._server.getsockname()[1])
        self.url = f"http://{LOGIN[0]}:{LOGIN[1]}@127.0.0.1:{self.port}"
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> ConnectProxy:
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._sockets:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                chunk = connection.recv(4096)
                if not chunk:
                    return
                head += chunk
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
            word = base64.b64encode(":".join(LOGIN).encode()).decode().lower()
            if method != "CONNECT" or f"basic {word}" not in head.decode().lower():
                self.refused += 1
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                connection.close()
                return
            self.asked.append(target)
            host, _, port = target.rpartition(":")
            there = socket.create_connection((host, int(port)), 10)
            self._sockets.append(there)
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_copy, args=(there, connection), daemon=True).start()
            _copy(connection, there)
        except OSError:
            connection.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
