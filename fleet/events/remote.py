"""The part of the client that speaks of events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from fleet import shapes
from fleet.calls import ApiError
from fleet.errors import Transient

PAGE = 500
SILENT_S = 45.0
"""A stream that says nothing for this long is dead: it has a beat."""
AGAIN_S = 2.0

Conditions: TypeAlias = "dict[str, Any]"
"""`selector`, `device`, `camera`, `workflow`, `kind`, `since`, `until`, `having` (list), `field` (list); None asks for nothing."""


@dataclass
class _Message:
    """A server-sent event as far as it has come."""

    kind: str = ""
    data: str = ""
    number: str = ""


class RemoteEvents:
    """`call` sends a request and gives the parsed answer, `streamed` gives its bytes. Both raise as `Client` says."""

    def __init__(self, call: Callable[..., Any], streamed: Callable[..., Iterator[bytes]]) -> None:
        self._call = call
        self._streamed = streamed

    def each(
        self, conditions: Conditions, order: str = "newest", most: int | None = None
    ) -> Iterator[shapes.EventView]:
        """Events of a filter, page after page, as far as there are any."""
        params = {**_asked(conditions), "order": order, "limit": min(PAGE, most or PAGE)}
        before = None
        while True:
            page = cast("shapes.EventList", self._call("GET", "/events", params=params))
            for event in page["items"]:
                yield event
                most = most - 1 if most is not None else None
                if most == 0:
                    return
            if page["next"] is None or page["next"] == before:
                return
            params["cursor"] = before = page["next"]

    def watch(self, conditions: Conditions, cursor: int | None = None) -> Iterator[shapes.EventView]:
        """Events as they come, for ever; a stream that breaks is taken up where it was."""
        after = str(cursor) if cursor is not None else ""
        while True:
            try:
                for message in self._messages(conditions, after):
                    after = message.number or after
                    if message.kind == "end":
                        return
                    if message.kind == "event":
                        yield json.loads(message.data)
            except ApiError:
                raise
            except Transient:
                if not after:
                    raise
            time.sleep(AGAIN_S)

    def export(self, conditions: Conditions, **options: Any) -> Iterator[bytes]:
        """Every event of a filter as a file; `format`, `column`."""
        return self._streamed("/events/export", params=_asked({**conditions, **options}), timeout=SILENT_S)

    def pictures(
        self, conditions: Conditions, source: str | None = None, most: int | None = None
    ) -> Iterator[shapes.PictureView]:
        """Pictures of a filter, newest first; `source` is event or sample."""
        params = {**_asked({**conditions, "source": source}), "limit": min(PAGE, most or PAGE)}
        while True:
            page = self._call("GET", "/pictures", params=params)
            for picture in page["items"]:
                yield picture
                most = most - 1 if most is not None else None
                if most == 0:
                    return
            if page["next"] is None:
                return
            params["cursor"] = page["next"]

    def picture(self, device: str, picture: str) -> bytes:
        """The bytes of a picture; that it was looked at is recorded."""
        return b"".join(self._streamed(f"/devices/{device}/pictures/{picture}"))

    def remove_picture(self, device: str, picture: str) -> None:
        """Remove a picture for good."""
        self._call("DELETE", f"/devices/{device}/pictures/{picture}")

    def data_set(self, conditions: Conditions, **options: Any) -> Iterator[bytes]:
        """Pictures as a COCO data set, a tar; `source`, `most`."""
        return self._streamed("/pictures/export", params=_asked({**conditions, **options}), timeout=SILENT_S)

    def _messages(self, conditions: Conditions, after: str) -> Iterator[_Message]:
        params = _asked({**conditions, "cursor": after})
        message, rest = _Message(), b""
        for chunk in self._streamed("/events/stream", params=params, timeout=SILENT_S):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                name, _, value = line.decode().partition(": ")
                if name == "data":
                    message.data += value
                elif name == "event":
                    message.kind = value
                elif name == "id":
                    message.number = value
                elif not name:
                    yield message
                    message = _Message()


def _asked(conditions: Conditions) -> dict[str, Any]:
    return {name: value for name, value in conditions.items() if value not in (None, "", [], ())}
