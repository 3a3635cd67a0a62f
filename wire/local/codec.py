"""Messages as lines of JSON, and back."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any, TypeAlias

from wire.errors import Malformed
from wire.local.compare import Compare, Compared, EndCompare
from wire.local.engine import (
    EnginePhase,
    EngineRefused,
    EngineStats,
    EngineUp,
    Load,
    Unload,
)
from wire.local.oneshot import (
    BenchResult,
    CheckResult,
)
from wire.local.orders import (
    Abandon,
    Commit,
    EventsKept,
    Prepare,
    Relieve,
    Start,
    Stop,
    TakeClip,
    TakeSnapshot,
)
from wire.local.pipeline import (
    CameraState,
    ClipTaken,
    Drained,
    Event,
    NotPrepared,
    PictureState,
    PipelineStats,
    PipelineUp,
    Prepared,
    Publication,
    SampleTaken,
    SnapshotTaken,
    Switched,
)
from wire.local.register import KINDS, NAMES

MAX_LINE_BYTES = 1024 * 1024
"""A line longer than this is refused: events are limited to 256 KiB by the broker's side anyway."""

Message: TypeAlias = (
    Start
    | Prepare
    | Commit
    | Abandon
    | EventsKept
    | TakeClip
    | TakeSnapshot
    | Relieve
    | Compare
    | EndCompare
    | Compared
    | Stop
    | PipelineUp
    | CameraState
    | PictureState
    | Prepared
    | NotPrepared
    | Switched
    | Drained
    | Event
    | Publication
    | PipelineStats
    | ClipTaken
    | SampleTaken
    | SnapshotTaken
    | Load
    | Unload
    | EnginePhase
    | EngineUp
    | EngineRefused
    | EngineStats
    | CheckResult
    | BenchResult
)


def encode(message: Message) -> bytes:
    """One line, newline included."""
    body = {"kind": NAMES[type(message)], **dataclasses.asdict(message)}
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line.

    :raises Malformed: not a local message
    """
    try:
        body = json.loads(line)
        cls = KINDS[body.pop("kind")]
        return typing.cast("Message", _build(cls, body))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise Malformed(f"not a local message: {line[:120]!r}: {e}") from e


def _build(cls: type[Any], body: dict[str, Any]) -> Any:
    hints = _hints(cls)
    return cls(**{name: _value(hints[name], value) for name, value in body.items()})


def _value(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value)
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType) and isinstance(value, dict):
        return _value(next(each for each in typing.get_args(hint) if dataclasses.is_dataclass(each)), value)
    if origin is list:
        (inner,) = typing.get_args(hint)
        return [_value(inner, item) for item in value]
    if origin is dict:
        _, inner = typing.get_args(hint)
        return {key: _value(inner, item) for key, item in value.items()}
    return value


_HINTS: dict[type[Any], dict[str, Any]] = {}


def _hints(cls: type[Any]) -> dict[str, Any]:
    if cls not in _HINTS:
        _HINTS[cls] = typing.get_type_hints(cls)
    return _HINTS[cls]


class Lines:
    """Cuts a byte stream into lines; keeps the unfinished rest."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """:raises Malformed: a line grows beyond `MAX_LINE_BYTES`"""
        self._rest += data
        *lines, rest = bytes(self._rest).split(b"\n")
        self._rest = bytearray(rest)
        if len(rest) > MAX_LINE_BYTES:
            raise Malformed(f"a line of more than {MAX_LINE_BYTES} bytes")
        return lines
