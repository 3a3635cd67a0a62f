"""Sealed secrets, the names of secrets in addresses, and short-lived device tokens."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from wire import dsse, proof, sealed
from wire.errors import NotTrusted, Refused, WireError
from wire.secret import names_in

KEY = X25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
SIGNER = Ed25519PrivateKey.generate()
SIGNER_PUBLIC = dsse.public_bytes(SIGNER)


@pytest.mark.parametrize("secret", ["", "a", "pässwörd", "x" * 5000])
def test_a_sealed_secret_is_read_by_its_device_alone_and_under_its_name(secret: str) -> None:
    text = sealed.seal(PUBLIC, "d1", "door", secret)
    assert sealed.unseal(KEY, "d1", "door", text) == secret
    assert sealed.seal(PUBLIC, "d1", "door", secret) != text
    for key, device, name in (
        (X25519PrivateKey.generate(), "d1", "door"),
        (KEY, "d2", "door"),
        (KEY, "d1", "yard"),
    ):
        with pytest.raises(Refused, match="not sealed"):
            sealed.unseal(key, device, name, text)


def test_a_changed_byte_is_noticed_and_short_secrets_have_one_length() -> None:
    text = sealed.seal(PUBLIC, "d1", "door", "short")
    content = bytearray(base64.urlsafe_b64decode(text[3:]))
    assert len(text) == len(sealed.seal(PUBLIC, "d1", "door", "much longer than that"))
    for at in range(len(content)):
        changed = bytearray(content)
        changed[at] ^= 1
        with pytest.raises(Refused):
            sealed.unseal(KEY, "d1", "door", "x1." + base64.urlsafe_b64encode(changed).decode())
    for nonsense in ("", "x1.", "x1.AAAA", "x2." + text[3:], text + "é"):
        with pytest.raises(Refused):
            sealed.unseal(KEY, "d1", "door", nonsense)
    with pytest.raises(Refused, match="8193 bytes"):
        sealed.seal(PUBLIC, "d1", "door", "x" * 8193)
    with pytest.raises(Refused):
        sealed.seal(b"short", "d1", "door", "x")


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("rtsp://admin:secret:door@10.0.0.7/main", ["door"]),
        ("http://h/stream?token=secret:a-1&x=secret:b.2", ["a-1", "b.2"]),
        ("rtsp://secret:door@10.0.0.7/main", []),
        ("rtsp://user:secret@10.0.0.7/main", []),
        ("/videos/secret:door.mp4", []),
    ],
)
def test_an_address_names_secrets_where_a_password_or_a_token_would_stand(
    address: str, names: list[str]
) -> None:
    assert names_in(address) == names


def test_a_device_token_holds_for_its_device_its_key_and_its_time() -> None:
    token = proof.make("d1", SIGNER, 1000.0)
    assert proof.claimed(token) == "d1"
    proof.verify(token, "d1", SIGNER_PUBLIC, 1000.0 + proof.LIFETIME_S)
    stranger = dsse.public_bytes(Ed25519PrivateKey.generate())
    for device, key, at in (
        ("d2", SIGNER_PUBLIC, 1000.0),
        ("d1", stranger, 1000.0),
        ("d1", SIGNER_PUBLIC, 1001.0 + proof.LIFETIME_S),
        ("d1", SIGNER_PUBLIC, 999.0 - proof.SKEW_S),
    ):
        with pytest.raises(NotTrusted):
            proof.verify(token, device, key, at)
    for nonsense in ("", "dt_", "dt_e30=", "dt_bnVsbA==", "dt_é", "dt_" + "A" * 3000):
        with pytest.raises(WireError):
            proof.claimed(nonsense)
