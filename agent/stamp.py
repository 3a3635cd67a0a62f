"""Envelopes of this agent: a unique id, the time, the boot, a number that grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from agent.clock import Clock
from wire.envelope import Envelope


class Stamp:
    """Makes envelopes; `boot` is the id of this run of the agent, so that (boot, seq) orders its messages."""

    def __init__(self, clock: Clock, new_id: Callable[[], str]) -> None:
        self.boot = new_id()
        self._clock = clock
        self._new_id = new_id
        self._seq = 0

    def envelope(
        self, data: dict[str, Any], *, message_id: str | None = None, rid: str | None = None
    ) -> Envelope:
        self._seq += 1
        return Envelope(
            id=message_id or self._new_id(),
            at=round(self._clock.wall(), 4),
            boot=self.boot,
            seq=self._seq,
            data=data,
            synced=self._clock.synced(),
            rid=rid,
        )


def finite(value: Any) -> Any:
    """The value with every number that is not finite replaced by null, as JSON wants it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
