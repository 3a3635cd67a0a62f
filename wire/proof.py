"""Short-lived tokens by which a device proves over HTTPS who it is, where a reverse proxy hides its certificate.

A token is a DSSE envelope, base64url, behind a prefix: device and time, signed with the device's own key. The control plane
knows the public half since enrolment; nothing it or its database holds can make such a token.
"""

from __future__ import annotations

import base64
import binascii
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire import dsse
from wire.errors import Malformed, NotTrusted
from wire.reasons import Reason

PREFIX = "dt_"
PAYLOAD_TYPE = "application/vnd.outrider.device-token+json"
LIFETIME_S = 300.0
SKEW_S = 300.0
"""How far the device's clock may be ahead."""
MAX_CHARACTERS = 2000


def make(device: str, key: Ed25519PrivateKey, at_wall: float) -> str:
    """A token good for `LIFETIME_S` from `at_wall`."""
    envelope = dsse.sign({"device": device, "at": at_wall}, PAYLOAD_TYPE, key)
    return PREFIX + base64.urlsafe_b64encode(json.dumps(envelope).encode()).decode()


def claimed(token: str) -> str:
    """The device that the token speaks of; nothing is verified yet.

    :raises Malformed: no such token
    """
    try:
        document = json.loads(base64.b64decode(str(_envelope(token)["payload"]), validate=True))
        device = document["device"]
    except (KeyError, TypeError, ValueError, RecursionError) as e:
        raise Malformed("the token's payload is no JSON object with a device") from e
    if not isinstance(device, str):
        raise Malformed("the token names no device")
    return device


def verify(token: str, device: str, public_key: bytes, at_wall: float) -> None:
    """Check that the device's key has made the token, for this device and not too long ago.

    :raises Malformed: no such token
    :raises NotTrusted: signature, device or time do not hold
    """
    document = dsse.verify(_envelope(token), PAYLOAD_TYPE, {dsse.key_id(public_key): public_key})
    if document.get("device") != device:
        raise NotTrusted(f"token of device {document.get('device')!r}", Reason.WRONG_DEVICE)
    at = document.get("at")
    if not isinstance(at, (int, float)) or isinstance(at, bool):
        raise Malformed("the token holds no time")
    age_s = at_wall - at
    if not -SKEW_S <= age_s <= LIFETIME_S:
        raise NotTrusted(
            f"the token was made {age_s:.0f} s ago; it is good for {LIFETIME_S:.0f} s: check the clock",
            Reason.EXPIRED,
        )


def _envelope(token: str) -> dict[str, object]:
    if not token.startswith(PREFIX) or len(token) > MAX_CHARACTERS:
        raise Malformed("not a device token")
    try:
        value = json.loads(base64.b64decode(token.removeprefix(PREFIX), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError) as e:
        raise Malformed(f"not a device token: {e}") from e
    if not isinstance(value, dict):
        raise Malformed("not a device token")
    return value
