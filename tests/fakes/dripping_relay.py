"""A TCP relay before a server, which passes everything on; what the server answers at the pace that is set."""

from __future__ import annotations

import socket
import threading
import time

CHUNK_BYTES = 512


class DrippingRelay:
    """Listens on `port` from the beginning. `bytes_s`: the pace of all answers together; None is as fast as it goes."""

    def __init__(self, host: str, server_port: int) -> None:
        self.bytes_s: float | None = None
        self._server = (host, server_port)
        self._listener = socket.create_server((host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        for each in self._open:
            _shut(each)
        for thread in self._threads:
            thread.join(5)
        for each in self._open:
            each.close()

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="dripping", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            self._start(self._pass_on, client, server, False)
            self._start(self._pass_on, server, client, True)

    def _pass_on(self, source: socket.socket, sink: socket.socket, drips: bool) -> None:
        try:
            while content := source.recv(CHUNK_BYTES if drips and self.bytes_s else 65536):
                sink.sendall(content)
                if drips and (pace := self.bytes_s):
                    time.sleep(len(content) / pace)
        except OSError:
            pass
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
