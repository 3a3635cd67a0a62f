"""Signed documents: DSSE envelopes with Ed25519 keys.

Specification: Dead Simple Signing Envelope v1.0 (secure-systems-lab/dsse), pre-authentication encoding "DSSEv1".
A key id is the SHA-256 of the raw 32-byte public key, in hexadecimal.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from wire import strict_json
from wire.errors import Malformed, NotTrusted
from wire.reasons import Reason

PublicKeys = Mapping[str, bytes]
"""Key id → raw public key, 32 bytes."""


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def key_id(public_key: bytes) -> str:
    return hashlib.sha256(public_key).hexdigest()


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def sign(document: dict[str, Any], payload_type: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """Wrap a JSON document in a DSSE envelope with one signature."""
    payload = json.dumps(document, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()
    signature = key.sign(pre_authentication_encoding(payload_type, payload))
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": payload_type,
        "signatures": [{"keyid": key_id(public_bytes(key)), "sig": base64.b64encode(signature).decode()}],
    }


def verify(envelope: object, payload_type: str, keys: PublicKeys) -> dict[str, Any]:
    """The document inside, once one of the trusted keys is seen to have signed it.

    :raises Malformed: not a DSSE envelope, or the payload is no JSON object
    :raises NotTrusted: another payload type, or no valid signature by a trusted key
    """
    payload, kind, signatures = _parts(envelope)
    if kind != payload_type:
        raise NotTrusted(f"payload type {kind!r}; expected {payload_type!r}", Reason.SIGNATURE_INVALID)
    signed = pre_authentication_encoding(kind, payload)
    if not any(_valid(keys.get(name), signature, signed) for name, signature in signatures):
        raise NotTrusted(
            f"signed by {[name[:12] for name, _ in signatures]}; trusted are {[name[:12] for name in keys]}",
            Reason.SIGNATURE_INVALID,
        )
    document = strict_json.parse(payload, "signed payload")
    if not isinstance(document, dict):
        raise Malformed("signed payload is not a JSON object")
    return document


def signers(envelope: object) -> list[str]:
    """The key ids that an envelope names, unverified; none where it is no envelope."""
    try:
        return [name for name, _ in _parts(envelope)[2]]
    except Malformed:
        return []


def _parts(envelope: object) -> tuple[bytes, str, list[tuple[str, bytes]]]:
    try:
        if not isinstance(envelope, dict) or not isinstance(envelope["payloadType"], str):
            raise TypeError
        payload = base64.b64decode(envelope["payload"], validate=True)
        kind = envelope["payloadType"]
        signatures = [
            (str(entry["keyid"]), base64.b64decode(entry["sig"], validate=True))
            for entry in envelope["signatures"]
        ]
    except (KeyError, TypeError, ValueError, binascii.Error) as e:
        raise Malformed("not a DSSE envelope {payload, payloadType, signatures: [{keyid, sig}]}") from e
    return payload, kind, signatures


def _valid(public_key: bytes | None, signature: bytes, signed: bytes) -> bool:
    if public_key is None:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True
