"""Signed desired state: accepted only when signature, device, revision, expiry and sense all hold."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire import command, desired, dsse
from wire.errors import Malformed, NotTrusted, Refused
from wire.reasons import Reason

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEYS = {dsse.key_id(dsse.public_bytes(KEY)): dsse.public_bytes(KEY)}
DIGEST = "sha256:" + "0" * 64


def document(**changes: Any) -> dict[str, Any]:
    return {
        "device": "edge-1",
        "revision": 5,
        "issued_at": 1000.0,
        "expires_at": 2000.0,
        "cameras": {"door": {"source": "rtsp://127.0.0.1/1"}},
        "models": {"people": {"digest": DIGEST}},
        "workflows": {"count": {"digest": DIGEST}},
        "pipelines": {"door": {"camera": "door", "workflow": "count", "models": {"m/1": "people"}}},
        **changes,
    }


def opened(envelope: object, **changes: Any) -> desired.Desired:
    arguments: dict[str, Any] = {"device": "edge-1", "above_revision": 4, "at_wall": 1500.0, **changes}
    return desired.open_signed(envelope, KEYS, **arguments)


def signed(**changes: Any) -> dict[str, Any]:
    return dsse.sign(document(**changes), desired.PAYLOAD_TYPE, KEY)


def test_a_signed_document_is_read_back() -> None:
    assert opened(signed()).pipelines["door"].models == {"m/1": "people"}


def test_unknown_fields_are_kept() -> None:
    state = opened(signed(colour="blue"))
    assert state.to_json()["colour"] == "blue"


@pytest.mark.parametrize(
    ("changes", "arguments", "reason"),
    [
        ({"device": "edge-2"}, {}, Reason.WRONG_DEVICE),
        ({"revision": 4}, {}, Reason.REVISION_OLD),
        ({}, {"at_wall": 2001.0}, Reason.EXPIRED),
    ],
)
def test_what_does_not_hold_is_not_trusted(changes: Any, arguments: Any, reason: Reason) -> None:
    with pytest.raises(NotTrusted) as refused:
        opened(signed(**changes), **arguments)
    assert refused.value.reason is reason


def test_expiry_is_not_judged_by_a_clock_that_is_not_synchronised() -> None:
    assert opened(signed(), at_wall=None).revision == 5


def test_another_key_is_not_trusted() -> None:
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    with pytest.raises(NotTrusted) as refused:
        opened(dsse.sign(document(), desired.PAYLOAD_TYPE, other))
    assert refused.value.reason is Reason.SIGNATURE_INVALID


def test_a_command_cannot_be_replayed_as_a_desired_state() -> None:
    with pytest.raises(NotTrusted):
        opened(dsse.sign(document(), command.PAYLOAD_TYPE, KEY))


def test_one_changed_byte_breaks_the_signature() -> None:
    envelope = signed()
    envelope["payload"] = envelope["payload"].replace("A", "B", 1)
    with pytest.raises((NotTrusted, Malformed)):
        opened(envelope)


def test_all_problems_come_at_once_with_their_places_and_the_nearest_name() -> None:
    broken = document(
        cameras={"door": {"source": "gopher://x"}},
        pipelines={
            "a": {"camera": "dor", "workflow": "count", "models": {"m/1": "peple"}},
            "b": {"camera": "door", "workflow": "none"},
            "c": {"camera": "door", "workflow": "count"},
        },
    )
    with pytest.raises(Refused) as refused:
        desired.parse(broken)
    found = {problem.path: problem for problem in refused.value.problems}
    assert set(found) == {
        "cameras.door.source",
        "pipelines.a.camera",
        "pipelines.a.models.m/1",
        "pipelines.b.workflow",
        "pipelines.c.camera",
    }
    assert "did you mean 'people'?" in found["pipelines.a.models.m/1"].remedy


def test_wrong_fields_are_located() -> None:
    with pytest.raises(Refused) as refused:
        desired.parse(document(models={"people": {"digest": "abc"}}, revision=0))
    assert {problem.path for problem in refused.value.problems} == {"models.people.digest", "revision"}


def test_an_expired_command_is_refused() -> None:
    order = command.Command(device="edge-1", name="ping", rid="r1", issued_at=1.0, expires_at=2.0)
    envelope = command.sign(order, KEY)
    assert command.open_signed(envelope, KEYS, device="edge-1", at_wall=1.5).name == "ping"
    with pytest.raises(NotTrusted) as refused:
        command.open_signed(envelope, KEYS, device="edge-1", at_wall=2.5)
    assert refused.value.reason is Reason.EXPIRED
