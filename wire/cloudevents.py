"""CloudEvents 1.0 in JSON, structured or batched, and how a webhook's body is signed (Standard Webhooks 1.0). Pure: both sides use it.

What the fleet tells by webhook has this envelope, whatever it is: an event of a camera, an alert.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

SPEC_VERSION = "1.0"
ONE = "application/cloudevents+json; charset=utf-8"
BATCH = "application/cloudevents-batch+json; charset=utf-8"
ID_HEADER, TIME_HEADER, SIGNATURE_HEADER = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S = 300.0
SECRET_PREFIX = "whsec_"


def envelope(
    kind: str,
    event_id: str,
    source: str,
    at_wall: float,
    data: Mapping[str, Any],
    subject: str = "",
    extensions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One event. `kind` is its type (`outrider.event.result`); `source` and `event_id` together are unique; `extensions` have names of small
    letters and digits."""
    document: dict[str, Any] = {
        "specversion": SPEC_VERSION,
        "id": event_id,
        "source": source,
        "type": kind,
        "time": datetime.fromtimestamp(at_wall, timezone.utc).isoformat(timespec="milliseconds"),
        "datacontenttype": "application/json",
        **({"subject": subject} if subject else {}),
        **(extensions or {}),
    }
    return {**document, "data": dict(data)}


def body(events: Sequence[Mapping[str, Any]], *, batch: bool) -> tuple[bytes, str]:
    """What is posted, and its media type. Without `batch` there is one event."""
    content: Any = list(events) if batch else events[0]
    return json.dumps(content, separators=(",", ":")).encode(), BATCH if batch else ONE


def signed_headers(secret: str, message_id: str, at_wall: float, content: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who has sent it, and when. Without a secret there is no signature."""
    at = str(math.floor(at_wall))
    headers = {ID_HEADER: message_id, TIME_HEADER: at}
    if secret:
        headers[SIGNATURE_HEADER] = f"v1,{_signature(secret, message_id, at, content)}"
    return headers


def is_signed(secret: str, headers: Mapping[str, str], content: bytes, at_wall: float) -> bool:
    """Whether the content comes from somebody who has the secret, lately. Names of headers in small letters."""
    at, message_id = headers.get(TIME_HEADER, ""), headers.get(ID_HEADER, "")
    if not at.isascii() or not at.isdigit() or abs(float(at) - at_wall) > TOLERANCE_S:
        return False
    wanted = f"v1,{_signature(secret, message_id, at, content)}"
    told = headers.get(SIGNATURE_HEADER, "").split(" ")
    return any(hmac.compare_digest(wanted.encode(), each.encode()) for each in told)


def _signature(secret: str, message_id: str, at: str, content: bytes) -> str:
    signed = f"{message_id}.{at}.".encode() + content
    return base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()).decode()


def _key(secret: str) -> bytes:
    """`whsec_` and base64, or the text itself."""
    if secret.startswith(SECRET_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except ValueError:
            return secret.encode()
    return secret.encode()
