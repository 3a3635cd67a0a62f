"""The quick way with JSON takes and gives what the standard library does, whatever comes."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet import jsontext
from fleet.ingest import opened
from wire import envelope
from wire.errors import Malformed, WireError

TEXTS = st.text(max_size=6) | st.sampled_from(
    ["\ud800", "\udfff\ud800", "\0", "é\U0001f600", "null", "NaN", "7" * 25]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, 2**64, -(2**63) - 1, 10**18, 10**19, 10**400])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
ODD = (
    "1e999", "-1e999", "1" + "0" * 400 + ".0", "-0", "-0.0", "0.1", "1e-999", "NaN", "-Infinity", '"\\ud83d"', '"\\ud83d\\ude00"',
    '"\\u0000"', "01", "1.", "[1,]", "'a'", '{"a":1,"a":NaN}', '{"a":NaN,"a":1}', '{"a":null,"a":1e999}', "18446744073709551616",
    *("[" * depth + "]" * depth for depth in (100, 252, 253, 254, 255, 400, 3000)),
)  # fmt: skip


def slowly(payload: bytes) -> envelope.Envelope:
    """What the standard library makes of it, and what it must be to be stored."""
    content = envelope.decode(payload)
    if not content.id.isprintable() or not 0 < len(content.id) <= 128:
        raise Malformed("id")
    try:
        json.dumps([content.data, content.id], allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as e:
        raise Malformed("no JSON") from e
    return content


def same(payload: bytes) -> None:
    try:
        wanted = slowly(payload)
    except WireError as e:
        with pytest.raises(type(e)):
            opened(payload)
        return
    content, text = opened(payload)
    assert content == wanted
    assert _shape(content.data) == _shape(wanted.data)
    assert _shape(json.loads(text)) == _shape(wanted.data)


def _shape(value: Any) -> Any:
    """With types and signs told apart: 1 is 1.0, and 0.0 is -0.0."""
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    return type(value), value, math.copysign(1, value) if isinstance(value, float) else 0


def around(data: str, name: str = '"e-1"') -> bytes:
    text = f'{{"v":1,"id":{name},"at":1.5,"boot":"b","seq":1,"synced":true,"data":{{"x":{data}}}}}'
    return text.encode("utf-8", "surrogatepass")


@settings(max_examples=150, deadline=None)
@given(VALUES, TEXTS, st.booleans())
def test_envelopes_are_taken_and_refused_as_by_the_standard_library(
    value: Any, name: str, ascii_only: bool
) -> None:
    same(around(json.dumps(value, ensure_ascii=ascii_only), json.dumps(name, ensure_ascii=ascii_only)))


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd[:12])
def test_odd_documents_are_taken_and_refused_as_by_the_standard_library(odd: str) -> None:
    same(around(odd))


def test_other_encodings_and_marks_are_taken_as_by_the_standard_library() -> None:
    for encoding in ("utf-16", "utf-8-sig", "utf-32", "latin-1"):
        same(around('"é"').decode().encode(encoding))


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_what_is_packed_comes_back_as_it_was(value: Any) -> None:
    assert repr(jsontext.loads(jsontext.dumps(value))) == repr(json.loads(json.dumps(value)))
