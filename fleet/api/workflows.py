"""A workflow before its release: checked and tried, and nothing of it kept."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from fleet import audit, shapes
from fleet.api import views
from fleet.api.context import AnyOperator, PlaneDep, bounded_body
from fleet.api.description import file_of, parts_of
from fleet.errors import Refused, TooMuch
from fleet.plane import Plane
from fleet.trials import MOST_FRAMES, Trial
from wire.problem import Problem, shown
from wire.reasons import Reason

uploads = APIRouter(prefix="/api/v1", tags=["workflows"])

COPY_BYTES = 1024 * 1024
TRIAL_PARTS = {
    "definition": "The workflow definition (JSON)",
    "models": "An object: model id → a model of the registry (name, name@version, name@alias)",
    "parameters": "An object: values of the workflow's parameters",
    "frames": f"At most so many frames of a clip; 1 to {MOST_FRAMES}",
}


@uploads.post("/workflows/check", openapi_extra=file_of("application/json"))
async def check(request: Request, plane: PlaneDep, who: AnyOperator) -> shapes.WorkflowVerdict:
    """What an upload of this definition would say: accepted with its card, or refused with every located problem. Nothing is kept."""
    content = await bounded_body(request, plane.config.limits.workflow_bytes)
    verdict = await plane.registry.check_workflow(content)
    return views.verdict(verdict)


@uploads.post("/workflows/try", openapi_extra=parts_of(TRIAL_PARTS, "media", ("definition", "media")))
async def try_out(request: Request, plane: PlaneDep, who: AnyOperator) -> shapes.TrialView:
    """Run a definition over a picture or a clip, in a process with limits; the annotated pictures and the outputs. Sinks send nothing,
    Python that the definition brings is refused, and nothing is kept."""
    limits = plane.config.limits
    with plane.trials.scratch() as folder:
        trial = await _received(
            request, folder, limits.clip_bytes + 2 * limits.workflow_bytes, limits.workflow_bytes
        )
        await asyncio.to_thread(_record, plane, who.actor, trial)
        return await plane.trials.run(folder, trial)


def _record(plane: Plane, actor: str, trial: Trial) -> None:
    with plane.database.write() as session:
        audit.record(session, plane.clock.wall(), actor, "workflow.try", "", models=dict(trial.models))


async def _received(request: Request, folder: Path, limit_bytes: int, part_bytes: int) -> Trial:
    """The parts of the form; the media is written to the folder.

    :raises Refused: parts are missing or cannot be read
    """
    try:
        bounded = Request(request.scope, _bounded(request.receive, limit_bytes))
        async with bounded.form(
            max_files=1, max_fields=len(TRIAL_PARTS) + 1, max_part_size=part_bytes
        ) as form:
            media = form.get("media")
            definition = form.get("definition")
            if not isinstance(media, UploadFile) or definition is None:
                raise Refused(
                    Reason.INVALID_FIELD, "expected a form with the parts definition and media (a file)"
                )
            with (folder / "media").open("xb") as file:
                while chunk := await media.read(COPY_BYTES):
                    await asyncio.to_thread(file.write, chunk)
            return Trial(
                await definition.read()
                if isinstance(definition, UploadFile)
                else definition.encode(errors="replace"),
                _object(form.get("models"), "models"),
                _object(form.get("parameters"), "parameters"),
                _number(form.get("frames")),
            )
    except HTTPException as e:
        raise Refused(Reason.MALFORMED, f"the form cannot be read: {e.detail}") from e


def _bounded(receive: Receive, limit_bytes: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit_bytes:
            raise TooMuch(Reason.TOO_LARGE, f"the trial is over {limit_bytes} bytes; take a shorter clip")
        return message

    return counted


def _object(part: Any, name: str) -> dict[str, Any]:
    if part is None or part == "":
        return {}
    try:
        value = json.loads(part) if isinstance(part, str) else None
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return value
    problem = Problem(name, Reason.INVALID_FIELD, f"{shown(part)} cannot be used", "a JSON object")
    raise Refused(problem.reason, str(problem), [problem])


def _number(part: Any) -> int:
    if part is None or part == "":
        return Trial.frames
    if isinstance(part, str) and part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MOST_FRAMES:
        return int(part)
    problem = Problem("frames", Reason.INVALID_FIELD, f"{shown(part)} cannot be used", f"1 to {MOST_FRAMES}")
    raise Refused(problem.reason, str(problem), [problem])
