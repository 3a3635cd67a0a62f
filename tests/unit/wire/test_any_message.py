"""Every message of the wire, whoever wrote it: what comes out is the message or a WireError, and never another exception.

The documents are found, not listed, so that a new one is covered by being there.
"""

from __future__ import annotations

import base64
import importlib
import json
import pkgutil
import time
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import wire
from wire import bundle, command, desired, dsse, envelope, local, manifest, picture, proof, sealed, topics
from wire.doc import Doc, read
from wire.errors import Malformed, WireError
from wire.reasons import TEXTS

for _module in pkgutil.walk_packages(wire.__path__, "wire."):
    importlib.import_module(_module.name)


def every(kind: type[Any]) -> list[type[Any]]:
    below = [found for child in kind.__subclasses__() for found in every(child)]
    return [child for child in [*kind.__subclasses__(), *below] if child.__module__.startswith("wire.")]


DOCUMENTS = sorted(set(every(Doc)), key=lambda kind: kind.__qualname__)
KEY, SEALING = Ed25519PrivateKey.generate(), X25519PrivateKey.generate()
PUBLIC = dsse.public_bytes(KEY)
KEYS = {dsse.key_id(PUBLIC): PUBLIC}
NASTY = st.sampled_from(
    [None, True, -1, 0, 2**53, 2**64, -(2**80), 1e308, float("nan"), float("inf"), "", "a", "\ud800", "\0", "../x", "a" * 300,
     "sha256:" + "0" * 64, "2026-01-01", "1e999", [], {}, [[]], {"": None}, {"a": {"a": {}}}]
)  # fmt: skip
LEAF = NASTY | st.integers() | st.floats() | st.text(max_size=12)
INNER = LEAF | st.lists(LEAF, max_size=3)
JSON = INNER | st.dictionaries(st.text(max_size=6), INNER, max_size=3)
"""By hand and three deep: what Hypothesis nests by itself takes most of the time of these tests."""
BYTES = st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode())


def body(kind: type[Doc]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that have fields of the document, whatever is in them, and one it does not know."""
    names = [*kind.model_fields, "unknown"]
    return st.dictionaries(st.sampled_from(names), JSON, max_size=len(names))


def only_wire_errors(what: Callable[[], Any]) -> Any:
    """What comes of it; None where it is refused, with a reason of the closed list."""
    reason = None
    try:
        return what()
    except WireError as e:
        reason = e.reason
    assert reason in TEXTS
    return None


def test_the_documents_of_the_wire_are_found() -> None:
    names = {kind.__name__ for kind in DOCUMENTS}
    assert {
        "Bundle", "Command", "Connection", "Desired", "EnrolRequest", "EnrolResponse", "Manifest", "Reported", "Response",
    } <= names  # fmt: skip
    assert len(DOCUMENTS) >= 30


@pytest.mark.parametrize("kind", DOCUMENTS, ids=lambda kind: kind.__qualname__)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_object_is_the_document_or_refused(kind: type[Doc], data: st.DataObject) -> None:
    value = data.draw(body(kind) | JSON)
    found = only_wire_errors(lambda: read(kind, value))
    if found is not None:
        assert read(kind, found.to_json()) is not None


HALF = st.builds(
    lambda before, half, after: before + chr(half) + after,
    st.text(max_size=3), st.integers(0xD800, 0xDFFF), st.text(max_size=3),
)  # fmt: skip


def within(text: str, way: list[str | int]) -> Any:
    """The text, and around it an object for each key and a list for each number of the way; innermost first."""
    value: Any = text
    for step in way:
        value = {step: value, "other": "😀"} if isinstance(step, str) else ["\\ud800"] * step + [value]
    return value


@given(
    text=HALF,
    way=st.lists(st.sampled_from(["a", "b", 0, 2]), max_size=4),
    as_key=st.booleans(),
    escaped=st.booleans(),
)
def test_half_of_a_character_is_refused_where_it_comes_in_and_not_sent(
    text: str, way: list[str | int], as_key: bool, escaped: bool
) -> None:
    value = within(text, ([text] if as_key else []) + way)
    raw = json.dumps({**ENVELOPE, "data": {"x": value}}, ensure_ascii=escaped).encode(errors="surrogatepass")
    with pytest.raises(Malformed, match="half of a surrogate pair" if escaped else "not JSON"):
        envelope.decode(raw)
    sent = envelope.Envelope(id="a", at=1.0, boot="b", seq=1, data={"x": value}).encode()
    assert "\ufffd" in json.dumps(envelope.decode(sent).data, ensure_ascii=False)


@given(text=st.text(max_size=5), way=st.lists(st.sampled_from(["a", 1]), max_size=3))
def test_whole_characters_come_back_as_they_went(text: str, way: list[str | int]) -> None:
    data = {"x": within(text + "😀", way)}
    assert (
        envelope.decode(envelope.Envelope(id="a", at=1.0, boot="b", seq=1, data=data).encode()).data == data
    )


ENVELOPE = {"v": 1, "id": "a", "at": 1.5, "boot": "b", "seq": 3, "synced": True, "data": {"x": 1}}
OF_BYTES: dict[str, Callable[[bytes], Any]] = {
    "envelope": envelope.decode,
    "manifest": manifest.decode,
    "bundle": bundle.decode,
    "local": local.decode,
    "picture": picture.unpack,
}
OF_TEXT: dict[str, Callable[[str], Any]] = {
    "topic": topics.parse,
    "proof": lambda text: proof.verify(text, "d", PUBLIC, time.time()),
    "claim": proof.claimed,
    "sealed": lambda text: sealed.unseal(SEALING, "d", "n", text),
}


@pytest.mark.parametrize("decode", OF_BYTES.values(), ids=OF_BYTES)
@given(raw=BYTES | st.just(b"[" * 100_000) | st.just(b"9" * 5000))
def test_any_bytes_are_a_message_or_refused(decode: Callable[[bytes], Any], raw: bytes) -> None:
    only_wire_errors(lambda: decode(raw))


@pytest.mark.parametrize("read_text", OF_TEXT.values(), ids=OF_TEXT)
@given(
    text=st.text(max_size=60) | BYTES.map(lambda raw: proof.PREFIX + base64.urlsafe_b64encode(raw).decode())
)
def test_any_text_is_read_or_refused(read_text: Callable[[str], Any], text: str) -> None:
    only_wire_errors(lambda: read_text(text))


def cut(text: str, at: int, with_: str) -> str:
    at %= len(text) + 1
    return text[:at] + with_ + text[at + 1 :]


@given(at=st.integers(0, 10_000), with_=st.text(max_size=2))
def test_what_was_sealed_or_proven_and_changed_on_the_way_is_refused(at: int, with_: str) -> None:
    genuine = sealed.seal(SEALING.public_key().public_bytes_raw(), "d", "n", "secret")
    only_wire_errors(lambda: sealed.unseal(SEALING, "d", "n", cut(genuine, at, with_)))
    only_wire_errors(lambda: proof.verify(cut(proof.make("d", KEY, 1.0), at, with_), "d", PUBLIC, 1.0))


@pytest.mark.parametrize("kind", [desired.PAYLOAD_TYPE, command.PAYLOAD_TYPE])
@given(data=st.data())
def test_whatever_a_trusted_key_has_signed_is_a_message_or_refused(kind: str, data: st.DataObject) -> None:
    document = data.draw(body(desired.Desired if kind == desired.PAYLOAD_TYPE else command.Command))
    document |= {"device": "d"}
    payload = json.dumps(document).encode()
    signature = KEY.sign(dsse.pre_authentication_encoding(kind, payload))
    signed = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"keyid": next(iter(KEYS)), "sig": base64.b64encode(signature).decode()}],
    }
    changed = data.draw(st.dictionaries(st.sampled_from([*signed]), JSON, max_size=1))
    for document in (signed, {**signed, **changed}):
        only_wire_errors(
            lambda document=document: desired.open_signed(
                document, KEYS, device="d", above_revision=0, at_wall=2.0
            )
        )  # type: ignore[misc]
        only_wire_errors(
            lambda document=document: command.open_signed(document, KEYS, device="d", at_wall=2.0)
        )  # type: ignore[misc]
        only_wire_errors(lambda document=document: dsse.verify(document, kind, KEYS))  # type: ignore[misc]
        assert isinstance(dsse.signers(document), list)
