"""What sinks have in common: a lane on the desk, a cool-down, secrets that are shown nowhere, and their outputs.

A step's outputs tell what is known when the frame is done: that the delivery was accepted, or why not. With `fire_and_forget`
false it waits for the outcome, for at most the desk's patience.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from runtime.sinks.desk import Counter
from runtime.sinks.lane import NOTICE, Cooldown, Limits
from runtime.sinks.pictures import Pictures
from runtime.sinks.sender import Sender, require
from runtime.workflow.block import Block, Surroundings
from runtime.workflow.blocks.core import prepared
from runtime.workflow.fields import (
    BOOLEAN,
    FLOAT,
    INTEGER,
    STRING,
    Field,
    Flag,
    Number,
    Report,
    Schema,
    gives,
    kinds,
    option,
)
from runtime.workflow.query.conditions import Chain
from runtime.workflow.serialise import to_json
from runtime.workflow.values import ImageValue
from wire.secret import Secret, masked

SECRET = "secret"
ACCEPTED = "Accepted for delivery"
DELIVERED = "Delivered"
DISABLED = "Sink was disabled by parameter `disable_sink`"
COOLING = "Sink cooldown applies"
UNDER_WAY = "Not yet delivered: still under way"

FIRE_AND_FORGET = option("fire_and_forget", Flag(), True, BOOLEAN)
DISABLE_SINK = option("disable_sink", Flag(), False, BOOLEAN)
STATUS = gives(error_status=kinds(BOOLEAN), message=kinds(STRING))
THROTTLED_STATUS = gives(error_status=kinds(BOOLEAN), throttling_status=kinds(BOOLEAN), message=kinds(STRING))
PLACEHOLDER = re.compile(r"\{\{\s*\$parameters\.(\w+)\s*\}\}")


def cooldown(default_s: float = 5) -> Field:
    return option("cooldown_seconds", Number(0, 86400), default_s, INTEGER, FLOAT)


@dataclass(frozen=True)
class SecretText:
    """A password or token, or `secret:NAME` for one of the device's own. Read to a `Secret`; never shown in a problem."""

    max_chars: int = 4096

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, str) or len(value) > self.max_chars:
            report.add(path, "a value that is not shown cannot be used", "a string, or secret:NAME")
            return Secret("")
        return Secret(value)

    def schema(self) -> Schema:
        return {"type": "string", "format": "password", "writeOnly": True, "maxLength": self.max_chars}


def secret(name: str, *, required: bool = False) -> Field:
    return Field(name, kinds(STRING, SECRET), SecretText(), required=required, default=None)


class SinkBlock(Block):
    """`library`: what must be installed for it; `limits`: how much waits, and for how long it is tried."""

    library: ClassVar[str] = ""
    limits: ClassVar[Limits] = NOTICE

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        if self.library:
            require(self.library, around.step)
        self._counter: Counter | None = None
        self._cooldown = Cooldown()
        self._secrets: set[Secret] = set()

    def sender(self) -> Sender:
        """The far end; made once, when something is to be delivered."""
        raise NotImplementedError

    def secret(self, value: Secret | str | None) -> Secret:
        """A secret; its text is taken out of every message of this sink."""
        found = value if isinstance(value, Secret) else Secret(value or "")
        if found and len(self._secrets) < 64:
            self._secrets.add(found)
        return found

    def throttled(self, cooldown_s: float) -> bool:
        """Whether the cool-down holds this one back."""
        if self._cooldown.passes(self.around.clock_mono(), cooldown_s):
            return False
        self.counter.lane.figures.throttled += 1
        return True

    @property
    def counter(self) -> Counter:
        """The lane on the desk."""
        if self._counter is None:
            name = self.around.step or self.types[0]
            self._counter = self.around.desk.open(
                name, self.limits, self.sender(), lambda text: masked(text, *self._secrets)
            )
        return self._counter

    def deliver(self, body: Any, size_bytes: int = 512, *, wait: bool = False) -> tuple[bool, str, Any]:
        """(error_status, message, what the far end gave). Without `wait` it is accepted, and that is all that is known; nobody
        waits for a far end that did not answer the last time."""
        wait = wait and not self.counter.lane.figures.failing
        receipt = self.around.desk.deliver(self.counter, body, size_bytes)
        if receipt.error:
            return True, receipt.error, None
        if not wait and not receipt.done.is_set():
            return False, ACCEPTED, None
        if not receipt.done.wait(self.around.desk.patience_s):
            return False, UNDER_WAY, None
        return bool(receipt.error), receipt.error or DELIVERED, receipt.value

    def kept_back(self, *values: Any, where: str = "fleet") -> str:
        """Why pictures among the values may not go so far; empty where they may."""
        return next((why for v in values if (why := self.around.desk.pictures.kept_back(v, where))), "")

    def close(self) -> None:
        if self._counter is not None:
            self.around.desk.shut(self._counter)
            self._counter = None


def filled(message: str, parameters: Mapping[str, Any], operations: Mapping[str, Chain]) -> str:
    """The message with `{{ $parameters.name }}` replaced; a name that is not given stays as it is written."""
    values = prepared(dict(parameters), dict(operations))

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return _words(values[name]) if name in values else match[0]

    return PLACEHOLDER.sub(value, message)


def _words(value: Any) -> str:
    plain = to_json(value)
    return plain if isinstance(plain, str) else json.dumps(plain) if isinstance(plain, dict) else str(plain)


class Part:
    """Something to attach: its content and media type, made when it is delivered. `size_bytes` of what waits."""

    def __init__(self, value: Any, pictures: Pictures) -> None:
        self.is_picture = isinstance(value, ImageValue)
        if isinstance(value, ImageValue):
            leaving = pictures.leaving(value)
            self.size_bytes = leaving.size_bytes
            self._made: Callable[[], tuple[bytes, str]] = lambda: (leaving.jpeg(), "image/jpeg")
        else:
            content = _content(value)
            self.size_bytes = len(content)
            self._made = lambda: (content, "application/octet-stream")

    def made(self) -> tuple[bytes, str]:
        """Content and media type."""
        return self._made()

    def name(self, wanted: str) -> str:
        """The file name; one of a picture ends in .jpg."""
        if self.is_picture and not wanted.lower().endswith((".jpg", ".jpeg")):
            return f"{wanted}.jpg"
        return wanted


def _content(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if isinstance(value, str):
        return value.encode()
    return json.dumps(to_json(value)).encode()
