"""The engine's side of one attached pipeline: its socket, its slots, what is under way, and answers as they travel.

`attachment.py` is the pipeline's side. Owns the mapping of the slots; knows no model.
"""

from __future__ import annotations

import contextlib
import socket
from collections import deque
from collections.abc import Iterator, Sequence

from runtime.model import resultformat, wireformat
from runtime.model.slots import SlotMemory
from runtime.model.wireformat import INLINE_BYTES, Answers, Place, Request, Status, Tensor, TensorAnswer
from runtime.results import Answer, NoAnswer
from wire.errors import Malformed
from wire.reasons import Reason


class Attachment:
    """A pipeline's connection. `in_flight` holds the generations of the slots that the engine has not answered yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.digest = ""
        self.labels: tuple[str, ...] = ()
        self.memory: SlotMemory | None = None
        self.in_flight: dict[int, int] = {}
        self.unsent: deque[bytes] = deque()
        self.waits_writable = False

    def accept_request(self, request: Request) -> SlotMemory:
        """Check a request and book its slots.

        :raises Malformed: a slot that is none, or that is still under way
        """
        if self.memory is None:
            raise Malformed("a request before the welcome")
        for tensor in request.tensors:
            if tensor.slot >= len(self.memory.inputs) or tensor.slot in self.in_flight:
                raise Malformed(f"slot {tensor.slot} is none, or still under way")
            self.in_flight[tensor.slot] = tensor.generation
        return self.memory

    def say_goodbye(self) -> None:
        """Take no more requests. What is unread when a socket is closed would make the other side lose its last answers."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
            while self.socket.recv(wireformat.MAX_PACKET_BYTES):
                pass

    def close(self) -> None:
        """Hang up and let go of the slots."""
        if self.memory is not None:
            self.memory.close()
        self.socket.close()


def answer_tensor(attachment: Attachment, tensor: Tensor, answer: Answer) -> TensorAnswer:
    """An answer as it travels: inline, or written to the slot's output part where it is longer than a message takes."""
    slot, generation = tensor.slot, tensor.generation
    if isinstance(answer, NoAnswer):
        body = resultformat.encode_no_answer(answer)
        return TensorAnswer(slot, generation, Status.NO_ANSWER, Place.INLINE, len(body), body)
    try:
        parts = resultformat.encode_result(answer, attachment.labels)
    except ValueError as e:
        return answer_tensor(attachment, tensor, NoAnswer(Reason.ENGINE_ERROR, f"the decoder's result: {e}"))
    body_bytes = sum(map(len, parts))
    if body_bytes <= INLINE_BYTES:
        return TensorAnswer(slot, generation, Status.RESULT, Place.INLINE, body_bytes, b"".join(parts))
    output = attachment.memory.outputs[slot] if attachment.memory is not None else memoryview(b"")
    if body_bytes > len(output):
        text = f"the result takes {body_bytes} bytes, a slot holds {len(output)}: ask about a smaller image"
        return answer_tensor(attachment, tensor, NoAnswer(Reason.ENGINE_ERROR, text))
    at = 0
    for part in parts:
        output[at : at + len(part)] = part
        at += len(part)
    return TensorAnswer(slot, generation, Status.RESULT, Place.SLOT, body_bytes, b"")


def packets(tensors: Sequence[TensorAnswer]) -> Iterator[bytes]:
    """Answers of one pipeline as messages, each as full as it may be."""
    packet: list[TensorAnswer] = []
    inline_bytes = 0
    for tensor in tensors:
        if packet and inline_bytes + len(tensor.body) > INLINE_BYTES:
            yield wireformat.encode(Answers(packet))
            packet, inline_bytes = [], 0
        packet.append(tensor)
        inline_bytes += len(tensor.body)
    yield wireformat.encode(Answers(packet))
