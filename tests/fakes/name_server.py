"""A name server on a loopback address of its own: every name is 127.0.0.1, until it is dead and says nothing any more."""

from __future__ import annotations

import contextlib
import socket
import threading

ADDRESS = "127.0.0.153"
A_RECORD = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x00\x00\x04\x7f\x00\x00\x01"
"""RFC 1035, 4.1.3: the question's name, type A, class IN, TTL 0, four bytes."""


class NameServer:
    """Needs port 53. `dead`: it takes questions and does not answer."""

    def __init__(self) -> None:
        self.dead = False
        self.unanswered = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ADDRESS, 53))
        threading.Thread(target=self._serve, name="names", daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, client = self._socket.recvfrom(4096)
                if self.dead:
                    self.unanswered += 1
                else:
                    self._socket.sendto(answer(question), client)


def answer(question: bytes) -> bytes:
    """An A record to a question for one, nothing to any other."""
    end = question.index(b"\0", 12) + 5
    asks_for_a = question[end - 4 : end - 2] == b"\0\x01"
    counts = b"\0\x01" + (b"\0\x01" if asks_for_a else b"\0\0") + b"\0\0\0\0"
    return question[:2] + b"\x81\x80" + counts + question[12:end] + (A_RECORD if asks_for_a else b"")
