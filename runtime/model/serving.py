"""The engine process' server: attached pipelines, their slots, and one loop that collects, batches, runs and answers.

Owns the listening socket and every attachment. Knows models only as something to run. Never waits for a pipeline: what a
pipeline does not read is kept, at most one answer a slot; a pipeline that breaks the protocol is cut off.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.model import resultformat, wireformat
from runtime.model.batch import FairQueue
from runtime.model.geometry import Geometry
from runtime.model.slots import SlotLayout, SlotMemory, make_memfd
from runtime.model.spec import ModelSpec
from runtime.model.wireformat import (
    INLINE_BYTES,
    Answers,
    Hello,
    Place,
    Refused,
    Request,
    Status,
    Tensor,
    TensorAnswer,
    Welcome,
)
from runtime.results import Answer, NoAnswer
from wire.errors import Malformed
from wire.reasons import Reason

logger = logging.getLogger(__name__)

MAX_ATTACHED = 256
"""Connections at a time; each costs two descriptors. The most cameras a device has, with a candidate beside each model."""
LATENCIES_KEPT = 512

Waiting: TypeAlias = Callable[[int], object]
"""Called with the events of its descriptor."""


class Runnable(Protocol):
    """A loaded model."""

    @property
    def spec(self) -> ModelSpec: ...

    def run(self, batch: npt.NDArray[Any], geometries: Sequence[Geometry]) -> list[Answer]:
        """One answer for each tensor of the batch (n, …), in order."""

    def close(self) -> None:
        """Give the memory back."""


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


class Figures:
    """What the server has done: tensors, runs, tensors without an answer; `latencies_s` of the newest runs."""

    def __init__(self) -> None:
        self.requests = 0
        self.batches = 0
        self.errors = 0
        self.latencies_s: deque[float] = deque(maxlen=LATENCIES_KEPT)

    def count(self, answers: Sequence[Answer], latency_s: float) -> None:
        """Book a run."""
        self.requests += len(answers)
        self.batches += 1
        self.errors += sum(isinstance(answer, NoAnswer) for answer in answers)
        self.latencies_s.append(latency_s)


class Server:
    """Serves loaded models to pipelines. `step` is the loop's body; nothing happens outside of it. One thread."""

    def __init__(
        self,
        models: Mapping[str, Runnable],
        listener: socket.socket,
        *,
        max_batch: int = 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`models` by package digest; `listener` listens, SOCK_SEQPACKET; both are the server's from now on."""
        self.figures = Figures()
        self._models = dict(models)
        self._leaving: set[str] = set()
        self._failed_batches = 0
        self._max_batch = max_batch
        self._clock = clock
        self._listener = listener
        self._queue: FairQueue[str, Attachment, tuple[Tensor, float]] = FairQueue()
        self._attachments: set[Attachment] = set()
        self._staging: dict[str, npt.NDArray[np.uint8]] = {}
        self._poll = select.epoll()
        self._waiting: dict[int, Waiting] = {}
        listener.setblocking(False)
        self.watch(listener.fileno(), self._accept)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def watch(self, fd: int, waiting: Waiting, events: int = select.EPOLLIN) -> None:
        """Have something else served by the same loop, or change what it waits for."""
        if fd in self._waiting:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._waiting[fd] = waiting

    def step(self, timeout_s: float) -> None:
        """Take in what has come, waiting for it only where nothing is to be run, then run one batch."""
        for fd, events in self._poll.poll(0 if self._queue else max(0.0, timeout_s)):
            waiting = self._waiting.get(fd)
            if waiting is not None:
                waiting(events)
        if self._queue:
            self._run_batch()

    def finish(self, timeout_s: float) -> bool:
        """Accept nobody any more, answer what has come, hang up. False where the time was over before."""
        self._forget(self._listener.fileno())
        self._listener.close()
        end_mono = self._clock() + timeout_s
        for attachment in list(self._attachments):
            while self._serve(attachment, select.EPOLLIN):
                pass
        while self._queue or any(a.unsent for a in self._attachments):
            left_s = end_mono - self._clock()
            if left_s <= 0:
                break
            self.step(min(left_s, 0.1))
        complete = not self._queue and not any(a.unsent for a in self._attachments)
        for attachment in list(self._attachments):
            attachment.say_goodbye()
            self._detach(attachment)
        self._poll.close()
        return complete

    @property
    def attached(self) -> int:
        """Pipelines with slots."""
        return sum(attachment.memory is not None for attachment in self._attachments)

    @property
    def oldest_mono(self) -> float | None:
        """When the request came whose turn is next."""
        waiting = self._queue.peek()
        return None if waiting is None else waiting[1]

    def unload(self, digest: str) -> None:
        """Let a model go once no pipeline is attached to it; nobody new may attach."""
        self._leaving.add(digest)
        self._release()

    # --- attachments --------------------------------------------------------------------------------------------------

    def _accept(self, _events: int) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError as e:
            logger.warning("pipeline not accepted: %s", e)
            return
        sock.setblocking(False)
        if len(self._attachments) >= MAX_ATTACHED:
            full = Refused(Reason.ENGINE_BUSY, f"{MAX_ATTACHED} pipelines are connected, which is the limit")
            with contextlib.suppress(OSError), sock:
                sock.send(wireformat.encode(full))
            return
        attachment = Attachment(sock)
        self._attachments.add(attachment)
        self.watch(sock.fileno(), lambda events: self._serve(attachment, events))

    def _serve(self, attachment: Attachment, events: int) -> bool:
        """Whether a packet came."""
        try:
            if events & select.EPOLLOUT:
                self._send_unsent(attachment)
            if events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                self._receive(attachment, attachment.socket.recv(wireformat.MAX_PACKET_BYTES))
                return attachment in self._attachments
        except BlockingIOError:
            return False
        except (OSError, Malformed) as e:
            if isinstance(e, Malformed):
                logger.warning("pipeline cut off, it broke the protocol: %s", e)
            self._detach(attachment)
        return False

    def _receive(self, attachment: Attachment, data: bytes) -> None:
        if not data:
            self._detach(attachment)
            return
        packet = wireformat.decode(data)
        if isinstance(packet, Request):
            attachment.accept_request(packet)
            arrived_mono = self._clock()
            for tensor in packet.tensors:
                self._queue.put(attachment.digest, attachment, (tensor, arrived_mono))
        elif isinstance(packet, Hello) and attachment.memory is None:
            self._welcome(attachment, packet)
        else:
            raise Malformed(f"a pipeline sent {type(packet).__name__}; expected a request")

    def _welcome(self, attachment: Attachment, hello: Hello) -> None:
        refusal = self._refusal(hello)
        if refusal is None:
            spec = self._models[hello.digest].spec
            raw = wireformat.encode_spec(spec)
            layout = SlotLayout.plan(hello.slots, spec.input, spec.task, len(raw))
            try:
                memfd = make_memfd(layout, raw)
            except OSError as e:
                refusal = Refused(Reason.OUT_OF_MEMORY, f"no memory for {hello.slots} slots: {e}")
        if refusal is not None:
            logger.warning("pipeline refused: %s", refusal.message)
            attachment.socket.send(wireformat.encode(refusal))
            self._detach(attachment)
            return
        try:
            attachment.memory = SlotMemory(memfd, layout, spec.input.tensor_shape)
            attachment.digest, attachment.labels = hello.digest, spec.labels
            socket.send_fds(attachment.socket, [wireformat.encode(Welcome(layout))], [memfd])
        finally:
            os.close(memfd)

    def _refusal(self, hello: Hello) -> Refused | None:
        if hello.digest not in self._models or hello.digest in self._leaving:
            served = ", ".join(sorted(set(self._models) - self._leaving)) or "nothing"
            return Refused(Reason.UNKNOWN_REFERENCE, f"{hello.digest} is not served here, but {served}")
        return None

    def _detach(self, attachment: Attachment) -> None:
        if attachment not in self._attachments:
            return
        self._attachments.discard(attachment)
        self._queue.drop(attachment.digest, attachment)
        self._forget(attachment.socket.fileno())
        attachment.close()
        self._release()

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._waiting[fd]

    def _release(self) -> None:
        used = {attachment.digest for attachment in self._attachments}
        for digest in self._leaving - used:
            self._leaving.discard(digest)
            self._staging.pop(digest, None)
            model = self._models.pop(digest, None)
            if model is not None:
                model.close()
                logger.info("model unloaded: %s", digest)

    # --- running ------------------------------------------------------------------------------------------------------

    def _run_batch(self) -> None:
        digest = self._queue.next_model()
        assert digest is not None, "the caller has looked that something waits"
        model = self._models[digest]
        limit = model.spec.input.batch or self._max_batch
        taken = self._queue.take(limit)
        batch = self._batch(digest, taken, limit)
        started_mono = self._clock()
        answers = self._run(model, batch, [tensor.geometry for _, (tensor, _) in taken])
        self.figures.count(answers, self._clock() - started_mono)
        by_attachment: dict[Attachment, list[TensorAnswer]] = {}
        for (attachment, (tensor, _)), answer in zip(taken, answers, strict=True):
            by_attachment.setdefault(attachment, []).append(answer_tensor(attachment, tensor, answer))
        for attachment, tensors in by_attachment.items():
            self._answer(attachment, tensors)

    def _batch(
        self, digest: str, taken: Sequence[tuple[Attachment, tuple[Tensor, float]]], limit: int
    ) -> npt.NDArray[np.uint8]:
        """The tensors one behind the other; a single one is the slot itself, not copied."""
        inputs = [a.memory.inputs[tensor.slot] for a, (tensor, _) in taken if a.memory is not None]
        if len(inputs) == 1:
            return inputs[0][np.newaxis]
        if digest not in self._staging:
            self._staging[digest] = np.empty((limit, *inputs[0].shape), np.uint8)
        staged = self._staging[digest][: len(inputs)]
        return np.stack(inputs, out=staged)

    def _run(self, model: Runnable, batch: npt.NDArray[np.uint8], where: list[Geometry]) -> Sequence[Answer]:
        try:
            answers = model.run(batch, where)
            if len(answers) != len(where):
                raise ValueError(f"{len(answers)} answers for {len(where)} tensors")
            return answers
        except Exception as e:  # the boundary: whatever a model or its library raises costs this batch only
            self._failed_batches += 1
            if self._failed_batches == 1 or self._failed_batches % 1000 == 0:
                logger.exception("model failed on %d batches so far", self._failed_batches)
            return [NoAnswer(Reason.ENGINE_ERROR, f"{type(e).__name__}: {e}")] * len(where)

    # --- answering ----------------------------------------------------------------------------------------------------

    def _answer(self, attachment: Attachment, tensors: Sequence[TensorAnswer]) -> None:
        packet: list[TensorAnswer] = []
        inline_bytes = 0
        for tensor in tensors:
            if packet and inline_bytes + len(tensor.body) > INLINE_BYTES:
                attachment.unsent.append(wireformat.encode(Answers(packet)))
                packet, inline_bytes = [], 0
            packet.append(tensor)
            inline_bytes += len(tensor.body)
        attachment.unsent.append(wireformat.encode(Answers(packet)))
        for tensor in tensors:
            del attachment.in_flight[tensor.slot]
        try:
            self._send_unsent(attachment)
        except OSError:
            self._detach(attachment)

    def _send_unsent(self, attachment: Attachment) -> None:
        while attachment.unsent:
            try:
                attachment.socket.send(attachment.unsent[0])
            except BlockingIOError:
                self._wait_writable(attachment, True)
                return
            attachment.unsent.popleft()
        if attachment.waits_writable:
            self._wait_writable(attachment, False)

    def _wait_writable(self, attachment: Attachment, wanted: bool) -> None:
        attachment.waits_writable = wanted
        events = select.EPOLLIN | (select.EPOLLOUT if wanted else 0)
        self._poll.modify(attachment.socket.fileno(), events)


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
