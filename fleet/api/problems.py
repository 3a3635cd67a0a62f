"""Errors as `application/problem+json` (RFC 9457), with a reason code and every located problem."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from fleet import audit
from fleet.errors import FleetError, Throttled
from wire.errors import Refused as WireRefused
from wire.problem import Problem, expectation, shown
from wire.reasons import Reason

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def problem_response(
    status: int,
    reason: Reason,
    detail: str,
    problems: Sequence[Problem] = (),
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    """The answer. `type` names the reason code; `remedy` is what its table says to do."""
    body: dict[str, Any] = {
        "type": f"urn:outrider:reason:{reason.value}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail.encode(errors="replace").decode(),
        "reason": reason.value,
        "remedy": reason.text,
    }
    if audit.request_id.get():
        body["request_id"] = audit.request_id.get()
    if problems:
        body["problems"] = [problem.to_json() for problem in problems]
    return JSONResponse(body, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let every error of the application become such an answer."""
    app.add_exception_handler(FleetError, _fleet_error)
    app.add_exception_handler(WireRefused, _wire_refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


async def _fleet_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FleetError)
    return answer(error)


def answer(error: FleetError) -> JSONResponse:
    """The error as an answer."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}.get(error.status)
    if isinstance(error, Throttled):
        headers = {"Retry-After": str(math.ceil(error.retry_after_s))}
    return problem_response(error.status, error.reason, str(error), error.problems, headers)


async def _wire_refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, WireRefused)
    return problem_response(422, error.reason, str(error), error.problems)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        Problem(
            ".".join(map(str, entry["loc"])),
            Reason.INVALID_FIELD,
            f"{shown(entry.get('input'))} cannot be used",
            expectation(entry["msg"]),
        )
        for entry in error.errors()
    ]
    detail = f"the request has {len(problems)} problem(s)"
    return problem_response(422, Reason.INVALID_FIELD, detail, problems)


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reason = Reason.NOT_FOUND if error.status_code in (404, 405) else Reason.INVALID_FIELD
    headers = dict(error.headers) if error.headers else None
    return problem_response(error.status_code, reason, str(error.detail), headers=headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", exc_info=error, extra={"path": request.url.path})
    return problem_response(
        500, Reason.INTERNAL, "an error inside the control plane; its log has the details"
    )
