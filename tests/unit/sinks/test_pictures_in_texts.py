"""Pictures are found in whatever form they stand in a value, and texts that are none are let alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import numpy as np
import pytest

from runtime.sinks.pictures import Pictures, holds_picture, without_pictures
from runtime.workflow.serialise import to_json

NOISE = np.random.default_rng(7).integers(0, 256, (24, 24, 3), np.uint8)


def encoded(suffix: str) -> bytes:
    return bytes(cv2.imencode(suffix, NOISE)[1])


FORMS: list[Any] = [encoded(".jpg"), bytearray(encoded(".png"))]
for suffix in (".jpg", ".png", ".webp", ".tiff"):
    text = base64.b64encode(encoded(suffix)).decode()
    FORMS += [
        text,
        f"data:image/{suffix[1:]};base64,{text}",
        json.dumps({"image": text}),
        json.dumps({"image": text}).replace("/", "\\/"),
        base64.urlsafe_b64encode(encoded(suffix)).decode(),
        {"a": [{"b": ({"c": [[{"d": [{"e": text}]}]]},)}]},
    ]


@pytest.mark.parametrize("value", FORMS, ids=lambda value: repr(value)[:40])
def test_a_picture_is_found_in_any_form(value: Any) -> None:
    assert holds_picture(value)
    plain = to_json(value)
    outputs, errors = Pictures("device").let_through({"x": plain}, {})
    assert not holds_picture(outputs)
    assert ("privacy" in errors) == holds_picture(plain)
    assert Pictures("fleet").let_through({"x": plain}, {}) == ({"x": plain}, {})


@pytest.mark.parametrize(
    "text", ["x" * 5000, "/9j/4 is how a JPEG begins", json.dumps({"class": "cat", "n": [1] * 500}), ""]
)
def test_other_texts_are_let_alone(text: str) -> None:
    assert not holds_picture(text)
    assert without_pictures({"a": [text]}) == {"a": [text]}


def test_pixels_are_never_written_as_numbers() -> None:
    assert to_json(NOISE) == {"type": "array", "shape": [24, 24, 3], "left_out": True}
    assert to_json(np.array([1, 2], np.uint8)) == [1, 2]
