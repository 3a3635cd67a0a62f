"""Enrolment: trade a one-time token for an identity."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import httpx

from agent import identity
from agent.errors import EnrolRefused, Transient
from wire import dsse
from wire.doc import read
from wire.enrol import EnrolRequest, EnrolResponse
from wire.errors import Refused
from wire.reasons import Reason

DEADLINE_S = 30.0


async def enrol(
    client: httpx.AsyncClient,
    url: str,
    token: str,
    state_dir: Path,
    *,
    device: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> identity.Identity:
    """Enrol this device and write its identity. The key is made here and only its public half is sent.

    :raises EnrolRefused: the control plane says no
    :raises Transient: it cannot be reached
    :raises OSError: the identity cannot be written
    """
    public = dsse.public_bytes(identity.device_key(state_dir))
    request = _request(token, device, public, dict(labels or {}))
    try:
        answer = await client.post(
            f"{url.rstrip('/')}/api/v1/enroll", json=request.to_json(), timeout=DEADLINE_S
        )
    except httpx.HTTPError as e:
        raise Transient(
            Reason.ARTIFACT_UNREACHABLE,
            f"control plane {url} cannot be reached: {e or type(e).__name__}; check the URL and the network",
        ) from e
    if answer.status_code >= 500:
        raise Transient(
            Reason.INTERNAL, f"control plane {url} answered {answer.status_code}; try again later"
        )
    if answer.status_code not in (200, 201):
        raise EnrolRefused(*_why(answer))
    try:
        response = read(EnrolResponse, answer.json())
    except (ValueError, Refused) as e:
        raise EnrolRefused(
            Reason.MALFORMED, f"{url} answered no enrolment ({e}); is it a control plane?"
        ) from e
    made = identity.from_response(url, response)
    identity.save(made, state_dir)
    return made


def _request(token: str, device: str | None, public: bytes, labels: dict[str, str]) -> EnrolRequest:
    body = {
        "token": token,
        "device": device,
        "public_key": base64.b64encode(public).decode(),
        "labels": labels,
    }
    try:
        return read(EnrolRequest, body)
    except Refused as e:
        raise EnrolRefused(e.reason, str(e), e.problems) from e


def _why(answer: httpx.Response) -> tuple[Reason, str]:
    """The reason and sentence of a problem document (RFC 9457), as far as the answer holds one."""
    try:
        body = answer.json()
        reason = Reason(body["reason"])
        text = str(body.get("detail") or body.get("title") or reason.text)
    except (ValueError, KeyError, TypeError):
        return Reason.TOKEN_INVALID, f"the control plane answered {answer.status_code}: {answer.text[:200]}"
    return reason, text
