"""How a camera is watched: deadlines, checks on its picture, active hours, privacy. Plain values, known to all sides.

Each class checks itself, so that a document with a wrong value is refused where it is written, and a pipeline process that
reads the same value needs no validation library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

DAY_MIN = 24 * 60
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _within(value: object, name: str, low: float, high: float) -> None:
    """:raises ValueError: not a number of the range"""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise ValueError(f"{name} is {value!r}; a number from {low:g} to {high:g} is expected")


@dataclass(frozen=True)
class Deadlines:
    """Seconds until a call to the camera is given up. A native call that goes on for `hang_s` beyond that is taken to be
    blocked, and its process is ended."""

    open_s: float = 10.0
    read_s: float = 10.0
    hang_s: float = 10.0

    def __post_init__(self) -> None:
        for each in fields(self):
            _within(getattr(self, each.name), each.name, 0.5, 600.0)


@dataclass(frozen=True)
class PictureChecks:
    """Seconds for which each fault of the picture has to last until it is told; 0 turns a check off.

    `every_s`: how often one picture is looked at. `width_px` and `height_px`: the size it has to have, 0 where any will do.
    """

    every_s: float = 1.0
    frozen_s: float = 20.0
    black_s: float = 10.0
    bright_s: float = 10.0
    covered_s: float = 20.0
    blurred_s: float = 60.0
    moved_s: float = 60.0
    width_px: int = 0
    height_px: int = 0

    def __post_init__(self) -> None:
        for each in fields(self):
            _within(getattr(self, each.name), each.name, 0.0, 86400.0)
        if self.every_s < 0.1:
            raise ValueError(f"every_s is {self.every_s!r}; at least 0.1 is expected")


@dataclass(frozen=True)
class Window:
    """Hours of some days, `from_time` and `to_time` as HH:MM; one that ends before it begins reaches into the next day."""

    from_time: str
    to_time: str
    days: list[str] = field(default_factory=lambda: list(DAYS))

    def __post_init__(self) -> None:
        for text in (self.from_time, self.to_time):
            minute_of_day(text)
        if wrong := [day for day in self.days if day not in DAYS]:
            raise ValueError(f"{wrong} are no days; expected some of {list(DAYS)}")

    def holds(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a day (0 is Monday) lies in it."""
        begin, end = minute_of_day(self.from_time), minute_of_day(self.to_time)
        today, yesterday = DAYS[weekday] in self.days, DAYS[weekday - 1] in self.days
        if begin < end:
            return today and begin <= minute < end
        return (today and minute >= begin) or (yesterday and minute < end)


def minute_of_day(text: str) -> int:
    """`HH:MM` as minutes from midnight; `24:00` is the end of the day.

    :raises ValueError: no such time
    """
    hours, colon, minutes = text.partition(":")
    if colon and len(minutes) == 2 and hours.isdigit() and minutes.isdigit():
        value = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and value <= DAY_MIN:
            return value
    raise ValueError(f"{text!r} is no time of day; expected HH:MM")


@dataclass(frozen=True)
class ActiveHours:
    """When the camera is watched; without windows always. `timezone`: a name of the time zone database, empty for the
    device's own."""

    timezone: str = ""
    windows: list[Window] = field(default_factory=list)


@dataclass(frozen=True)
class Privacy:
    """What of a picture may be seen, and where. Corners of regions are shares of width and height, 0 to 1.

    `masks`: polygons painted black before anything looks at the picture. `blurred`: polygons, and `blurred_classes`: detected
    objects, made unrecognisable in every picture that leaves the process; `faces`: the same for all that a model of this document
    finds, a face detector say, which the workflow need not use. `pictures`: `none` leave it, those for this `device`
    do, or also those the `fleet` asks for.
    """

    masks: list[list[list[float]]] = field(default_factory=list)
    blurred: list[list[list[float]]] = field(default_factory=list)
    blurred_classes: list[str] = field(default_factory=list)
    pictures: str = "device"
    faces: str = ""

    @property
    def hides(self) -> bool:
        """Whether something is to be hidden in pictures that leave."""
        return bool(self.blurred or self.blurred_classes or self.faces)

    def __post_init__(self) -> None:
        if not isinstance(self.faces, str) or len(self.faces) > 64:
            raise ValueError(f"faces is {self.faces!r}; the name of a model is expected")
        if self.pictures not in ("none", "device", "fleet"):
            raise ValueError(f"pictures is {self.pictures!r}; expected none, device or fleet")
        for polygon in (*self.masks, *self.blurred):
            if len(polygon) < 3 or any(len(corner) != 2 for corner in polygon):
                raise ValueError("a region needs three or more corners of two numbers each")
            for value in (value for corner in polygon for value in corner):
                if not math.isfinite(value) or not 0.0 <= value <= 1.0:
                    raise ValueError(f"{value!r} is no share of the picture; expected 0 to 1")


@dataclass(frozen=True)
class Clips:
    """The last `seconds` of the camera, kept compressed in memory so that an event can carry them; 0 keeps nothing.

    At most `fps` pictures a second, `width_px` wide, in `max_bytes`: the oldest give way.
    """

    seconds: float = 0.0
    fps: float = 5.0
    width_px: int = 640
    max_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        _within(self.seconds, "seconds", 0.0, 120.0)
        _within(self.fps, "fps", 0.2, 30.0)
        _within(self.width_px, "width_px", 64, 1920)
        _within(self.max_bytes, "max_bytes", 65536, 256 * 1024 * 1024)


@dataclass(frozen=True)
class Sampling:
    """Pictures of the camera for re-training, each with what its models found. Only where `privacy.pictures` is `fleet`.

    `every_s`: one in about so long, at random times; 0 takes none. `uncertain`: two scores; a frame with a detection between them is taken,
    `min_gap_s` after the last one at the earliest. A day (UTC) at most `per_day` pictures are taken and `upload_bytes_day` sent; what
    waits takes `disk_bytes`, the oldest give way. `width_px`: wider ones are made smaller.
    """

    every_s: float = 0.0
    uncertain: list[float] = field(default_factory=list)
    min_gap_s: float = 30.0
    per_day: int = 200
    upload_bytes_day: int = 32 * 1024 * 1024
    disk_bytes: int = 64 * 1024 * 1024
    width_px: int = 1280

    @property
    def on(self) -> bool:
        """Whether anything is taken."""
        return self.every_s > 0 or bool(self.uncertain)

    def __post_init__(self) -> None:
        _within(self.every_s, "every_s", 0.0, 7 * 86400.0)
        _within(self.min_gap_s, "min_gap_s", 0.0, 86400.0)
        _within(self.per_day, "per_day", 1, 100_000)
        _within(self.upload_bytes_day, "upload_bytes_day", 65536, 2**40)
        _within(self.disk_bytes, "disk_bytes", 1024 * 1024, 2**40)
        _within(self.width_px, "width_px", 64, 4096)
        for score in self.uncertain:
            _within(score, "uncertain", 0.0, 1.0)
        if self.uncertain and (len(self.uncertain) != 2 or self.uncertain[0] >= self.uncertain[1]):
            raise ValueError(f"uncertain is {self.uncertain!r}; a lower and a higher score are expected")


@dataclass(frozen=True)
class Care:
    """All of the above for one camera. `shed`: whether its rate may be lowered when the device is under stress."""

    deadlines: Deadlines = field(default_factory=Deadlines)
    checks: PictureChecks = field(default_factory=PictureChecks)
    hours: ActiveHours = field(default_factory=ActiveHours)
    privacy: Privacy = field(default_factory=Privacy)
    shed: bool = True
    clips: Clips = field(default_factory=Clips)
    sampling: Sampling = field(default_factory=Sampling)
