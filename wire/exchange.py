"""What device and control plane exchange over HTTPS where no MQTT gets through: the same envelopes on the same topics."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from wire.doc import Doc

MAX_MESSAGES = 500


class Message(Doc):
    """A message that goes up. `payload` is what MQTT would carry."""

    topic: str = Field(max_length=1000)
    payload: str
    retain: bool = False


class Outbox(Doc):
    """`POST /device/messages`."""

    messages: tuple[Message, ...] = Field(max_length=MAX_MESSAGES)


class Accepted(Doc):
    """The answer: for each message whether the device may say it. What is accepted has reached the broker."""

    accepted: tuple[bool, ...]


class Asked(Doc):
    """A command: its name, when it was issued, and its envelope as text."""

    name: str
    issued_at: float
    envelope: str


class Inbox(Doc):
    """`GET /device/inbox?revision=…&after=…&wait_s=…`: a newer desired state, signed, and commands issued after."""

    desired: dict[str, Any] | None = None
    commands: tuple[Asked, ...] = ()
