"""A picture for re-training on its way from a device: one line of JSON, then the file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wire import strict_json
from wire.doc import Doc, read
from wire.errors import Malformed, Refused
from wire.names import Name
from wire.reasons import Reason

MEDIA_TYPE = "application/vnd.outrider.sample"
MOST_HEAD_BYTES = 128 * 1024
MOST_LABELS = 300
JPEG = b"\xff\xd8\xff"


class Label(Doc):
    """What a model found. All in pixels of the picture as it is sent: `bbox` x, y of the top left corner, width, height;
    `segmentation` outlines, each x1 y1 x2 y2 …; `keypoints` x, y, score of each point."""

    name: str = Field(max_length=200)
    score: float = 1.0
    bbox: tuple[float, float, float, float]
    segmentation: list[list[float]] = Field(default_factory=list)
    keypoints: list[float] = Field(default_factory=list)


class About(Doc):
    """What is known of a picture. `why`: `sampled` by chance, `uncertain` for a score within the band, `event` for one that came with
    an event."""

    why: Literal["sampled", "uncertain", "event"] = "sampled"
    pipeline: str = ""
    revision: int = 0
    frame_seq: int = -1
    workflow: str = ""
    models: dict[str, str] = Field(default_factory=dict)
    model_names: dict[str, str] = Field(default_factory=dict)
    labels: list[Label] = Field(default_factory=list, max_length=MOST_LABELS)


class Sample(Doc):
    """The line before the file. `frame_wall` is the time of capture, seconds since the epoch."""

    camera: Name
    frame_wall: float = Field(ge=0, le=1e12)
    width: int = Field(ge=1, le=16384)
    height: int = Field(ge=1, le=16384)
    media_type: Literal["image/jpeg"] = "image/jpeg"
    about: About = About()


def pack(sample: Sample, content: bytes) -> bytes:
    """A sample as it travels."""
    return strict_json.write(sample.to_json()) + b"\n" + content


def unpack(packed: bytes) -> tuple[Sample, bytes]:
    """:raises Refused: not of that form, or a field is wrong"""
    head, newline, content = packed[:MOST_HEAD_BYTES].partition(b"\n")
    if not newline:
        raise _malformed(f"a sample is a line of JSON of at most {MOST_HEAD_BYTES} bytes and a picture")
    try:
        document = strict_json.parse(head, "the line before the picture")
    except Malformed as e:
        raise _malformed(str(e)) from e
    content = packed[len(head) + 1 :]
    if not content.startswith(JPEG):
        raise _malformed("what follows the line is no JPEG")
    return read(Sample, document), content


def _malformed(message: str) -> Refused:
    return Refused(message, Reason.MALFORMED)
