"""The picture in an event, taken out of it: the bytes become an object, the event keeps what is known of it. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wire.picture import JPEG, MOST_LABELS

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
MOST_DEPTH = 6
SAME_SHAPE = 0.02
"""How far two pictures' ratios of width to height may differ, and yet be of the same view."""


@dataclass(frozen=True)
class Lifted:
    """`left`: what the event keeps in place of it; `about`: see `wire.picture.About`."""

    content: bytes
    width: int
    height: int
    left: dict[str, Any]
    about: dict[str, Any]


def lift(event_id: str, body: Mapping[str, Any]) -> Lifted | None:
    """The picture of an event's document; None where there is none that could be kept."""
    picture = body.get("picture")
    if (
        not isinstance(picture, dict)
        or picture.get("media_type") != "image/jpeg"
        or not ID.fullmatch(event_id)
    ):
        return None
    width, height = _pixels(picture.get("width")), _pixels(picture.get("height"))
    try:
        content = base64.b64decode(str(picture.get("base64", "")), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not content.startswith(JPEG) or not width or not height:
        return None
    left = {key: value for key, value in picture.items() if key != "base64"}
    left |= {"id": event_id, "size_bytes": len(content)}
    names = ("pipeline", "revision", "frame_seq", "workflow", "models", "model_names")
    about = {name: body[name] for name in names if name in body}
    about |= {"why": "event", "labels": labels(body.get("outputs"), width, height)}
    return Lifted(content, width, height, left, about)


def labels(outputs: Any, width: int, height: int) -> list[dict[str, Any]]:
    """Detections among outputs, in pixels of a picture of that size, where it shows the same view."""
    found: list[dict[str, Any]] = []
    for answer in _answers(outputs, 0):
        image = answer.get("image") or {}
        across, down = _pixels(image.get("width")), _pixels(image.get("height"))
        if not across or not down or abs(across * height / (down * width) - 1) > SAME_SHAPE:
            continue
        found += [label for each in answer["predictions"] if (label := _label(each, width / across))]
    return found[:MOST_LABELS]


def _answers(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("predictions"), list) and "image" in value:
        yield value
    elif isinstance(value, (dict, list)) and depth < MOST_DEPTH:
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _answers(entry, depth + 1)


def _label(prediction: Any, scale: float) -> dict[str, Any] | None:
    """Centre and size become corner and size."""
    try:
        x, y, w, h = (float(prediction[name]) * scale for name in ("x", "y", "width", "height"))
        outline = [
            float(point[axis]) * scale for point in prediction.get("points") or () for axis in ("x", "y")
        ]
        return {
            "name": str(prediction["class"])[:200],
            "score": float(prediction.get("confidence", 1.0)),
            "bbox": [round(value, 2) for value in (x - w / 2, y - h / 2, w, h)],
            "segmentation": [[round(value, 2) for value in outline]] if len(outline) >= 6 else [],
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _pixels(value: Any) -> int:
    """0 where it is no size of a picture."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 16384 else 0
