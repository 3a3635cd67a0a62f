"""A picture of a camera as an agent handles it: encoded, never decoded here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Picture:
    """`frame_wh`: width and height in pixels of the camera's own frame, which the picture may be smaller than; 0 where not known."""

    jpeg: bytes
    frame_wh: tuple[int, int] = (0, 0)
