"""Enrolment: trade a one-time token for an identity.

The token names the control plane's authority. The device asks for that authority first, over a connection in which it believes
nothing; only where the fingerprint fits does it go on, over a new connection that trusts this authority alone. So the
token's secret is never given to somebody in between.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from agent import identity, metadata
from agent.clock import Clock
from agent.errors import EnrolRefused, MetadataRefused, Transient
from agent.files import DISK
from agent.keys import FileKeys
from agent.tls import Trust
from wire.doc import read
from wire.enrol import EnrolRequest, EnrolResponse, fingerprint, parts_of
from wire.errors import Refused
from wire.reasons import Reason

DEADLINE_S = 30.0
MAX_AUTHORITY_BYTES = 65536

Connect = Callable[[ssl.SSLContext], httpx.AsyncClient]


def connect(context: ssl.SSLContext) -> httpx.AsyncClient:
    """A client that trusts what the context says."""
    return httpx.AsyncClient(verify=context)


def through(proxy: str) -> Connect:
    """The same through a proxy; without one where it is empty."""
    return lambda context: httpx.AsyncClient(verify=context, proxy=proxy or None)


async def enrol(
    url: str,
    token: str,
    state_dir: Path,
    clock: Clock,
    *,
    device: str | None = None,
    labels: Mapping[str, str] | None = None,
    public_authorities: bool = False,
    allow_http: bool = False,
    ca_file: str = "",
    connect: Connect = connect,
) -> identity.Identity:
    """Enrol this device and write its identity. Keys are made here and only their public halves are sent.

    `public_authorities`: the control plane is behind a proxy whose certificate the system's authorities vouch for. `allow_http`: send
    the token over a network without TLS. `ca_file`: authorities (PEM) that vouch for it besides.

    :raises EnrolRefused: the control plane says no, or is not the one the token names
    :raises Transient: it cannot be reached
    :raises OSError: the identity cannot be written
    """
    url = url.rstrip("/")
    _, wanted = parts_of(token)
    if wanted and not allow_http:
        _check_scheme(url)
    keys = FileKeys(state_dir)
    authority = await _authority(connect, url, wanted) if wanted else ""
    trust = Trust(authority, keys, clock, public=public_authorities, ca_file=ca_file)
    request = _request(token, device, keys, dict(labels or {}))
    async with connect(trust.context) as client:
        answer = await _ask(client, "POST", f"{url}/api/v1/enroll", request.to_json())
    if answer.status_code not in (200, 201):
        raise EnrolRefused(*_why(answer))
    try:
        response = read(EnrolResponse, answer.json())
    except (ValueError, Refused) as e:
        raise EnrolRefused(
            Reason.MALFORMED, f"{url} answered no enrolment ({e}); is it a control plane?"
        ) from e
    if wanted and response.certificate:
        response = response.model_copy(
            update={"authority": authority}
        )  # the one that was checked, whatever is said
    if response.root:
        _check_root(url, response.root)
    made = identity.from_response(url, response, public_authorities=public_authorities)
    if response.certificate:
        keys.install(response.certificate)
    DISK.remove_tree(state_dir / metadata.FOLDER)  # it may be of another fleet
    identity.save(made, state_dir)
    return made


def _check_root(url: str, root: str) -> None:
    try:
        metadata.check_root(root.encode())
    except MetadataRefused as e:
        raise EnrolRefused(e.reason, f"{url} gave no root that can be pinned: {e}") from e


def _check_scheme(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or _loopback(parts.hostname or ""):
        return
    raise EnrolRefused(
        Reason.CONFIG_INVALID,
        f"{url} is without TLS, so anybody on the way could take the token; use https://, or --allow-http in a network "
        "that you trust",
    )


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _authority(connect: Connect, url: str, wanted: str) -> str:
    """The authority the token names, PEM, from a server that need not be believed.

    :raises EnrolRefused: the server has another one
    """
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with connect(context) as client:
        answer = await _ask(client, "GET", f"{url}/api/v1/authority")
    if answer.status_code != 200 or len(answer.content) > MAX_AUTHORITY_BYTES:
        raise EnrolRefused(
            Reason.AUTHORITY_MISMATCH,
            f"{url} answered {answer.status_code} and no authority; is it a control plane?",
        )
    try:
        found = fingerprint(ssl.PEM_cert_to_DER_cert(answer.text.strip()))
    except ValueError as e:
        raise EnrolRefused(Reason.AUTHORITY_MISMATCH, f"{url} has no authority: {e}") from e
    if found != wanted:
        raise EnrolRefused(
            Reason.AUTHORITY_MISMATCH,
            f"the authority of {url} is {found[:12]}…, the token names {wanted[:12]}…: nothing was sent to it",
        )
    return answer.text


async def _ask(client: httpx.AsyncClient, method: str, url: str, body: object = None) -> httpx.Response:
    try:
        answer = await client.request(method, url, json=body, timeout=DEADLINE_S)
    except httpx.HTTPError as e:
        raise Transient(
            Reason.ARTIFACT_UNREACHABLE,
            f"control plane {url} cannot be reached: {e or type(e).__name__}; check the URL and the network",
        ) from e
    if answer.status_code >= 500:
        raise Transient(
            Reason.INTERNAL, f"control plane {url} answered {answer.status_code}; try again later"
        )
    return answer


def _request(token: str, device: str | None, keys: FileKeys, labels: dict[str, str]) -> EnrolRequest:
    body = {
        "token": token,
        "device": device,
        "public_key": keys.signing_public(),
        "sealing_key": keys.sealing_public(),
        "csr": keys.request(),
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
