"""Pictures as a COCO data set: `images/…` and `annotations.json`, with what the model found as labels to begin from.

An annotation has the model's `score` beside COCO's own fields; a picture has its provenance under `outrider`. The set is one tar, streamed.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from fleet.shapes import PictureView

MOST_PICTURES = 20_000
ANNOTATIONS = "annotations.json"
FOLDER = "images"
_OTHER = re.compile(r"[^A-Za-z0-9._-]")


class DataSet:
    """The document, a picture at a time. Pure."""

    def __init__(self, made_wall: float) -> None:
        self._made = datetime.fromtimestamp(made_wall, timezone.utc)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._categories: dict[str, int] = {}

    def add(self, picture: PictureView) -> str:
        """The file name of a picture; its labels are taken in."""
        number = len(self._images) + 1
        name = f"{picture['device']}-{picture['camera']}-{_OTHER.sub('_', picture['id'])}.jpg"
        about = picture["about"]
        taken = datetime.fromtimestamp(picture["taken_wall"], timezone.utc)
        known = ("device", "camera", "source", "workflow", "id")
        told = ("why", "pipeline", "revision", "frame_seq", "models", "model_names")
        self._images.append(
            {
                "id": number,
                "file_name": f"{FOLDER}/{name}",
                "width": picture["width"],
                "height": picture["height"],
                "date_captured": taken.isoformat(timespec="milliseconds"),
                "outrider": {
                    **{field: picture[field] for field in known},  # type: ignore[literal-required]
                    **{field: about[field] for field in told if field in about},
                },
            }
        )
        for label in about.get("labels") or ():
            self._annotations.append(self._annotation(number, label))
        return f"{FOLDER}/{name}"

    def document(self) -> dict[str, Any]:
        """`annotations.json`."""
        return {
            "info": {
                "description": "Pictures of a fleet, with what its models found",
                "version": "1",
                "year": self._made.year,
                "date_created": self._made.isoformat(timespec="seconds"),
            },
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": ""} for name, number in self._categories.items()
            ],
        }

    def _annotation(self, image: int, label: dict[str, Any]) -> dict[str, Any]:
        x, y, width, height = label["bbox"]
        points = label.get("keypoints") or []
        seen = [value for k in range(0, len(points) - 2, 3) for value in (points[k], points[k + 1], 2)]
        return {
            "id": len(self._annotations) + 1,
            "image_id": image,
            "category_id": self._categories.setdefault(label["name"], len(self._categories) + 1),
            "bbox": [x, y, width, height],
            "area": round(width * height, 2),
            "iscrowd": 0,
            "segmentation": label.get("segmentation") or [],
            "score": label.get("score", 1.0),
            **({"keypoints": seen, "num_keypoints": len(seen) // 3} if seen else {}),
        }


async def archive(
    pictures: Sequence[PictureView], content: Callable[[int], Awaitable[bytes]], made_wall: float
) -> AsyncIterator[bytes]:
    """The tar, picture by picture; `content` gives the bytes of the one with that place."""
    data_set = DataSet(made_wall)
    for place, picture in enumerate(pictures):
        yield _member(data_set.add(picture), await content(place), picture["taken_wall"])
    document = json.dumps(data_set.document(), separators=(",", ":")).encode()
    yield _member(ANNOTATIONS, document, made_wall)
    yield bytes(2 * tarfile.BLOCKSIZE)


def _member(name: str, content: bytes, at_wall: float) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(at_wall), 0o644
    out = io.BytesIO()
    out.write(entry.tobuf(tarfile.PAX_FORMAT))
    out.write(content)
    out.write(bytes(-len(content) % tarfile.BLOCKSIZE))
    return out.getvalue()
