"""Bytes in, messages out: whatever arrives, only a WireError may come of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import desired, dsse, envelope, local, manifest, topics
from wire.errors import Malformed, Refused, TooLarge, UnknownVersion, WireError
from wire.names import DeviceId, FleetId
from wire.reasons import TEXTS, Reason
from wire.redact import redact
from wire.source import Kind, kind_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = {"v": 1, "id": "a", "at": 1.5, "boot": "b", "seq": 3, "synced": True, "data": {"x": 1}}


def test_an_envelope_survives_the_wire_with_fields_it_does_not_know() -> None:
    raw = json.dumps({**FIELDS, "rid": "r", "exp": 9.0, "later": [1]}).encode()
    read = envelope.decode(raw)
    assert json.loads(read.encode()) == json.loads(raw)


@given(st.sampled_from(sorted(FIELDS)), JSON)
def test_a_wrong_envelope_field_is_a_wire_error(name: str, value: Any) -> None:
    try:
        envelope.decode(json.dumps({**FIELDS, name: value}).encode())
    except WireError:
        pass


@given(st.binary(max_size=200) | JSON.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_an_envelope_or_a_wire_error(raw: bytes) -> None:
    try:
        envelope.decode(raw)
    except WireError:
        pass


@given(JSON)
def test_any_json_is_a_desired_state_or_a_wire_error(value: Any) -> None:
    try:
        desired.parse(value)
    except WireError:
        pass
    with pytest.raises(WireError):
        dsse.verify(value, desired.PAYLOAD_TYPE, {})


@given(JSON.map(lambda v: json.dumps(v).encode()))
def test_any_line_is_a_local_message_or_malformed(line: bytes) -> None:
    with pytest.raises(Malformed):
        local.decode(line)


def test_a_message_over_the_limit_is_refused_on_both_sides() -> None:
    big = envelope.Envelope("a", 1.0, "b", 1, {"x": "y" * envelope.MAX_BYTES})
    with pytest.raises(TooLarge):
        big.encode()
    with pytest.raises(TooLarge):
        envelope.decode(b" " * (envelope.MAX_BYTES + 1))


def test_another_version_is_named() -> None:
    with pytest.raises(UnknownVersion, match="2"):
        envelope.decode(json.dumps({**FIELDS, "v": 2}).encode())


def test_local_messages_survive_nested() -> None:
    binding = local.Binding(3, "w", "d", "/p", {"m": local.ModelBinding("a", "b", "/s")}, {"x": 1})
    start = local.Start("p", local.CameraSource("c", "0", "live"), binding, "/run")
    assert local.decode(local.encode(start)) == start
    load = local.Load([local.EngineModel("a", "b", "/c")], "/s")
    assert local.decode(local.encode(load)) == load
    assert dataclasses.is_dataclass(load)


def test_lines_are_cut_wherever_the_bytes_are_split() -> None:
    lines = local.Lines()
    assert lines.feed(b"ab") == []
    assert lines.feed(b"c\nd\n\ne") == [b"abc", b"d", b""]
    assert lines.feed(b"f\n") == [b"ef"]
    with pytest.raises(Malformed):
        lines.feed(b"x" * (local.MAX_LINE_BYTES + 1))


def test_a_topic_is_taken_apart_as_it_was_built() -> None:
    device = topics.DeviceTopics(FleetId("plant"), DeviceId("edge-1"))
    parsed = topics.parse(device.event("door"))
    assert (parsed.fleet, parsed.device, parsed.kind, parsed.tail) == ("plant", "edge-1", "event", "door")
    with pytest.raises(Malformed):
        topics.DeviceTopics(FleetId("plant"), DeviceId("a/#"))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../b", "a//b", "", "a\\b", "./a"])
def test_a_manifest_never_points_outside_its_package(path: str) -> None:
    entry = {"path": path, "sha256": "sha256:" + "0" * 64, "size": 1}
    with pytest.raises(WireError):
        manifest.decode(json.dumps({"kind": "model", "files": [entry]}).encode())


def test_a_manifests_digest_does_not_depend_on_the_order_of_its_files() -> None:
    files = [{"path": name, "sha256": "sha256:" + "0" * 64, "size": 1} for name in ("b", "a")]
    one = manifest.decode(json.dumps({"kind": "model", "files": files}).encode())
    two = manifest.decode(json.dumps({"files": files[::-1], "kind": "model"}).encode())
    assert one.digest == two.digest
    assert manifest.decode(one.encode()) == one


def test_every_reason_has_a_text() -> None:
    assert set(TEXTS) == set(Reason)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("rtsp://user:p%40ss@10.0.0.1/s", "rtsp://***@10.0.0.1/s"),
        (
            "cannot open rtsp://u:p@h/1 or http://h/x?token=abc&y=1",
            "cannot open rtsp://***@h/1 or http://h/x?token=***&y=1",
        ),
        ("video.mp4", "video.mp4"),
    ],
)
def test_passwords_do_not_survive_redaction(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("0", Kind.DEVICE),
        ("/dev/video2", Kind.DEVICE),
        ("rtsp://h/1", Kind.STREAM),
        ("clips/a.mp4", Kind.FILE),
        ("file:///a.mp4", Kind.FILE),
        ("gopher://h", None),
        (" ", None),
    ],
)
def test_the_form_of_a_source_is_read_from_its_text(text: str, kind: Kind | None) -> None:
    assert kind_of(text) is kind


def test_a_problem_says_what_was_expected_in_our_words_alone() -> None:
    entry = {"path": "../x", "sha256": "sha256:" + "0" * 64, "size": 1}
    with pytest.raises(Refused) as caught:
        manifest.decode(json.dumps({"files": [entry]}).encode())
    (problem,) = caught.value.problems
    assert problem.expected == "a relative path inside the package, without '..'"
