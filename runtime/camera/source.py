"""What a camera source is, and which source a text names."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from runtime.errors import SourceRefused
from runtime.results import Image
from wire import source
from wire.local import CameraSource
from wire.reasons import Reason
from wire.redact import redact
from wire.source import Kind


class Pace(str, Enum):
    """`LIVE`: the newest frame wins. `REALTIME`: every frame, at the file's rate. `FILE`: every frame, at once."""

    LIVE = "live"
    REALTIME = "realtime"
    FILE = "file"


@dataclass(frozen=True)
class Properties:
    """What an opened source says of itself; `fps` is 0 and `decoder` empty where it does not know.

    `note`: what is not as it was asked for, such as decoding in software.
    """

    width_px: int
    height_px: int
    fps: float
    decoder: str = ""
    note: str = ""


@dataclass(frozen=True)
class Loss:
    """Packets lost on the way since the stream was opened, and the share of those sent of late; None where that is not known."""

    packets: int
    share: float | None


Spare = Callable[[bool, bool, bool], bool]
"""Whether a packet need not be decoded: (is a key frame, others are made from it, pictures are reordered) → bool."""


class Source(Protocol):
    """One opened source, used by one thread. `spare` is asked for each packet, by sources that can leave some undecoded;
    `spared`: the current frame is such a one."""

    spare: Spare | None
    spared: bool

    @property
    def properties(self) -> Properties: ...

    def advance(self) -> bool:
        """Move to the next frame without converting it; False at the end or when the stream broke."""

    def image(self) -> Image | None:
        """The current frame as (H, W, 3) uint8 BGR, the caller's own; None when it cannot be decoded."""

    def position_s(self) -> float | None:
        """The current frame's time on the stream's own clock (of RTP, of the file) in seconds; None where it has none."""

    def captured_wall(self) -> float | None:
        """When the camera itself says that it took the current frame, seconds since the epoch; None where it does not say."""

    def loss(self) -> Loss | None:
        """What was lost on the way; None where nothing is lost or nobody can tell."""

    def close(self) -> None: ...


class PlainSource:
    """What a source is that knows no times, loses nothing and decodes everything."""

    spare: Spare | None = None
    spared = False

    def position_s(self) -> float | None:
        return None

    def captured_wall(self) -> float | None:
        return None

    def loss(self) -> Loss | None:
        return None

    def close(self) -> None:
        return


def kind_of(camera: CameraSource) -> Kind:
    """Which kind of source the camera names.

    :raises SourceRefused: no known form
    """
    kind = source.kind_of(camera.source)
    if kind is None:
        raise SourceRefused(
            Reason.CAMERA_SOURCE_INVALID,
            f"camera {camera.name!r}: {redact(camera.source)!r} is of no known form; expected {source.EXPECTED}",
        )
    return kind


def file_path(camera: CameraSource) -> Path:
    """The path of a file source."""
    return Path(os.path.expanduser(camera.source.removeprefix("file://")))


def pace_of(camera: CameraSource) -> Pace:
    """The pace; where the camera names none, the default of its kind."""
    return Pace(camera.pace or source.default_pace(camera.source))
