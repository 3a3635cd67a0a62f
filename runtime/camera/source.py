"""What a camera source is, and which source a text names."""

from __future__ import annotations

import os
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


class Source(Protocol):
    """One opened source, used by one thread."""

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

    def close(self) -> None: ...


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
