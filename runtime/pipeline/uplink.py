"""What sinks hand to the agent: events and messages, with where they come from, into the same bounded buffer as all events."""

from __future__ import annotations

import json
from typing import Any

from runtime.camera.reader import Frame
from runtime.pipeline.active import Active
from runtime.pipeline.events import MAX_EVENT_BYTES, Held
from wire import local

DROPPED = f"dropped: longer than the {MAX_EVENT_BYTES} bytes that travel"


class Provenance:
    """The frame and the binding that are being worked on: the pipeline's loop tells before each frame is finished."""

    def __init__(self, start: local.Start, held: Held) -> None:
        self._start = start
        self._held = held
        self._active: Active | None = None
        self._frame: Frame | None = None

    def serving(self, active: Active, frame: Frame) -> None:
        """What sinks hand over from now on comes from this frame."""
        self._active, self._frame = active, frame

    def body(self, outputs: dict[str, Any], errors: dict[str, str]) -> dict[str, Any]:
        """An event's document; see `wire.event.Event`."""
        active, frame = self._active, self._frame
        assert active is not None
        assert frame is not None
        return {
            "camera": self._start.camera.name,
            "pipeline": self._start.pipeline,
            "frame_seq": frame.seq,
            "frame_wall": round(frame.captured_wall, 4),
            **active.origin,
            "outputs": outputs,
            "errors": errors,
        }

    def event(
        self, step: str, outputs: dict[str, Any], picture: dict[str, Any] | None, clip: str = ""
    ) -> str:
        """Keep an event; why it cannot be kept, empty where it is."""
        body = self.body(outputs, {}) | {"step": step} | ({"picture": picture} if picture else {})
        if clip:
            body["clip"] = clip
        return "" if self._held.add(body, len(json.dumps(body))) else DROPPED

    def publish(self, publication: dict[str, Any]) -> str:
        """Keep a message for a broker; why it cannot be kept, empty where it is."""
        broker = publication["broker"]
        address = local.BrokerAddress(**broker) if broker else None
        kept = self._held.publish(
            publication["topic"], publication["payload"], bool(publication["retain"]), address
        )
        return "" if kept else DROPPED
