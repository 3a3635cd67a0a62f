"""The pipeline's side of an engine process: the `Engine` protocol over slots.

Images are resized straight into shared slots. When the engine process dies, whatever is under way is answered with
`NoAnswer(ENGINE_DOWN)`, and the attachment comes back by itself once the socket answers again. Imports no inference library.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from runtime.errors import RuntimeFault, Transient
from runtime.model.channel import Channel, Greeting, down
from runtime.model.engine import Done, Ticket
from runtime.model.preprocess import Preprocessor, preprocessor
from runtime.model.spec import InputSpec, ModelSpec
from runtime.model.wireformat import Request, Tensor, TensorAnswer
from runtime.results import Answer, Image, NoAnswer
from wire.errors import Malformed
from wire.reasons import Reason

logger = logging.getLogger(__name__)

PreprocessorFactory: TypeAlias = Callable[[InputSpec], Preprocessor]
"""What resizes images of any size into slots of a model's input, as bytes."""

ANSWER_TIMEOUT_S = 10.0
"""As long as the agent lets an engine be silent before it ends it."""
GREETING_TIMEOUT_S = 10.0
RECONNECT_FIRST_S = 0.02
RECONNECT_LAST_S = 0.5
"""Connecting to a socket of this machine costs some 10 µs, so there is no need to wait longer."""


class AttachedTicket:
    """A request under way in an engine process."""

    def __init__(self, engine: AttachedEngine, images: int, deadline_mono: float) -> None:
        self.deadline_mono = deadline_mono
        self.missing = images
        self.under_way: dict[int, int] = {}
        """Generation by slot."""
        self._engine = engine
        self._answers: list[Answer | None] = [None] * images

    def ready(self) -> bool:
        if self.missing:
            self._engine.pump()
        return not self.missing

    def wait(self, timeout_s: float) -> list[Answer]:
        if self.missing:
            self._engine.wait_for(self, timeout_s)
        return [answer for answer in self._answers if answer is not None]

    def put(self, index: int, answer: Answer) -> None:
        """The answer about one image; a later one about the same image is passed over."""
        if self._answers[index] is None:
            self._answers[index] = answer
            self.missing -= 1

    def put_rest(self, answer: NoAnswer) -> None:
        """The same for every image without an answer."""
        self._answers = [answer if one is None else one for one in self._answers]
        self.missing = 0


class AttachedEngine:
    """A model served by an engine process. Makes no connection before `connect`, `pump` or `submit`.

    `fileno` stays the same for ever, whatever becomes of the process: readable when `pump` has something to do. Call `pump`
    also at `due_mono`, so that requests expire and a restarted engine is found. One thread at a time.
    """

    def __init__(
        self,
        path: str,
        digest: str,
        *,
        slots: int = 8,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        preprocessor: PreprocessorFactory = preprocessor,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._digest = digest
        self._slots = slots
        self._answer_timeout_s = answer_timeout_s
        self._preprocessor_for = preprocessor
        self._preprocessor: Preprocessor | None = None
        self._clock = clock
        self._channel: Channel | None = None
        self._greeting: Greeting | None = None
        self._spec: ModelSpec | None = None
        self._asked: dict[int, tuple[AttachedTicket, int]] = {}
        self._tickets: dict[AttachedTicket, None] = {}
        self._next_try_mono = 0.0
        self._retry_s = RECONNECT_FIRST_S
        self._poll = select.epoll()
        self._closed = False
        self.problem = "not attached yet"
        """Why there is no engine now, in words."""
        self.late_answers = 0
        """Answers that came when nobody waited for them any more."""

    # --- the Engine protocol ------------------------------------------------------------------------------------------

    @property
    def spec(self) -> ModelSpec:
        """Known once attached, and then for ever.

        :raises Transient: never attached yet
        """
        if self._spec is None:
            raise down(self._path, self.problem)
        return self._spec

    @property
    def digest(self) -> str:
        return self._digest

    def submit(self, images: Sequence[Image]) -> Ticket:
        """As the protocol says. With more images than free slots it waits for slots; with no free slot at all it does not."""
        if self._channel is None or self._channel.table.free < self._slots:
            self.pump()
        channel = self._channel
        if channel is None:
            return Done((NoAnswer(Reason.ENGINE_DOWN, self.problem),) * len(images))
        if not channel.table.free:
            return Done((self._busy(channel),) * len(images))
        ticket = AttachedTicket(self, len(images), self._clock() + self._answer_timeout_s)
        self._tickets[ticket] = None
        try:
            self._ask(channel, ticket, images)
        except BaseException:
            self._withdraw(channel, ticket)
            raise
        if not ticket.missing:
            self._tickets.pop(ticket, None)
        return ticket

    def close(self) -> None:
        """Detach for good. Requests under way are answered with NoAnswer."""
        if not self._closed:
            self._closed = True
            self._lose("closed by the pipeline")
            self._poll.close()

    # --- for the pipeline's loop --------------------------------------------------------------------------------------

    @property
    def attached(self) -> bool:
        return self._channel is not None

    @property
    def quarantined(self) -> int:
        """Slots that wait for a late engine."""
        return self._channel.table.quarantined if self._channel else 0

    @property
    def due_mono(self) -> float:
        """When `pump` has to be called at the latest, though `fileno` is not readable."""
        if self._channel is None and not self._closed:
            return self._next_try_mono
        return next(iter(self._tickets)).deadline_mono if self._tickets else self._clock() + 1.0

    def fileno(self) -> int:
        return -1 if self._closed else self._poll.fileno()

    def connect(self, timeout_s: float) -> bool:
        """Attach, trying again until the time is over; `problem` says what was wrong."""
        deadline_mono = self._clock() + timeout_s
        while True:
            self.pump()
            left_s = deadline_mono - self._clock()
            if self.attached or self._closed or left_s <= 0:
                return self.attached
            self._poll.poll(max(0.001, min(left_s, self._next_try_mono - self._clock())))

    def pump(self) -> None:
        """Take in what has come, let requests expire, attach again when that is due. Never waits."""
        if self._closed:
            return
        if self._channel is None:
            self._attach()
            return
        while self._take_in(0.0):
            pass
        self._expire()

    def wait_for(self, ticket: AttachedTicket, timeout_s: float) -> None:
        """Take in answers until the ticket is complete or the time is over. For tickets only."""
        deadline_mono = self._clock() + timeout_s
        left_s = timeout_s
        while ticket.missing:
            if left_s <= 0:
                self._abandon(ticket, timeout_s)
                break
            self._take_in(left_s)
            left_s = deadline_mono - self._clock()

    # --- asking -------------------------------------------------------------------------------------------------------

    def _ask(self, channel: Channel, ticket: AttachedTicket, images: Sequence[Image]) -> None:
        # A model of batch 1 begins with the first image while the next is resized; others want them together.
        singly = channel.spec.input.batch == 1
        filled: list[Tensor] = []
        for index, image in enumerate(images):
            if self._channel is not channel:
                return
            if not _is_image(image):
                ticket.put(index, NoAnswer(Reason.ENGINE_ERROR, f"not an image: {_describe(image)}"))
                continue
            if not channel.table.free:
                self._send(channel, ticket, filled)
                filled = []
                if not self._wait_for_slot(channel, ticket):
                    return
            filled.append(self._fill(channel, ticket, index, image))
            if singly:
                self._send(channel, ticket, filled)
                filled = []
        self._send(channel, ticket, filled)

    def _fill(self, channel: Channel, ticket: AttachedTicket, index: int, image: Image) -> Tensor:
        taken = channel.table.take()
        assert taken is not None, "the caller has looked for a free slot"
        assert self._preprocessor is not None, "there is a channel"
        slot, generation = taken
        geometry = self._preprocessor.into(image, channel.memory.inputs[slot])
        self._asked[slot] = (ticket, index)
        ticket.under_way[slot] = generation
        return Tensor(slot, generation, geometry)

    def _send(self, channel: Channel, ticket: AttachedTicket, tensors: list[Tensor]) -> None:
        if not tensors or self._channel is not channel:
            return
        try:
            if channel.send(Request(tensors)):
                return
        except Transient as e:
            self._lose(str(e))
            return
        for tensor in tensors:
            channel.table.untake(tensor.slot, tensor.generation)
            del ticket.under_way[tensor.slot]
            _, index = self._asked.pop(tensor.slot)
            ticket.put(index, NoAnswer(Reason.ENGINE_BUSY, "the engine does not read its socket"))

    def _withdraw(self, channel: Channel, ticket: AttachedTicket) -> None:
        """A bug broke off the asking: what the engine was not told about is not known here, so hang up."""
        if self._channel is channel:
            self._lose("an image could not be preprocessed")
        self._tickets.pop(ticket, None)

    def _wait_for_slot(self, channel: Channel, ticket: AttachedTicket) -> bool:
        while self._channel is channel and not channel.table.free:
            left_s = ticket.deadline_mono - self._clock()
            if left_s <= 0:
                self._abandon(ticket, self._answer_timeout_s)
                return False
            self._take_in(left_s)
        return self._channel is channel

    def _busy(self, channel: Channel) -> NoAnswer:
        text = f"no free slot of {channel.memory.layout.slots} ({channel.table.quarantined} wait for a late engine)"
        return NoAnswer(Reason.ENGINE_BUSY, text)

    # --- answers ------------------------------------------------------------------------------------------------------

    def _take_in(self, timeout_s: float) -> bool:
        """One packet; False where none came."""
        channel = self._channel
        if channel is None:
            return False
        try:
            packet = channel.receive(timeout_s)
            if packet is None:
                return False
            for tensor in packet.tensors:
                self._settle(channel, tensor)
        except (Transient, Malformed) as e:
            self._lose(str(e))
            return False
        return True

    def _settle(self, channel: Channel, tensor: TensorAnswer) -> None:
        asked = self._asked.get(tensor.slot)
        answer = channel.read(tensor) if asked is not None else None
        if not channel.table.answered(tensor.slot, tensor.generation):
            self.late_answers += 1
            return
        if asked is None or answer is None:
            raise Malformed(f"slot {tensor.slot} was answered, but nobody asked")
        ticket, index = self._asked.pop(tensor.slot)
        del ticket.under_way[tensor.slot]
        ticket.put(index, answer)
        if not ticket.missing:
            self._tickets.pop(ticket, None)

    def _expire(self) -> None:
        at_mono = self._clock() if self._tickets else 0.0
        while self._tickets:
            ticket = next(iter(self._tickets))
            if ticket.deadline_mono > at_mono:
                return
            self._abandon(ticket, self._answer_timeout_s)

    def _abandon(self, ticket: AttachedTicket, waited_s: float) -> None:
        """Nobody waits for this any more; its slots stay away from use until the engine has answered."""
        if self._channel is not None:
            for slot, generation in ticket.under_way.items():
                self._channel.table.quarantine(slot, generation)
                del self._asked[slot]
        ticket.under_way.clear()
        self._tickets.pop(ticket, None)
        ticket.put_rest(NoAnswer(Reason.ENGINE_TIMEOUT, f"no answer within {waited_s:.3g} s"))

    # --- attaching ----------------------------------------------------------------------------------------------------

    def _attach(self) -> None:
        at_mono = self._clock()
        try:
            if self._greeting is None:
                if at_mono < self._next_try_mono:
                    return
                self._greeting = Greeting(self._path, self._digest, self._slots)
                self._next_try_mono = at_mono + GREETING_TIMEOUT_S
                self._poll.register(self._greeting, select.EPOLLIN)
            channel = self._greeting.result()
            if channel is not None:
                self._welcome(channel)
            elif at_mono >= self._next_try_mono:
                raise down(self._path, f"no welcome within {GREETING_TIMEOUT_S} s")
        except (RuntimeFault, Malformed) as e:
            self._lose(str(e))

    def _welcome(self, channel: Channel) -> None:
        self._greeting = None
        self._channel = channel
        if self._preprocessor is None or self._spec != channel.spec:
            self._preprocessor = self._preprocessor_for(channel.spec.input)
        self._spec = channel.spec
        self._retry_s = RECONNECT_FIRST_S
        self.problem = ""
        logger.info("engine attached", extra={"socket": self._path, "digest": self._digest})

    def _lose(self, why: str) -> None:
        if self._channel is not None and not self._closed:
            logger.warning("engine lost: %s", why, extra={"socket": self._path, "digest": self._digest})
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._greeting is not None:
            self._greeting.close()
            self._greeting = None
        self.problem = why
        self._next_try_mono = self._clock() + self._retry_s
        self._retry_s = min(2 * self._retry_s, RECONNECT_LAST_S)
        self._asked.clear()
        tickets = list(self._tickets)
        self._tickets.clear()
        for ticket in tickets:
            ticket.under_way.clear()
            ticket.put_rest(NoAnswer(Reason.ENGINE_DOWN, why))


def _is_image(image: Image) -> bool:
    return bool(image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size)


def _describe(image: Image) -> str:
    return f"shape {image.shape}, {image.dtype}; expected (H, W, 3) uint8 with at least one pixel"
