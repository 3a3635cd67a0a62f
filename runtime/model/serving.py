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
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.model import wireformat
from runtime.model.batch import FairQueue
from runtime.model.connection import Attachment, answer_tensor, packets
from runtime.model.geometry import Geometry
from runtime.model.runners import Runners
from runtime.model.slots import SlotLayout, SlotMemory, make_memfd
from runtime.model.spec import ModelSpec
from runtime.model.wireformat import Hello, Refused, Request, Tensor, TensorAnswer, Welcome
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

    @property
    def runs_at_once(self) -> int:
        """How many threads may call `run` at the same time, and gain by it."""

    def run(self, batch: npt.NDArray[Any], geometries: Sequence[Geometry]) -> list[Answer]:
        """One answer for each tensor of the batch (n, …), in order."""

    def pin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """Batches of one will lie in these parts, until `unpin`."""

    def unpin(self, parts: Sequence[npt.NDArray[Any]]) -> None:
        """These parts are about to go."""

    def close(self) -> None:
        """Give the memory back."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of one model that run together: whose they are, and the input (n, …), a slot's own memory or `staged`."""

    digest: str
    model: Runnable
    taken: Sequence[tuple[Attachment, Tensor]]
    input: npt.NDArray[np.uint8]
    staged: npt.NDArray[np.uint8] | None


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
    """Serves loaded models to pipelines. `step` is the loop's body; but for the runs themselves nothing happens outside of it."""

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
        self.spoiled: NoAnswer | None = None
        """The answer that says that this process can run nothing more."""
        self._failed_batches = 0
        self._max_batch = max_batch
        self._clock = clock
        self._listener = listener
        self._queue: FairQueue[str, Attachment, tuple[Tensor, float]] = FairQueue()
        self._attachments: set[Attachment] = set()
        self._staging: dict[str, list[npt.NDArray[np.uint8]]] = {}
        at_once = min((model.runs_at_once for model in models.values()), default=1)
        self._runners: Runners[Batch, Sequence[Answer]] = Runners(at_once, self._run, clock)
        self._running: Counter[str] = Counter()
        self._poll = select.epoll()
        self._waiting: dict[int, Waiting] = {}
        listener.setblocking(False)
        self.watch(listener.fileno(), self._accept)
        self.watch(self._runners.fileno(), self._answer_done)

    # --- the loop -----------------------------------------------------------------------------------------------------

    def watch(self, fd: int, waiting: Waiting, events: int = select.EPOLLIN) -> None:
        """Have something else served by the same loop, or change what it waits for."""
        if fd in self._waiting:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._waiting[fd] = waiting

    def step(self, timeout_s: float) -> None:
        """Take in what has come, waiting for it only where nothing can be run, then start what can run."""
        for fd, events in self._poll.poll(0 if self._may_run else max(0.0, timeout_s)):
            waiting = self._waiting.get(fd)
            if waiting is not None:
                waiting(events)
        while self._may_run:
            self._start_batch()
            if self._runners.count == 1:
                self._answer_done()
                break

    @property
    def _may_run(self) -> bool:
        return bool(self._queue) and self._runners.free > 0

    def finish(self, timeout_s: float) -> bool:
        """Accept nobody any more, answer what has come, hang up. False where the time was over before."""
        self._forget(self._listener.fileno())
        self._listener.close()
        end_mono = self._clock() + timeout_s
        for attachment in list(self._attachments):
            while self._serve(attachment, select.EPOLLIN):
                pass
        while self._busy:
            left_s = end_mono - self._clock()
            if left_s <= 0:
                break
            self.step(min(left_s, 0.1))
        complete = not self._busy
        for attachment in list(self._attachments):
            attachment.say_goodbye()
            self._detach(attachment)
        self._forget(self._runners.fileno())
        self._runners.close()
        self._poll.close()
        return complete

    @property
    def _busy(self) -> bool:
        running = self._runners.free < self._runners.count
        return running or bool(self._queue) or any(a.unsent for a in self._attachments)

    @property
    def attached(self) -> int:
        """Pipelines with slots."""
        return sum(attachment.memory is not None for attachment in self._attachments)

    @property
    def oldest_mono(self) -> float | None:
        """When the request came whose turn is next."""
        waiting = self._queue.peek()
        return None if waiting is None else waiting[1]

    @property
    def running_since_mono(self) -> float | None:
        """When the longest of the runs under way began."""
        return self._runners.oldest_mono

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
            self._models[hello.digest].pin(attachment.memory.inputs)
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
        if attachment.memory is not None and attachment.digest in self._models:
            self._models[attachment.digest].unpin(attachment.memory.inputs)
        attachment.close()
        self._release()

    def _forget(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._waiting[fd]

    def _release(self) -> None:
        used = {attachment.digest for attachment in self._attachments}
        for digest in self._leaving - used - set(+self._running):
            self._leaving.discard(digest)
            self._staging.pop(digest, None)
            model = self._models.pop(digest, None)
            if model is not None:
                model.close()
                logger.info("model unloaded: %s", digest)

    # --- running ------------------------------------------------------------------------------------------------------

    def _start_batch(self) -> None:
        digest = self._queue.next_model()
        assert digest is not None, "the caller has looked that something waits"
        model = self._models[digest]
        most = model.spec.input.batch or self._max_batch
        # Runners that are free share what waits: runs side by side do more than one larger run after which one of them idles.
        fair = -(-len(self._queue) // self._runners.free)
        taken = [(attachment, tensor) for attachment, (tensor, _) in self._queue.take(min(most, fair))]
        self._running[digest] += 1
        self._runners.start(self._batch(digest, model, taken, most))

    def _batch(
        self, digest: str, model: Runnable, taken: Sequence[tuple[Attachment, Tensor]], most: int
    ) -> Batch:
        """The tensors one behind the other; a single one is the slot itself, not copied."""
        inputs = [a.memory.inputs[tensor.slot] for a, tensor in taken if a.memory is not None]
        if len(inputs) == 1:
            return Batch(digest, model, taken, inputs[0][np.newaxis], None)
        idle = self._staging.setdefault(digest, [])
        staged = idle.pop() if idle else np.empty((most, *inputs[0].shape), np.uint8)
        return Batch(digest, model, taken, np.stack(inputs, out=staged[: len(inputs)]), staged)

    def _run(self, batch: Batch) -> Sequence[Answer]:
        """Called by a runner."""
        where = [tensor.geometry for _, tensor in batch.taken]
        try:
            answers = batch.model.run(batch.input, where)
            if len(answers) != len(where):
                raise ValueError(f"{len(answers)} answers for {len(where)} tensors")
            return answers
        except Exception as e:  # the boundary: whatever a model or its library raises costs this batch only
            self._failed_batches += 1
            if self._failed_batches == 1 or self._failed_batches % 1000 == 0:
                logger.exception("model failed on %d batches so far", self._failed_batches)
            return [NoAnswer(Reason.ENGINE_ERROR, f"{type(e).__name__}: {e}")] * len(where)

    # --- answering ----------------------------------------------------------------------------------------------------

    def _answer_done(self, _events: int = 0) -> None:
        for done in self._runners.done():
            batch = done.batch
            self._running[batch.digest] -= 1
            if batch.staged is not None:
                self._staging.setdefault(batch.digest, []).append(batch.staged)
            self.figures.count(done.answers, done.elapsed_s)
            self._look_for_spoiling(done.answers)
            by_attachment: dict[Attachment, list[TensorAnswer]] = {}
            for (attachment, tensor), answer in zip(batch.taken, done.answers, strict=True):
                # A pipeline may have gone while its tensor ran.
                if attachment in self._attachments:
                    by_attachment.setdefault(attachment, []).append(answer_tensor(attachment, tensor, answer))
            for attachment, tensors in by_attachment.items():
                self._answer(attachment, tensors)
            self._release()

    def _look_for_spoiling(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if self.spoiled is None and isinstance(answer, NoAnswer) and answer.reason is Reason.GPU_FAULT:
                self.spoiled = answer

    def _answer(self, attachment: Attachment, tensors: Sequence[TensorAnswer]) -> None:
        attachment.unsent.extend(packets(tensors))
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
