"""The grammar of a camera's source, known to the control plane, the agent and the pipeline alike. Pure text."""

from __future__ import annotations

import re
from enum import Enum

STREAM_SCHEMES = frozenset(
    {
        "rtsp",
        "rtsps",
        "rtmp",
        "http",
        "https",
        "udp",
        "tcp",
        "srt",
        "snapshot+http",
        "snapshot+https",
        "synthetic",
    }
)
EXPECTED = "rtsp://…, http://…, snapshot+http://…, a device number, /dev/video…, csi://…, a file or a folder of images"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")


class Kind(str, Enum):
    """How a source is opened."""

    DEVICE = "device"
    STREAM = "stream"
    FILE = "file"


def kind_of(source: str) -> Kind | None:
    """Which kind of source the text names; None where it is of no known form."""
    text = source.strip()
    if not text:
        return None
    if text.isdigit() or text.startswith("/dev/video"):
        return Kind.DEVICE
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() == "csi":
        return Kind.DEVICE
    if scheme is None or scheme[1].lower() == "file":
        return Kind.FILE
    return Kind.STREAM if scheme[1].lower() in STREAM_SCHEMES else None


def default_pace(source: str) -> str:
    """`realtime` for files (every frame, at the file's rate), `live` for all else (the newest frame wins)."""
    return "realtime" if kind_of(source) is Kind.FILE else "live"
