"""Which pictures a sink may take out of the process, and in what form."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from runtime.results import Image, Result
from runtime.sinks.sender import Undelivered

JPEG_QUALITY = 85
REACH = ("none", "device", "fleet")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"II*\0", b"MM\0*")
_BASE64 = re.compile(
    r"(?<![A-Za-z0-9+/_-])(?:\\?/9j|_9j|iVBORw0K|UklGR|R0lGOD|SUkqA|TU0AK)[A-Za-z0-9+/_\\-][A-Za-z0-9+/=_\\\s-]{200}"
)
"""A picture as base64, of either alphabet, wherever in a text: a JSON string of its own escapes the slash."""
MAX_DEPTH = 24
"""As deep as outputs are written (`runtime.workflow.serialise`)."""
LEFT_OUT = {"type": "image", "left_out": True}
Scene: TypeAlias = Mapping[str, Result]


class Window(NamedTuple):
    """The part of the camera's picture that a picture shows, in the camera's pixels, and the size of the whole."""

    left: float
    top: float
    width: float
    height: float
    whole_wh: tuple[int, int]


class Veil(Protocol):
    """Makes unrecognisable what the camera's policy names. `scene`: what the models found in the frame, by step."""

    def problem(self, scene: Scene) -> str:
        """Why that cannot be done in this frame; empty where it can."""

    def over(self, image: Image, window: Window, scene: Scene) -> Image:
        """The picture with it hidden, in a copy. May be called by any thread."""


class Picture(Protocol):
    """A picture of a workflow (`runtime.workflow.values.ImageValue`)."""

    @property
    def image(self) -> Image: ...
    @property
    def metadata(self) -> Hashable: ...
    @property
    def in_place(self) -> bool: ...
    @property
    def window(self) -> tuple[float, float, float, float, tuple[int, int]]: ...


@dataclass
class Pictures:
    """`reach`: how far pictures may go: `none`, this `device`, or beyond it (`fleet`). `veil`: what is hidden in those that do.
    `look_at` is called by the thread that finishes frames, before the steps of a frame run."""

    reach: str = "fleet"
    veil: Veil | None = None
    _scene: Scene = field(default_factory=dict)
    _frames: frozenset[Hashable] = frozenset()

    def look_at(self, scene: Scene, frames: frozenset[Hashable]) -> None:
        """The frame whose steps run now: `scene` fills while they do; `frames`: the metadata of its pictures."""
        self._scene, self._frames = scene, frames

    def leaving(self, picture: Picture) -> Leaving:
        """A picture on its way out. Ask `kept_back` first."""
        pixels, veil = own_pixels(picture.image), self.veil
        if veil is None:
            return Leaving(pixels.nbytes, lambda: pixels)
        window, scene = Window(*picture.window), dict(self._scene)
        return Leaving(pixels.nbytes, lambda: veil.over(pixels, window, scene))

    def may_reach(self, where: str) -> bool:
        """Whether pictures may go as far as `device` or `fleet`."""
        return REACH.index(self.reach) >= REACH.index(where)

    def kept_back(self, value: Any, where: str) -> str:
        """Why a value may not go so far, because it holds a picture; empty where it may."""
        if self.may_reach(where) and self.veil is None:
            return ""
        found = list(pictures_in(value))
        if not found:
            return ""
        if not self.may_reach(where):
            return f"the privacy policy of the camera lets pictures reach {self.reach!r}, this sink needs {where!r}"
        return self._not_hidden(found)

    def let_through(
        self, outputs: dict[str, Any], errors: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Outputs of a workflow, as JSON, and errors of its steps for an event: without the pictures that may not reach the fleet."""
        if why := self.kept_back(outputs, "fleet"):
            return without_pictures(outputs), {**errors, "privacy": why}
        return outputs, errors

    def _not_hidden(self, found: list[Any]) -> str:
        """Why the policy's veil cannot be laid over these."""
        assert self.veil is not None
        for picture in found:
            if not hasattr(picture, "in_place"):
                return (
                    "the privacy policy of the camera hides parts of its pictures, and in an encoded picture that cannot be done: "
                    "give the sink the picture itself"
                )
            if not picture.in_place or picture.metadata not in self._frames:
                return (
                    "the privacy policy of the camera hides parts of its pictures, and in this one it is not known where they lie: "
                    "give the sink the camera's picture of this frame, a crop of it, or one that was drawn over"
                )
        return self.veil.problem(self._scene)


class Leaving:
    """A picture on its way out; `size_bytes` of what waits."""

    def __init__(self, size_bytes: int, shown: Callable[[], Image]) -> None:
        self.size_bytes = size_bytes
        self.shown = shown
        """The pixels as they may be seen."""

    def jpeg(self, quality: int = JPEG_QUALITY) -> bytes:
        """:raises Undelivered: it cannot be encoded"""
        return jpeg(self.shown(), quality)


def jpeg(image: Image, quality: int = JPEG_QUALITY) -> bytes:
    """A picture, (H, W, 3) or (H, W) uint8 BGR, as a file.

    :raises Undelivered: it cannot be encoded
    """
    import cv2

    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise Undelivered(f"a picture of {image.shape} cannot be encoded as JPEG", again=False)
    return bytes(encoded)


def own_pixels(image: Image) -> Image:
    """The picture; a small part of a larger one is copied, so that waiting for delivery does not keep the whole."""
    base = image.base
    if isinstance(base, np.ndarray) and base.nbytes > 2 * image.nbytes:
        return np.array(image, np.uint8)
    return image


def holds_picture(value: Any) -> bool:
    """Whether there is a picture in it: pixels, or an encoded file, also as base64."""
    return next(pictures_in(value), None) is not None


def pictures_in(value: Any, depth: int = 0) -> Iterator[Any]:
    """The pictures in a value: those with pixels as they are, encoded files as bytes or text."""
    if isinstance(value, (bytes, bytearray)):
        found = bytes(value[:8]).startswith(_MAGIC)
    elif isinstance(value, str):
        found = _is_picture(value)
    elif depth < MAX_DEPTH and isinstance(value, (Mapping, list, tuple)):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from pictures_in(entry, depth + 1)
        return
    else:
        found = hasattr(value, "image") and hasattr(value, "width_px")
    if found:
        yield value


def _is_picture(text: str) -> bool:
    return len(text) > 200 and _BASE64.search(text) is not None


def without_pictures(value: Any) -> Any:
    """JSON in which each text that holds a picture is a note that it was left out."""
    if isinstance(value, str):
        return dict(LEFT_OUT) if _is_picture(value) else value
    if isinstance(value, Mapping):
        return {name: without_pictures(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [without_pictures(entry) for entry in value]
    return value
