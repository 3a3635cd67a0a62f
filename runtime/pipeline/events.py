"""Events on their way to the agent: which results become one, and what is held until the agent has kept it.

Pure but for the ids it is given. An event counts once the agent has committed it; until then it is held here, bounded,
and the oldest is dropped, and counted, when the agent does not keep up.
"""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from wire.local import BrokerAddress, Event, Publication

MAX_HELD = 2000
MAX_HELD_BYTES = 16 * 1024 * 1024
MAX_EVENT_BYTES = 256 * 1024
"""An event travels as one message, which may not be longer; a longer line would even cost the process its link."""
WINDOW = 256
"""Events that may be on their way to the agent at once."""
VOLATILE = frozenset({"detection_id", "inference_id", "parent_id", "root_parent_id", "time"})
"""Keys whose value is new on every frame and is therefore no change."""


class Policy:
    """Decides which results are sent: `every`, `changes` or `none`, at most one in `min_interval_s`."""

    def __init__(self, send: str, min_interval_s: float) -> None:
        self._send = send
        self._min_interval_s = min_interval_s
        self._last_mono = -1e18
        self._last_key: str | None = None

    def wants(self, outputs: dict[str, Any], at_mono: float) -> bool:
        """Whether these outputs become an event; to be asked once for each result, in order."""
        if self._send == "none":
            return False
        # A fifth of tolerance: frames that come exactly at the interval must not lose every other event to jitter.
        if at_mono - self._last_mono < self._min_interval_s * 0.8:
            return False
        if self._send == "changes":
            key = json.dumps(_steady(outputs), sort_keys=True)
            if key == self._last_key:
                return False
            self._last_key = key
        self._last_mono = at_mono
        return True


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _steady(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value


class Held:
    """Events not yet kept by the agent. Numbers start at 1 and grow by one."""

    def __init__(self, prefix: str, camera: str) -> None:
        self._prefix = prefix
        self._camera = camera
        self._waiting: deque[tuple[Event | Publication, int]] = deque()
        self._sent: deque[tuple[Event | Publication, int]] = deque()
        self._bytes = 0
        self._number = 0
        self.kept_total = 0
        self.dropped = 0

    @property
    def total(self) -> int:
        """Events made so far."""
        return self._number

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, body: dict[str, Any], size_bytes: int) -> bool:
        """Hold a new event; the oldest that has not been sent gives way where there are too many.

        False where it is itself longer than a message may be: it is dropped, and counted.
        """
        self._number += 1
        if size_bytes > MAX_EVENT_BYTES:
            self.dropped += 1
            return False
        self._hold(Event(self._number, f"{self._prefix}-{self._number}", self._camera, body), size_bytes)
        return True

    def publish(self, topic: str, payload: str, retain: bool, broker: BrokerAddress | None) -> bool:
        """Hold a message for a broker; as `add`."""
        self._number += 1
        size_bytes = len(payload) + len(topic) + 256
        if size_bytes > MAX_EVENT_BYTES:
            self.dropped += 1
            return False
        message_id = f"{self._prefix}-{self._number}"
        self._hold(
            Publication(self._number, message_id, self._camera, topic, payload, retain, broker), size_bytes
        )
        return True

    def _hold(self, message: Event | Publication, size_bytes: int) -> None:
        self._waiting.append((message, size_bytes))
        self._bytes += size_bytes
        while (len(self) > MAX_HELD or self._bytes > MAX_HELD_BYTES) and self._waiting:
            self._bytes -= self._waiting.popleft()[1]
            self.dropped += 1

    def due(self, room_bytes: int) -> list[Event | Publication]:
        """What may be sent now, until it takes so many bytes (the last one may go beyond); each is returned once."""
        events: list[Event | Publication] = []
        while self._waiting and len(self._sent) < WINDOW and room_bytes > 0:
            entry = self._waiting.popleft()
            self._sent.append(entry)
            events.append(entry[0])
            room_bytes -= entry[1]
        return events

    def kept(self, number: int) -> None:
        """The agent has committed everything up to this number."""
        while self._sent and self._sent[0][0].number <= number:
            self._bytes -= self._sent.popleft()[1]
            self.kept_total += 1
