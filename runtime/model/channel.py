"""One life of a connection to an engine process, on the pipeline's side: greeting, then packets. Knows no tickets.

A greeting never blocks, however busy or hung the engine is; `Channel.receive` may wait, with a deadline.
"""

from __future__ import annotations

import math
import os
import socket
import struct

from runtime.errors import RuntimeFault, Transient
from runtime.model import resultformat, wireformat
from runtime.model.slots import SlotMemory, SlotTable, read_spec
from runtime.model.wireformat import Hello, Place, Refused, Request, Status, TensorAnswer, Welcome
from runtime.results import Answer
from wire.errors import Malformed
from wire.reasons import Reason

_TIMEVAL = struct.Struct("@ll")
_NOWHERE = (ConnectionRefusedError, FileNotFoundError, BlockingIOError)


def down(path: str, message: str) -> Transient:
    """The fault of an engine that cannot be reached."""
    return Transient(Reason.ENGINE_DOWN, f"engine at {path}: {message}; it is started again by the agent")


class Channel:
    """An attached engine: slots mapped, packets both ways. One thread at a time."""

    def __init__(self, sock: socket.socket, path: str, welcome: Welcome, memfd: int) -> None:
        """:raises Malformed: the shared memory or the spec is not what the welcome says"""
        self.path = path
        self.spec = wireformat.decode_spec(read_spec(memfd, welcome.layout))
        self.memory = SlotMemory(memfd, welcome.layout, self.spec.input.tensor_shape)
        self.table = SlotTable(welcome.layout.slots)
        self._socket = sock
        self._timeout_ms = 0
        sock.setblocking(True)

    def send(self, request: Request) -> bool:
        """Send without waiting; False where the engine has not read for so long that the socket is full.

        :raises Transient: the engine is gone
        """
        try:
            self._socket.send(wireformat.encode(request), socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as e:
            raise down(self.path, f"the connection broke: {e}") from e
        return True

    def receive(self, timeout_s: float = 0.0) -> wireformat.Answers | None:
        """The next packet of answers, or None when there is none in time.

        :raises Transient: the engine is gone
        :raises Malformed: what came is not a packet of answers
        """
        try:
            if timeout_s > 0:
                self._set_timeout(timeout_s)
                data = self._socket.recv(wireformat.MAX_PACKET_BYTES)
            else:
                data = self._socket.recv(wireformat.MAX_PACKET_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as e:
            raise down(self.path, f"the connection broke: {e}") from e
        if not data:
            raise down(self.path, "the process has closed the connection")
        packet = wireformat.decode(data)
        if not isinstance(packet, wireformat.Answers):
            raise Malformed(f"engine at {self.path} sent {type(packet).__name__}; expected answers")
        return packet

    def read(self, tensor: TensorAnswer) -> Answer:
        """The content of an answer, copied out of its slot, which still has to be ASKED or QUARANTINED.

        :raises Malformed: the body is no answer
        """
        body = tensor.body
        if tensor.place is Place.SLOT:
            if not (0 <= tensor.slot < len(self.memory.outputs)):
                raise Malformed(f"slot {tensor.slot} is none of {len(self.memory.outputs)}")
            body = bytes(self.memory.outputs[tensor.slot][: tensor.body_bytes])
            if len(body) != tensor.body_bytes:
                raise Malformed(
                    f"an answer of {tensor.body_bytes} bytes does not fit its slot of {len(body)}"
                )
        if tensor.status is Status.NO_ANSWER:
            return resultformat.decode_no_answer(body)
        return resultformat.decode_result(body, self.spec.labels)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up and let go of the slots."""
        self.memory.close()
        self._socket.close()

    def _set_timeout(self, timeout_s: float) -> None:
        # SO_RCVTIMEO makes a wait one system call; Python's own socket timeouts make it two.
        timeout_ms = math.ceil(timeout_s * 1000)
        if timeout_ms != self._timeout_ms:
            value = _TIMEVAL.pack(timeout_ms // 1000, timeout_ms % 1000 * 1000)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, value)
            self._timeout_ms = timeout_ms


class Greeting:
    """A connection that has said HELLO and waits for its WELCOME."""

    def __init__(self, path: str, digest: str, slots: int) -> None:
        """Connect and say hello, without waiting.

        :raises Transient: nobody listens, or the engine does not accept
        """
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(path)
            self._socket.send(wireformat.encode(Hello(digest, slots)))
        except _NOWHERE as e:
            self._socket.close()
            raise down(path, f"nobody accepts connections ({e.strerror})") from e
        except OSError as e:
            self._socket.close()
            raise down(path, f"cannot be reached ({e})") from e

    def fileno(self) -> int:
        return self._socket.fileno()

    def result(self) -> Channel | None:
        """The channel once the engine has welcomed us, None before. After an error the greeting is closed.

        :raises RuntimeFault: the engine is gone, or refuses us, with its reason
        :raises Malformed: what came is no welcome
        """
        fds: list[int] = []
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, wireformat.MAX_PACKET_BYTES, 1)
            return self._read(data, fds)
        except BlockingIOError:
            return None
        except (RuntimeFault, Malformed):
            self.close()
            raise
        except OSError as e:
            self.close()
            raise down(self.path, f"the connection broke: {e}") from e
        finally:
            for fd in fds:
                os.close(fd)

    def _read(self, data: bytes, fds: list[int]) -> Channel:
        if not data:
            raise down(self.path, "the process closed the connection instead of a welcome")
        packet = wireformat.decode(data)
        if isinstance(packet, Refused):
            raise Transient(packet.reason, f"engine at {self.path} refuses: {packet.message}")
        if not isinstance(packet, Welcome) or len(fds) != 1:
            raise Malformed(f"engine at {self.path} sent {type(packet).__name__} and {len(fds)} descriptors")
        return Channel(self._socket, self.path, packet, fds[0])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
