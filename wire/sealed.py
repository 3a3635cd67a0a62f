"""Secrets sealed to one device: whoever carries or keeps them can neither read them nor use them for another device or name.

X25519 with a key made for the one message, HKDF-SHA256 (RFC 5869) over the shared secret and both public keys, ChaCha20-Poly1305
(RFC 8439) bound to device and name. A sealed text is `x1.` and base64url of the public key (32 bytes) and the ciphertext. The
length is hidden up to the next multiple of 64 bytes. Sealing needs the device's public key only, so it proves no sender: that is
the signature's part, of the desired state that holds it.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wire.errors import Refused
from wire.reasons import Reason

PREFIX = "x1."
MAX_SECRET_BYTES = 8192
MAX_CHARACTERS = 16384
_KEY_BYTES = 32
_PAD_BYTES = 64
_NONCE = bytes(12)
"""A key encrypts one message only, so the nonce need not differ."""


def seal(public_key: bytes, device: str, name: str, secret: str) -> str:
    """The secret as only this device can read it, under this name.

    :raises Refused: the secret is too long, or the key is none
    """
    content = secret.encode()
    if len(content) > MAX_SECRET_BYTES:
        raise Refused(f"a secret of {len(content)} bytes; at most {MAX_SECRET_BYTES}", Reason.TOO_LARGE)
    ours = X25519PrivateKey.generate()
    try:
        shared = ours.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError as e:
        raise Refused(f"the device's sealing key cannot be used: {e}", Reason.SECRET_UNREADABLE) from e
    public = ours.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    framed = len(content).to_bytes(2, "big") + content
    framed += bytes(-len(framed) % _PAD_BYTES)
    sealed = _cipher(shared, public, public_key).encrypt(_NONCE, framed, _bound(device, name))
    return PREFIX + base64.urlsafe_b64encode(public + sealed).decode()


def unseal(key: X25519PrivateKey, device: str, name: str, sealed: str) -> str:
    """The secret.

    :raises Refused: sealed to another key, device or name, or changed on the way
    """
    try:
        if not sealed.startswith(PREFIX) or len(sealed) > MAX_CHARACTERS:
            raise ValueError("no sealed secret")
        content = base64.b64decode(sealed[len(PREFIX) :], altchars=b"-_", validate=True)
        public, ciphertext = content[:_KEY_BYTES], content[_KEY_BYTES:]
        shared = key.exchange(X25519PublicKey.from_public_bytes(public))
        ours = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        framed = _cipher(shared, public, ours).decrypt(_NONCE, ciphertext, _bound(device, name))
        size = int.from_bytes(framed[:2], "big")
        return framed[2 : 2 + size].decode()
    except (ValueError, binascii.Error, InvalidTag) as e:
        raise Refused(
            f"secret {name!r} was not sealed to this device's key under this name", Reason.SECRET_UNREADABLE
        ) from e


def _cipher(shared: bytes, sender: bytes, receiver: bytes) -> ChaCha20Poly1305:
    derived = HKDF(SHA256(), 32, salt=sender + receiver, info=b"outrider sealed secret 1")
    return ChaCha20Poly1305(derived.derive(shared))


def _bound(device: str, name: str) -> bytes:
    return f"{device}\0{name}".encode()
