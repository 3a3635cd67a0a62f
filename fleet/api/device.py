"""What devices ask: enrolment, their desired state, the objects they need."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse

from fleet import etag
from fleet.api.context import AskingDevice, PlaneDep, json_body
from fleet.api.description import DEVICE, PUBLIC, body_of
from fleet.api.problems import problem_response
from fleet.broker import Endpoint
from fleet.errors import NotAllowed, NotFound
from wire import enrol
from wire.doc import read
from wire.names import is_digest
from wire.reasons import Reason

router = APIRouter(prefix="/api/v1", tags=["device"])

_METADATA = re.compile(
    r"(?:(?P<version>[1-9]\d{0,11})\.)?(?P<role>[a-z]{1,20}(?:-[0-9a-f])?)\.json", re.ASCII
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


@router.post(
    "/enroll",
    response_model=enrol.EnrolResponse,
    status_code=201,
    openapi_extra={**PUBLIC, **body_of(enrol.EnrolRequest)},
)
async def enroll(request: Request, plane: PlaneDep) -> JSONResponse:
    """Trade a one-time token for an identity. The body is `wire.enrol.EnrolRequest`."""
    body = read(enrol.EnrolRequest, await json_body(request, plane.config.limits.body_bytes))
    endpoint = plane.broker.endpoint
    identity = await asyncio.to_thread(plane.devices.enrol, body, endpoint.mutual)
    if identity.replaced or identity.broker_password:
        await plane.broker.reload()
    port = endpoint.port
    if endpoint.mutual and identity.broker_password:
        port = endpoint.password_port or endpoint.port
    host = plane.config.broker.advertise_host or (
        endpoint.host if endpoint.kind == "external" else request.url.hostname or endpoint.host
    )
    answer = enrol.EnrolResponse(
        fleet=plane.fleet,
        device=identity.device,
        api_token=identity.api_token,
        broker=enrol.Broker(
            host=host,
            port=port,
            username=identity.device,
            password=identity.broker_password,
            tls=endpoint.tls,
            websocket=_websocket(endpoint, host),
        ),
        state_keys=plane.signer.state_keys,
        certificate=identity.certificate,
        authority=plane.certificates.authority.root_pem if identity.certificate else "",
        root=(await asyncio.to_thread(plane.trust.repository.file, "root", None)).decode(),
    )
    return JSONResponse(answer.to_json(), 201, {"Cache-Control": "no-store"})


def _websocket(endpoint: Endpoint, host: str) -> str:
    if endpoint.websocket or endpoint.websocket_port is None:
        return endpoint.websocket
    shown = f"[{host}]" if ":" in host else host
    return f"{'wss' if endpoint.tls else 'ws'}://{shown}:{endpoint.websocket_port}/mqtt"


@router.get("/authority", response_class=PlainTextResponse, openapi_extra=PUBLIC)
def authority(plane: PlaneDep) -> str:
    """The authority whose certificates this fleet uses, PEM. Public; an enrolment token says whether it is the right one."""
    return plane.certificates.authority.root_pem


@router.post(
    "/device/certificate",
    response_model=enrol.CertificateResponse,
    status_code=201,
    openapi_extra={**DEVICE, **body_of(enrol.CertificateRequest)},
)
async def renew_certificate(request: Request, plane: PlaneDep, device: AskingDevice) -> JSONResponse:
    """Another certificate for the device that asks. The body is `wire.enrol.CertificateRequest`."""
    body = read(enrol.CertificateRequest, await json_body(request, plane.config.limits.body_bytes))
    chain = await asyncio.to_thread(plane.certificates.renew, device, body.csr)
    return JSONResponse(enrol.CertificateResponse(certificate=chain).to_json(), 201)


@router.get(
    "/device/desired",
    response_model=dict[str, Any],
    openapi_extra=DEVICE,
    responses={204: {"description": "There is none yet"}, 304: {"description": "Unchanged"}},
)
def desired(request: Request, plane: PlaneDep, device: AskingDevice) -> Response:
    """The newest signed desired state; 204 where there is none, 304 where the device has it (If-None-Match)."""
    row = plane.desired.newest(device)
    if row is None:
        return Response(status_code=204)
    headers = {"ETag": f'"{row.revision}"', "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    return JSONResponse(row.signed, headers=headers)


@router.get("/device/tuf/{name}", response_model=dict[str, Any], openapi_extra=DEVICE)
def metadata(name: str, plane: PlaneDep, device: AskingDevice) -> Response:
    """Trust metadata: `timestamp.json`, `N.snapshot.json`, `N.root.json`, `N.targets.json`, `N.models-0.json` …"""
    return metadata_file(plane, name)


@router.get(
    "/device/objects/{digest}",
    response_class=StreamingResponse,
    openapi_extra=DEVICE,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "The part that Range asked for", "content": {"application/octet-stream": {}}},
        307: {"description": "With `elsewhere`: the object's address in the store"},
        416: {"description": "The range does not fit the object"},
    },
)
async def object_bytes(
    request: Request, digest: str, plane: PlaneDep, device: AskingDevice, elsewhere: bool = False
) -> Response:
    """The bytes of an object that the device's newest desired states need; with Range, a part of it.

    With `elsewhere` a control plane whose store has addresses answers one (307), good for a while, and not the bytes.
    """
    if not is_digest(digest):
        raise NotFound("object", digest[:80], "a digest is sha256: and 64 hexadecimal digits")
    size = await asyncio.to_thread(plane.registry.size_of, digest)
    if not await asyncio.to_thread(plane.registry.may_fetch, device, digest):
        raise NotAllowed(Reason.NOT_ALLOWED, f"no desired state of {device} needs {digest}")
    if elsewhere and (address := await plane.objects.address(digest)) is not None:
        return Response(status_code=307, headers={"Location": address, "Cache-Control": "no-store"})
    return object_answer(request, plane, digest, size)


def object_answer(request: Request, plane: PlaneDep, digest: str, size: int) -> Response:
    """An object's bytes, or the part of them that is asked for."""
    headers: dict[str, str] = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
    if etag.unchanged(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    wanted = request.headers.get("range")
    if wanted is None or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        return _answer(plane.objects.stream(digest, 0, size), 200, headers, size)
    part = parse_range(wanted, size)
    if part is None:
        return problem_response(
            416,
            Reason.INVALID_FIELD,
            f"range {wanted[:80]!r} does not fit {size} bytes",
            headers={"Content-Range": f"bytes */{size}"},
        )
    start, end = part
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    return _answer(plane.objects.stream(digest, start, end), 206, headers, end - start)


def metadata_file(plane: PlaneDep, name: str) -> Response:
    """A file of trust metadata by the name it has under consistent snapshots; only the timestamp's has no version."""
    match = _METADATA.fullmatch(name)
    if match is None or (match["version"] is None) != (match["role"] == "timestamp"):
        raise NotFound("metadata", name[:80])
    version = int(match["version"]) if match["version"] else None
    content = plane.trust.repository.file(match["role"], version)
    age = "no-cache" if version is None else "private, max-age=31536000, immutable"
    return Response(content, media_type="application/json", headers={"Cache-Control": age})


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """A single byte range (RFC 9110 §14.1.2) as start and end, end not included; None where it cannot be served."""
    match = _RANGE.fullmatch(header.replace(" ", ""))
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    return (start, end) if start < end else None


def _answer(stream: Any, status: int, headers: dict[str, str], length: int) -> StreamingResponse:
    return StreamingResponse(
        stream,
        status,
        {**headers, "Content-Length": str(length)},
        media_type="application/octet-stream",
    )
