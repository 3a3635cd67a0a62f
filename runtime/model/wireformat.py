"""The messages between pipeline and engine, and how a `Result` becomes bytes. Pure: bytes in, values out, every length checked.

One message is one packet of a UNIX SOCK_SEQPACKET socket, little-endian, no pickle. Both ends are of the same version.

    HELLO    pipeline → engine   the model's digest, how many slots
    WELCOME  engine → pipeline   the layout of the slots; the memfd travels with it (SCM_RIGHTS), the spec lies at its head
    REFUSED  engine → pipeline   reason and message; the engine closes
    REQUEST  pipeline → engine   1..n × (slot, generation, geometry)
    ANSWER   engine → pipeline   1..n × (slot, generation, status, body inline or in the slot's output part)

Slot and generation name a tensor's request, so that tensors asked about together may be answered as they get done. A body longer than `INLINE_BYTES` lies in the
output part, so that the largest packet stays far below the kernel's default send buffer (208 KiB).
"""

from __future__ import annotations

import dataclasses
import json
import struct
import types
import typing
from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import Any, NamedTuple, TypeAlias

from runtime.model.geometry import Geometry
from runtime.model.slots import MAX_SLOTS, SlotLayout
from runtime.model.spec import ModelSpec
from wire.errors import Malformed
from wire.reasons import Reason

VERSION = 1
INLINE_BYTES = 64 * 1024
"""All bodies of one message together."""
MAX_PACKET_BYTES = 2 * INLINE_BYTES
"""No message is longer: inline bodies and the heads of 64 tensors."""
MAX_TEXT_BYTES = 4096
"""A longer message of an error is cut."""
MAX_SIDE_PX = 1 << 20

_HEAD = struct.Struct("<BBH")
_HELLO = struct.Struct("<II")
_WELCOME = struct.Struct("<4Q")
_REFUSED = struct.Struct("<II")
_TENSOR = struct.Struct("<IQ6i")
_ANSWER = struct.Struct("<IQIII")


class Kind(IntEnum):
    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    REQUEST = 4
    ANSWER = 5


class Place(IntEnum):
    """Where the body of an answer lies."""

    INLINE = 0
    SLOT = 1


class Status(IntEnum):
    RESULT = 0
    NO_ANSWER = 1


_STATUSES, _PLACES = tuple(Status), tuple(Place)


class Hello(NamedTuple):
    digest: str
    slots: int


class Welcome(NamedTuple):
    layout: SlotLayout


class Refused(NamedTuple):
    reason: Reason
    message: str


class Tensor(NamedTuple):
    """One filled slot. A generation is unique for its slot as long as the attachment lives."""

    slot: int
    generation: int
    geometry: Geometry


class Request(NamedTuple):
    tensors: Sequence[Tensor]


class TensorAnswer(NamedTuple):
    """`body` is empty where it lies in the slot; `body_bytes` is its length either way."""

    slot: int
    generation: int
    status: Status
    place: Place
    body_bytes: int
    body: bytes


class Answers(NamedTuple):
    tensors: Sequence[TensorAnswer]


Packet: TypeAlias = Hello | Welcome | Refused | Request | Answers


def encode(packet: Packet) -> bytes:
    """The bytes of one packet."""
    if isinstance(packet, Answers):
        parts = [_HEAD.pack(VERSION, Kind.ANSWER, len(packet.tensors))]
        for answer in packet.tensors:
            parts += (_ANSWER.pack(*answer[:5]), answer.body)
        return b"".join(parts)
    if isinstance(packet, Request):
        head = _HEAD.pack(VERSION, Kind.REQUEST, len(packet.tensors))
        return head + b"".join(
            _TENSOR.pack(t.slot, t.generation, *_sides(t.geometry)) for t in packet.tensors
        )
    if isinstance(packet, Hello):
        digest = packet.digest.encode()
        return _HEAD.pack(VERSION, Kind.HELLO, 1) + _HELLO.pack(packet.slots, len(digest)) + digest
    if isinstance(packet, Welcome):
        return _HEAD.pack(VERSION, Kind.WELCOME, 1) + _WELCOME.pack(*dataclasses.astuple(packet.layout))
    reason, text = packet.reason.value.encode(), packet.message.encode()[:MAX_TEXT_BYTES]
    return _HEAD.pack(VERSION, Kind.REFUSED, 1) + _REFUSED.pack(len(reason), len(text)) + reason + text


def _sides(geometry: Geometry) -> tuple[int, int, int, int, int, int]:
    return (
        geometry.image_width_px,
        geometry.image_height_px,
        geometry.resized_width_px,
        geometry.resized_height_px,
        geometry.left_px,
        geometry.top_px,
    )


def decode(data: bytes) -> Packet:
    """Read one packet.

    :raises Malformed: not a packet of this version, or one whose lengths or numbers do not hold
    """
    try:
        version, kind, count = _HEAD.unpack_from(data)
        if version != VERSION:
            raise Malformed(f"packet of version {version}; this side speaks {VERSION}: restart both sides")
        if not 1 <= count <= MAX_SLOTS:
            raise Malformed(f"packet about {count} tensors; 1 to {MAX_SLOTS} are possible")
        if kind == Kind.ANSWER:
            return _answers(data, count)
        if kind == Kind.REQUEST:
            return _request(data, count)
        if kind == Kind.HELLO:
            return _hello(data)
        if kind == Kind.WELCOME:
            return Welcome(SlotLayout(*_WELCOME.unpack(data[_HEAD.size :])))
        if kind == Kind.REFUSED:
            return _refused(data)
    except (struct.error, ValueError, IndexError) as e:
        raise Malformed(f"packet of {len(data)} bytes cannot be read: {e}") from e
    raise Malformed(f"packet of unknown kind {kind}")


def _hello(data: bytes) -> Hello:
    at = _HEAD.size
    slots, length = _HELLO.unpack_from(data, at)
    at += _HELLO.size
    _expect_end(data, at + length)
    return Hello(data[at:].decode(), slots)


def _refused(data: bytes) -> Refused:
    at = _HEAD.size
    reason_bytes, text_bytes = _REFUSED.unpack_from(data, at)
    at += _REFUSED.size
    _expect_end(data, at + reason_bytes + text_bytes)
    middle = at + reason_bytes
    return Refused(Reason(data[at:middle].decode()), data[middle:].decode(errors="replace"))


def _request(data: bytes, count: int) -> Request:
    at = _HEAD.size
    _expect_end(data, at + count * _TENSOR.size)
    tensors = []
    for slot, generation, *sides in _TENSOR.iter_unpack(memoryview(data)[at:]):
        if min(sides[:4]) < 1 or max(sides[:4]) > MAX_SIDE_PX:
            raise Malformed(f"slot {slot} holds an image of impossible size {sides}")
        tensors.append(Tensor(slot, generation, Geometry(*sides)))
    return Request(tensors)


def _answers(data: bytes, count: int) -> Answers:
    at = _HEAD.size
    tensors = []
    for _ in range(count):
        slot, generation, status, place, body_bytes = _ANSWER.unpack_from(data, at)
        at += _ANSWER.size
        body = b""
        if place == Place.INLINE:
            body = data[at : at + body_bytes]
            at += body_bytes
        if at > len(data):
            raise Malformed(f"answer for slot {slot} is cut off: {at} bytes announced, {len(data)} came")
        tensors.append(TensorAnswer(slot, generation, _STATUSES[status], _PLACES[place], body_bytes, body))
    _expect_end(data, at)
    return Answers(tensors)


def _expect_end(data: bytes, end: int) -> None:
    if end != len(data):
        raise Malformed(f"packet of {len(data)} bytes; its head announces {end}")


# --- the spec, once at attach -----------------------------------------------------------------------------------------


def encode_spec(spec: ModelSpec) -> bytes:
    """The spec as JSON, for the head of the memfd."""
    return json.dumps(dataclasses.asdict(spec)).encode()


def decode_spec(data: bytes) -> ModelSpec:
    """:raises Malformed: not a spec"""
    try:
        return typing.cast(ModelSpec, _typed(ModelSpec, json.loads(data)))
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise Malformed(f"not a model spec: {e}: {data[:80]!r}") from e


def _typed(hint: Any, value: Any) -> Any:
    """A JSON value as the dataclasses, enumerations and tuples that the hint names."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        inner = [option for option in typing.get_args(hint) if option is not type(None)]
        return None if value is None else _typed(inner[0], value)
    if origin is tuple:
        first = typing.get_args(hint)[0]
        return tuple(_typed(first, item) for item in value)
    if isinstance(hint, type):
        if dataclasses.is_dataclass(hint):
            hints = typing.get_type_hints(hint)
            return hint(**{name: _typed(hints[name], item) for name, item in value.items()})
        if issubclass(hint, Enum):
            return hint(value)
    return value
