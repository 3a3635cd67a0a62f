"""Packets and bodies: everything comes back as it was, and broken bytes are an error, never a crash."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from runtime.model import resultformat, wireformat
from runtime.model.geometry import Geometry
from runtime.model.slots import MAX_SLOTS, SlotLayout
from runtime.model.spec import DecodeSpec, InputSpec, ModelSpec, Task
from runtime.model.wireformat import (
    Answers,
    Hello,
    Place,
    Refused,
    Request,
    Status,
    Tensor,
    TensorAnswer,
    Welcome,
)
from runtime.results import NoAnswer, Result
from wire.errors import Malformed
from wire.reasons import Reason

LABELS = ("person", "fahrrad ü", "")
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
SIDE = st.integers(1, wireformat.MAX_SIDE_PX)
OFFSET = st.integers(-(2**31), 2**31 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)


def floats(*shape: int) -> st.SearchStrategy[Any]:
    return hnp.arrays(np.float32, shape, elements=FLOATS)


@st.composite
def results(draw: st.DrawFn) -> Result:
    n, k = draw(st.integers(0, 5)), draw(st.integers(0, 4))
    size = draw(st.tuples(st.integers(0, 9), st.integers(0, 9)))
    mask = st.builds(
        lambda wh, counts: {"size": list(wh), "counts": counts},
        st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
        st.binary(max_size=20) | st.text("0123abcdefgPQ`", max_size=20),
    )
    return Result(
        image_wh=draw(st.tuples(st.integers(1, 10**5), st.integers(1, 10**5))),
        labels=draw(st.just(LABELS) | st.lists(TEXT, max_size=4).map(tuple)),
        boxes=draw(floats(n, 4)),
        scores=draw(floats(n)),
        class_ids=draw(hnp.arrays(np.int32, n)),
        masks=draw(st.none() | st.lists(mask, min_size=n, max_size=n).map(tuple)),
        keypoints=draw(st.none() | floats(n, k, 3)),
        oriented=draw(st.none() | floats(n, 5)),
        texts=draw(st.none() | st.lists(TEXT, min_size=n, max_size=n).map(tuple)),
        classes=draw(st.none() | floats(k)),
        semantic=draw(st.none() | hnp.arrays(np.uint8, size)),
        embedding=draw(st.none() | floats(k)),
    )


def body_of(result: Result) -> bytes:
    return b"".join(resultformat.encode_result(result, LABELS))


def assert_same(one: Result, other: Result) -> None:
    for field in dataclasses.fields(Result):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert a.shape == b.shape, field.name
            assert a.tobytes() == b.tobytes(), field.name
        else:
            assert a == b, field.name


@given(results())
def test_every_field_of_a_result_comes_back(result: Result) -> None:
    assert_same(resultformat.decode_result(body_of(result), LABELS), result)


def test_nothing_there_is_a_result_and_not_a_missing_answer() -> None:
    empty = resultformat.decode_result(body_of(Result((640, 480), LABELS)), LABELS)
    assert len(empty) == 0
    assert empty.masks is None
    assert empty.image_wh == (640, 480)


@given(results(), st.data())
def test_a_cut_or_lengthened_body_is_refused(result: Result, data: st.DataObject) -> None:
    body = body_of(result)
    broken = data.draw(
        st.integers(0, len(body) - 1).map(lambda end: body[:end])
        | st.binary(min_size=1, max_size=9).map(lambda more: body + more)
    )
    with pytest.raises(Malformed):
        resultformat.decode_result(broken, LABELS)


@given(st.binary(max_size=200))
def test_any_bytes_as_a_body_are_read_or_refused(raw: bytes) -> None:
    for decode in (
        lambda: resultformat.decode_result(raw, LABELS),
        lambda: resultformat.decode_no_answer(raw),
    ):
        try:
            decode()
        except Malformed:
            pass


@given(results(), st.data())
def test_a_flipped_count_is_read_or_refused(result: Result, data: st.DataObject) -> None:
    body = bytearray(body_of(result))
    at = data.draw(st.integers(0, min(39, len(body) - 1)))
    body[at] = data.draw(st.integers(0, 255))
    try:
        resultformat.decode_result(bytes(body), LABELS)
    except Malformed:
        pass


@given(st.sampled_from(Reason), TEXT)
def test_a_missing_answer_keeps_its_cause(reason: Reason, text: str) -> None:
    answer = NoAnswer(reason, text)
    assert resultformat.decode_no_answer(resultformat.encode_no_answer(answer)) == answer


def test_a_long_message_of_a_missing_answer_is_cut() -> None:
    raw = resultformat.encode_no_answer(NoAnswer(Reason.ENGINE_ERROR, "ü" * 10_000))
    assert len(raw) < 5000
    assert set(resultformat.decode_no_answer(raw).message) == {"ü"}


@pytest.mark.parametrize("field", ["boxes", "class_ids", "oriented", "keypoints"])
def test_a_result_of_wrong_shape_is_not_sent(field: str) -> None:
    wrong = {field: np.zeros((3, 7), np.int32 if field == "class_ids" else np.float32)}
    with pytest.raises(ValueError, match=field):
        body_of(Result((8, 8), LABELS, **wrong))


# --- packets ----------------------------------------------------------------------------------------------------------

TENSORS = st.builds(Tensor, U32, U64, st.builds(Geometry, SIDE, SIDE, SIDE, SIDE, OFFSET, OFFSET))
INLINE = st.builds(
    lambda slot, generation, status, body: TensorAnswer(
        slot, generation, status, Place.INLINE, len(body), body
    ),
    U32,
    U64,
    st.sampled_from(Status),
    st.binary(max_size=50),
)
IN_SLOT = st.builds(TensorAnswer, U32, U64, st.sampled_from(Status), st.just(Place.SLOT), U32, st.just(b""))
PACKETS = st.one_of(
    st.builds(Hello, TEXT, U32),
    st.builds(Refused, st.sampled_from(Reason), TEXT),
    st.builds(
        lambda *n: Welcome(SlotLayout(*n)),
        st.integers(1, MAX_SLOTS),
        st.integers(1, 10**6),
        st.integers(1, 10**6),
        st.integers(1, 10**6),
    ),
    st.builds(Request, st.lists(TENSORS, min_size=1, max_size=4)),
    st.builds(Answers, st.lists(INLINE | IN_SLOT, min_size=1, max_size=4)),
)


@given(PACKETS)
def test_every_packet_comes_back(packet: wireformat.Packet) -> None:
    assert wireformat.decode(wireformat.encode(packet)) == packet


@given(PACKETS, st.data())
def test_a_cut_or_lengthened_packet_is_refused(packet: wireformat.Packet, data: st.DataObject) -> None:
    raw = wireformat.encode(packet)
    end = data.draw(st.integers(0, len(raw) - 1))
    for broken in (raw[:end], raw + b"\0"):
        with pytest.raises(Malformed):
            wireformat.decode(broken)


@given(st.integers(1, 6), st.integers(0, 3), st.binary(max_size=120))
def test_any_bytes_as_a_packet_are_read_or_refused(kind: int, count: int, rest: bytes) -> None:
    try:
        wireformat.decode(bytes([wireformat.VERSION, kind, count, 0]) + rest)
    except Malformed:
        pass


def test_a_packet_of_another_version_is_refused() -> None:
    raw = wireformat.encode(Hello("sha256:0", 4))
    with pytest.raises(Malformed, match="version 2"):
        wireformat.decode(b"\2" + raw[1:])


@pytest.mark.parametrize("sides", [(0, 8, 8, 8), (8, -1, 8, 8), (8, 8, 0, 8), (8, 8, 8, 1 << 30)])
def test_an_image_of_impossible_size_is_refused(sides: tuple[int, int, int, int]) -> None:
    raw = wireformat.encode(Request([Tensor(0, 1, Geometry(*sides, 0, 0))]))
    with pytest.raises(Malformed, match="impossible size"):
        wireformat.decode(raw)


def test_the_spec_comes_back_with_its_types() -> None:
    spec = ModelSpec(
        "n",
        Task.KEYPOINTS,
        "yolo",
        InputSpec("images", 64, 32, batch=None, mean=(1.0, 2.0, 3.0)),
        DecodeSpec(options={"strides": [8, 16], "reg_max": 7}),
        LABELS,
    )
    again = wireformat.decode_spec(wireformat.encode_spec(spec))
    assert again == spec
    assert type(again.task) is Task
    assert type(again.input.mean) is tuple


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"name": 1}', b"\xff", b'{"task": "none"}'])
def test_what_is_no_spec_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed, match="spec"):
        wireformat.decode_spec(raw)
