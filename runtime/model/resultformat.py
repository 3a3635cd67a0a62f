"""A `Result` or a `NoAnswer` as bytes, and back. Pure; every length is checked before an array is made.

The body of a result: a head of counts, then the arrays, each padded to 8 bytes, then run-length masks, texts and labels. Labels
are left out where they are those of the model's spec, which the pipeline has.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.results import NoAnswer, Result
from wire.errors import Malformed
from wire.reasons import Reason

MAX_MESSAGE_BYTES = 4096
"""A longer message of a NoAnswer is cut."""
_COUNTS = struct.Struct("<10I")
_LENGTH = struct.Struct("<I")
_MASK = struct.Struct("<4I")
_REASON = struct.Struct("<I")

_MASKS, _KEYPOINTS, _ORIENTED, _TEXTS, _CLASSES, _SEMANTIC, _EMBEDDING, _LABELS = (1 << i for i in range(8))
_ALIGN_BYTES = 8
_F32, _I32, _U8 = np.dtype("<f4"), np.dtype("<i4"), np.dtype("u1")
_PADDING = bytes(_ALIGN_BYTES)


def encode_no_answer(answer: NoAnswer) -> bytes:
    """The body of an answer without a result."""
    reason = answer.reason.value.encode()
    text = answer.message.encode("utf-8", "replace")[:MAX_MESSAGE_BYTES]
    return _REASON.pack(len(reason)) + reason + text


def decode_no_answer(body: bytes) -> NoAnswer:
    """:raises Malformed: not such a body"""
    try:
        (length,) = _REASON.unpack_from(body)
        middle = _REASON.size + length
        reason = Reason(body[_REASON.size : middle].decode())
        return NoAnswer(reason, body[middle:].decode(errors="ignore"))
    except (struct.error, ValueError) as e:
        raise Malformed(f"not the cause of a missing answer: {body[:40]!r}: {e}") from e


def encode_result(result: Result, spec_labels: tuple[str, ...]) -> list[bytes]:
    """The body as pieces to be joined, or copied one after the other into a slot.

    :raises ValueError: an array has not the shape that `Result` names
    """
    n = len(result.scores)
    flags, k, c, (h, w), d, parts = 0, 0, 0, (0, 0), 0, []
    parts += _array(result.boxes, _F32, (n, 4), "boxes")
    parts += _array(result.scores, _F32, (n,), "scores")
    parts += _array(result.class_ids, _I32, (n,), "class_ids")
    if result.keypoints is not None:
        flags, k = flags | _KEYPOINTS, result.keypoints.shape[1]
        parts += _array(result.keypoints, _F32, (n, k, 3), "keypoints")
    if result.oriented is not None:
        flags |= _ORIENTED
        parts += _array(result.oriented, _F32, (n, 5), "oriented")
    if result.classes is not None:
        flags, c = flags | _CLASSES, len(result.classes)
        parts += _array(result.classes, _F32, (c,), "classes")
    if result.embedding is not None:
        flags, d = flags | _EMBEDDING, len(result.embedding)
        parts += _array(result.embedding, _F32, (d,), "embedding")
    if result.semantic is not None:
        flags, (h, w) = flags | _SEMANTIC, result.semantic.shape
        parts += _array(result.semantic, _U8, (h, w), "semantic")
    if result.masks is not None:
        flags |= _MASKS
        parts += _masks(result.masks, n)
    if result.texts is not None:
        flags |= _TEXTS
        parts += _strings(result.texts, n, "texts")
    if result.labels is not spec_labels and result.labels != spec_labels:
        flags |= _LABELS
        parts += _strings(result.labels, len(result.labels), "labels")
    counts = _COUNTS.pack(*result.image_wh, n, k, c, h, w, d, len(result.labels), flags)
    return [counts, *parts]


def _array(value: npt.NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> list[bytes]:
    if value.shape != shape:
        raise ValueError(f"{name} has shape {value.shape}; expected {shape}")
    data = value.astype(dtype, copy=False).tobytes()
    return [data, _PADDING[: -len(data) % _ALIGN_BYTES]]


def _masks(masks: Sequence[Mapping[str, Any]], n: int) -> list[bytes]:
    if len(masks) != n:
        raise ValueError(f"{len(masks)} masks for {n} detections")
    parts = []
    for mask in masks:
        height, width = mask["size"]
        counts = mask["counts"]
        text = isinstance(counts, str)
        raw = counts.encode("ascii") if text else bytes(counts)
        parts += [_MASK.pack(height, width, text, len(raw)), raw]
    return parts


def _strings(strings: Sequence[str], n: int, name: str) -> list[bytes]:
    if len(strings) != n:
        raise ValueError(f"{len(strings)} {name}; expected {n}")
    parts = []
    for string in strings:
        raw = string.encode("utf-8", "replace")
        parts += [_LENGTH.pack(len(raw)), raw]
    return parts


def decode_result(body: bytes, spec_labels: tuple[str, ...]) -> Result:
    """Read a body; the arrays are views of it, and cannot be written to.

    :raises Malformed: a length or a text does not hold
    """
    try:
        return _Reader(body).result(spec_labels)
    except (struct.error, ValueError) as e:
        raise Malformed(f"body of {len(body)} bytes is no result: {e}") from e


class _Reader:
    """Walks over a body; whatever would lead beyond its end is refused."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = _COUNTS.size

    def result(self, spec_labels: tuple[str, ...]) -> Result:
        width, height, n, k, c, map_h, map_w, d, labels, flags = _COUNTS.unpack_from(self._body)
        boxes, scores = self._array(_F32, n, 4), self._array(_F32, n)
        class_ids = self._array(_I32, n)
        keypoints = self._array(_F32, n, k, 3) if flags & _KEYPOINTS else None
        oriented = self._array(_F32, n, 5) if flags & _ORIENTED else None
        classes = self._array(_F32, c) if flags & _CLASSES else None
        embedding = self._array(_F32, d) if flags & _EMBEDDING else None
        semantic = self._array(_U8, map_h, map_w) if flags & _SEMANTIC else None
        masks = tuple(self._mask() for _ in range(n)) if flags & _MASKS else None
        texts = self._strings(n) if flags & _TEXTS else None
        names = self._strings(labels) if flags & _LABELS else spec_labels
        if self._at != len(self._body):
            raise Malformed(f"body of {len(self._body)} bytes; its content ends at {self._at}")
        return Result(
            (width, height),
            names,
            boxes,
            scores,
            class_ids,
            masks,
            keypoints,
            oriented,
            texts,
            classes,
            semantic,
            embedding,
        )

    def _array(self, dtype: np.dtype[Any], *shape: int) -> npt.NDArray[Any]:
        count = math.prod(shape)
        array = np.frombuffer(self._body, dtype, count, self._at).reshape(shape)
        size_bytes = count * dtype.itemsize
        self._at += size_bytes + -size_bytes % _ALIGN_BYTES
        return array

    def _bytes(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._body):
            raise Malformed(f"body ends at {len(self._body)}; a text or mask of it at {end}")
        data = self._body[self._at : end]
        self._at = end
        return data

    def _mask(self) -> dict[str, Any]:
        height, width, text, length = _MASK.unpack(self._bytes(_MASK.size))
        raw = self._bytes(length)
        return {"size": [height, width], "counts": raw.decode("ascii") if text else raw}

    def _strings(self, count: int) -> tuple[str, ...]:
        if count * _LENGTH.size > len(self._body):
            raise Malformed(f"{count} texts in a body of {len(self._body)} bytes")
        return tuple(self._bytes(_LENGTH.unpack(self._bytes(_LENGTH.size))[0]).decode() for _ in range(count))
