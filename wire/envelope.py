"""The JSON envelope around every MQTT message: `{v, id, at, boot, seq, synced, exp?, rid?, data}`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from wire import strict_json
from wire.errors import Malformed, TooLarge, UnknownVersion

VERSION = 1
MAX_BYTES = 256 * 1024
"""The limit of one message; what is larger is an artifact and travels over HTTPS."""

_KNOWN = frozenset({"v", "id", "at", "boot", "seq", "synced", "exp", "rid", "data"})


@dataclass(frozen=True)
class Envelope:
    """One message. Times are wall-clock seconds since the epoch, as the sender's clock had them.

    `id` is unique and the key of de-duplication; `boot` and `seq` order one sender's messages; `synced` says whether the
    sender's clock was synchronised; `exp` is when the message loses its meaning; `rid` ties a response to its command.
    """

    id: str
    at: float
    boot: str
    seq: int
    data: dict[str, Any]
    synced: bool = True
    exp: float | None = None
    rid: str | None = None
    unknown: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        """:raises TooLarge: over `MAX_BYTES`"""
        body: dict[str, Any] = {
            **self.unknown,
            "v": VERSION,
            "id": self.id,
            "at": self.at,
            "boot": self.boot,
            "seq": self.seq,
            "synced": self.synced,
        }
        if self.exp is not None:
            body["exp"] = self.exp
        if self.rid is not None:
            body["rid"] = self.rid
        body["data"] = self.data
        payload = strict_json.write(body)
        if len(payload) > MAX_BYTES:
            raise TooLarge(len(payload), MAX_BYTES)
        return payload


def decode(payload: bytes, loads: Callable[[bytes], Any] | None = None) -> Envelope:
    """Read an envelope; fields this version does not know are kept in `unknown`. `loads` may be a faster reader of JSON, as strict
    as `strict_json`.

    :raises TooLarge: over `MAX_BYTES`
    :raises UnknownVersion: `v` is not ours
    :raises Malformed: not JSON, half of a character in a text, or a field is missing or of another type
    """
    if len(payload) > MAX_BYTES:
        raise TooLarge(len(payload), MAX_BYTES)
    try:
        body = strict_json.parse(payload, "an envelope") if loads is None else loads(payload)
    except (ValueError, RecursionError) as e:
        raise Malformed(f"not JSON: {e}") from e
    if not isinstance(body, dict):
        raise Malformed(f"an envelope is a JSON object, not {type(body).__name__}")
    if body.get("v") != VERSION or isinstance(body.get("v"), bool):
        raise UnknownVersion(body.get("v"))
    return Envelope(
        id=_field(body, "id", str),
        at=_number(body, "at"),
        boot=_field(body, "boot", str),
        seq=_field(body, "seq", int),
        synced=_field(body, "synced", bool) if "synced" in body else True,
        exp=_number(body, "exp") if body.get("exp") is not None else None,
        rid=_field(body, "rid", str) if body.get("rid") is not None else None,
        data=_field(body, "data", dict),
        unknown={key: value for key, value in body.items() if key not in _KNOWN},
    )


def _field(body: dict[str, Any], name: str, kind: Any) -> Any:
    value = body.get(name)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise Malformed(f"envelope field {name!r} is {type(value).__name__}")
    return value


def _number(body: dict[str, Any], name: str) -> float:
    try:
        value = float(_field(body, name, (int, float)))
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise Malformed(f"envelope field {name!r} is not a finite number")
    return value
