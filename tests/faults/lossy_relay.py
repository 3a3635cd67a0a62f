"""An RTSP relay that loses packets: it passes the conversation on, puts itself between the UDP ports, and drops a share of RTP."""

from __future__ import annotations

import random
import re
import socket
import threading

CLIENT_PORT = re.compile(rb"client_port=(\d+)-(\d+)")
SERVER_PORT = re.compile(rb"server_port=(\d+)-(\d+)")


class LossyRelay:
    """Listens on `port`. `loss`: share of the RTP packets that are dropped from now on; `passed`, `dropped` count them."""

    def __init__(self, server_port: int, seed: int = 7) -> None:
        self.loss = 0.0
        self.passed = self.dropped = 0
        self._server_port = server_port
        self._random = random.Random(seed)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def close(self) -> None:
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="relay", daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            self._open += [client, server]
            self._start(self._talk, client, server)

    def _talk(self, client: socket.socket, server: socket.socket) -> None:
        """Requests one by one, as RTSP clients make them; ports in SETUP and its answer are replaced by ours."""
        self._start(self._answers, server, client)
        self._targets: list[int] = []
        try:
            while request := client.recv(65536):
                if found := CLIENT_PORT.search(request):
                    self._targets = [int(found[1]), int(found[2])]
                    self._ours = [self._udp(0), self._udp(1)]
                    ports = b"-".join(str(each.getsockname()[1]).encode() for each in self._ours)
                    request = CLIENT_PORT.sub(b"client_port=" + ports, request)
                server.sendall(request)
        except OSError:
            return

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while answer := server.recv(65536):
                client.sendall(answer)
        except OSError:
            return

    def _udp(self, kind: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", 0))
        self._open.append(sock)
        self._start(self._pass, sock, kind)
        return sock

    def _pass(self, sock: socket.socket, kind: int) -> None:
        while True:
            try:
                packet = sock.recv(65536)
            except OSError:
                return
            if kind == 0 and self._random.random() < self.loss:
                self.dropped += 1
                continue
            self.passed += 1
            try:
                sock.sendto(packet, ("127.0.0.1", self._targets[kind]))
            except OSError:
                return
