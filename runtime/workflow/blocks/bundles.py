"""Events as archives on the device's disk, for sites from which somebody carries them away."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from runtime.sinks.bundle import WRITTEN, Bundle, BundleSender
from runtime.sinks.files import inside
from runtime.sinks.lane import RECORD
from runtime.sinks.pictures import Leaving
from runtime.sinks.sender import Sender
from runtime.workflow.block import StepFailed
from runtime.workflow.fields import (
    BOOLEAN,
    CLASSIFICATION,
    IMAGE,
    INSTANCE_SEGMENTATION,
    INTEGER,
    KEYPOINTS,
    OBJECT_DETECTION,
    RLE_INSTANCE_SEGMENTATION,
    STRING,
    Choice,
    Either,
    Field,
    Literal,
    Nothing,
    Number,
    Report,
    Schema,
    Text,
    dictionary,
    gives,
    kinds,
    need,
    option,
)
from runtime.workflow.regions import outline
from runtime.workflow.serialise import to_json
from runtime.workflow.sinkblock import COOLING, DISABLE_SINK, DISABLED, FIRE_AND_FORGET, SinkBlock, cooldown
from runtime.workflow.values import Detections, ImageValue

FORMAT_VERSION = 1
MAX_ANNOTATIONS = 1000
"""Of one list; what takes bundles in lets all pictures fall where there are more."""
QUALITY = {"file": 85, "inputFile": 95}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
SUFFIX = ".tar.gz"
MAX_CHARS = 1000

EVENTS: dict[str, dict[str, str]] = {
    "quality_check": {"result": "qc_result", "externalId": "external_id"},
    "inventory_count": {
        "location": "location",
        "itemCount": "item_count",
        "itemType": "item_type",
        "externalId": "external_id",
    },
    "safety_alert": {
        "alertType": "alert_type",
        "severity": "severity",
        "description": "alert_description",
        "externalId": "external_id",
    },
    "custom": {"value": "custom_value", "externalId": "external_id"},
    "operator_feedback": {"relatedEventId": "related_event_id", "feedback": "feedback"},
}
"""What an event of each type tells: name in the payload → field of the step."""
Told = tuple[bool, bool, str, str, str]
"""error_status, throttling_status, event_id, bundle_path, message"""


@dataclass(frozen=True)
class FileName:
    """The name of a bundle, with or without its ending."""

    def read(self, value: Any, path: str, report: Report) -> Any:
        if not isinstance(value, str) or not NAME.fullmatch(value):
            report.wrong(
                path, value, "at most 200 letters, digits, . _ and -, beginning with a letter or a digit"
            )
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{NAME.pattern}$"}


def maybe(name: str, literal: Literal, *kind_names: str) -> Field:
    return option(name, Either((Nothing(), literal)), None, *kind_names)


class VisionEventBundle(SinkBlock):
    """A picture goes along where the camera's policy lets pictures reach the fleet: a bundle is made to be carried away."""

    types = ("roboflow_core/vision_event_bundle@v1",)
    title = "Vision event bundle"
    limits = replace(RECORD, max_bytes=128 * 1024 * 1024)
    outputs = gives(
        error_status=kinds(BOOLEAN),
        throttling_status=kinds(BOOLEAN),
        event_id=kinds(STRING),
        bundle_path=kinds(STRING),
        message=kinds(STRING),
    )
    fields = (
        need("target_directory", Text(1024), STRING),
        maybe("file_name", FileName(), STRING),
        Field("input_image", kinds(IMAGE), required=False),
        Field("output_image", kinds(IMAGE), required=False),
        Field(
            "predictions",
            kinds(
                OBJECT_DETECTION, INSTANCE_SEGMENTATION, RLE_INSTANCE_SEGMENTATION, KEYPOINTS, CLASSIFICATION
            ),
            required=False,
        ),
        need("event_type", Choice(tuple(EVENTS)), STRING),
        maybe("solution", Text(256), "roboflow_solution", STRING),
        maybe("external_id", Text(MAX_CHARS), STRING),
        maybe("qc_result", Choice(("pass", "fail")), STRING),
        maybe("location", Text(MAX_CHARS), STRING),
        maybe("item_count", Number(integer=True), INTEGER),
        maybe("item_type", Text(MAX_CHARS), STRING),
        maybe("alert_type", Text(MAX_CHARS), STRING),
        maybe("severity", Choice(("low", "medium", "high")), STRING),
        maybe("alert_description", Text(MAX_CHARS), STRING),
        maybe("custom_value", Text(), STRING),
        maybe("related_event_id", Text(MAX_CHARS), STRING),
        maybe("feedback", Choice(("correct", "incorrect", "inconclusive")), STRING),
        dictionary("custom_metadata", required=False),
        FIRE_AND_FORGET,
        DISABLE_SINK,
        cooldown(1),
    )

    def sender(self) -> Sender:
        return BundleSender()

    def run(
        self,
        target_directory: str,
        file_name: str | None,
        event_type: str,
        fire_and_forget: bool,
        disable_sink: bool,
        cooldown_seconds: float,
        **event: Any,
    ) -> Told:
        if disable_sink:
            return False, False, "", "", DISABLED
        at_wall, event_id = self.around.clock_wall(), str(uuid.uuid4())
        path = self._path(target_directory, file_name, at_wall, event_id)
        if self.throttled(cooldown_seconds):
            return False, True, "", "", COOLING
        pictures, withheld = self._pictures(event)
        payload = _payload(event_id, event_type, at_wall, event, pictures)
        members = {
            member: partial(leaving.jpeg, QUALITY[role]) for role, (member, leaving) in pictures.items()
        }
        size_bytes = 4096 + sum(leaving.size_bytes for _, leaving in pictures.values())
        body = Bundle(path, payload, members, at_wall)
        error, message, written = self.deliver(body, size_bytes, wait=not fire_and_forget)
        if written is not None:
            message = WRITTEN
        if withheld:
            message = f"{message}, without its pictures: {withheld}"
        return error, False, event_id if written else "", str(written or ""), message

    def _path(self, directory: str, name: str | None, at_wall: float, event_id: str) -> Path:
        """:raises StepFailed: the name is no good, or taken"""
        if name is not None and not NAME.fullmatch(name):
            raise StepFailed(
                f"file_name {name!r}: at most 200 letters, digits, . _ and -, beginning with a letter or a digit"
            )
        if name is None:
            name = f"event_{_utc(at_wall):%Y%m%dT%H%M%S_%f}_{event_id}"
        try:
            path = inside(self.around.desk.files, directory) / f"{name.removesuffix(SUFFIX)}{SUFFIX}"
        except (ValueError, OSError) as e:
            raise StepFailed(str(e)) from e
        if path.exists():
            raise StepFailed(f"{path} exists: a file_name must be another one for each event")
        return path

    def _pictures(self, event: Mapping[str, Any]) -> tuple[dict[str, tuple[str, Leaving]], str]:
        """Role in the payload → member and picture; and why there are none where the policy keeps them back."""
        given: dict[str, ImageValue] = {
            role: event[name]
            for role, name in (("file", "output_image"), ("inputFile", "input_image"))
            if event[name] is not None
        }
        if why := self.kept_back(list(given.values())):
            return {}, why
        leaving = self.around.desk.pictures.leaving
        return {role: (f"images/{uuid.uuid4()}.jpg", leaving(picture)) for role, picture in given.items()}, ""


def _utc(at_wall: float) -> datetime:
    return datetime.fromtimestamp(at_wall, timezone.utc)


def _payload(
    event_id: str,
    event_type: str,
    at_wall: float,
    event: Mapping[str, Any],
    pictures: Mapping[str, tuple[str, Leaving]],
) -> dict[str, Any]:
    """What is told of the event. Annotations belong to a picture; without one there are none."""
    image: dict[str, Any] = {role: member for role, (member, _) in pictures.items()}
    if image:
        image |= {"label": "workflow", **annotated(event["predictions"])}
    facts = {name: event[field] for name, field in EVENTS.get(event_type, {}).items()}
    facts = {name: value for name, value in facts.items() if value is not None}
    payload = {
        "bundleFormatVersion": FORMAT_VERSION,
        "eventId": event_id,
        "eventType": event_type,
        "timestamp": _utc(at_wall).isoformat(),
        "images": [image] if image else [],
    }
    optional = {
        "useCaseId": event["solution"],
        "eventData": facts,
        "customMetadata": event["custom_metadata"],
    }
    payload |= {name: value for name, value in optional.items() if value}
    if image:
        payload["displayImagePosition"] = 0
    told: dict[str, Any] = to_json(payload)
    return told


def annotated(predictions: Any) -> dict[str, list[dict[str, Any]]]:
    """Lists by kind, none of them empty, none longer than `MAX_ANNOTATIONS`."""
    if isinstance(predictions, Detections):
        lists = _objects(predictions)
    elif isinstance(predictions, Mapping):
        lists = {"classifications": _classes(predictions)}
    else:
        lists = {}
    return {name: entries[:MAX_ANNOTATIONS] for name, entries in lists.items() if entries}


def _objects(detections: Detections) -> dict[str, list[dict[str, Any]]]:
    """Boxes by their centre, in pixels; with keypoints, or with an outline where there is one."""
    found: dict[str, list[dict[str, Any]]] = {
        "objectDetections": [],
        "instanceSegmentations": [],
        "keypoints": [],
    }
    rows = zip(
        detections.xyxy.tolist(), detections.class_name.tolist(), detections.confidence.tolist(), strict=True
    )
    for i, ((x1, y1, x2, y2), name, confidence) in enumerate(rows):
        w, h = abs(x2 - x1), abs(y2 - y1)
        entry: dict[str, Any] = {
            "class": str(name),
            "x": x1 + w / 2,
            "y": y1 + h / 2,
            "width": w,
            "height": h,
            "confidence": max(0.0, min(1.0, confidence)),
        }
        if detections.keypoints is not None:
            found["keypoints"].append(entry | _points(detections, i))
        elif points := _outline(detections, i):
            found["instanceSegmentations"].append({**entry, "points": points})
        else:
            found["objectDetections"].append(entry)
    return found


def _points(detections: Detections, i: int) -> dict[str, Any]:
    assert detections.keypoints is not None
    names = None if detections.keypoint_names is None else detections.keypoint_names[i]
    points = [
        {"id": k, "x": float(x), "y": float(y)}
        for k, (x, y, _) in enumerate(detections.keypoints[i].tolist())
        if names is None or names[k]
    ]
    return {"keypoints": points}


def _outline(detections: Detections, i: int) -> list[list[float]]:
    polygon = detections.data.get("polygon")
    if polygon is not None:
        points = polygon[i]
    elif detections.masks:
        points = outline(detections.masks[i])
    else:
        return []
    return [] if points is None or len(points) < 3 else [[float(x), float(y)] for x, y in points]


def _classes(prediction: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The classes that were decided for, else all of them, else the top one."""
    found = prediction.get("predictions", [])
    chosen = prediction.get("predicted_classes")
    if isinstance(chosen, list) and chosen:
        known = found if isinstance(found, Mapping) else {}
        return [_class(name, known.get(name, 0.0)) for name in chosen]
    if isinstance(found, Mapping):
        entries = [_class(name, score) for name, score in found.items()]
    else:
        entries = [_class(p.get("class_name", p.get("class", "unknown")), p) for p in found]
    if not entries and "top" in prediction:
        return [_class(prediction["top"], prediction)]
    return entries


def _class(name: Any, score: Any) -> dict[str, Any]:
    """`score`: a number, or an object with one."""
    value = score.get("confidence", 0.0) if isinstance(score, Mapping) else score
    return {"class": str(name), "confidence": float(value) if isinstance(value, (int, float)) else 0.0}


BLOCKS = (VisionEventBundle,)
