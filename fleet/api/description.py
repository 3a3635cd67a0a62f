"""The OpenAPI document made complete: problem documents, headers, and how to say who asks."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, TypeAdapter

from fleet.api.problems import MEDIA_TYPE
from fleet.shapes import ProblemDocument

PUBLIC = {"x-public": True}
"""`openapi_extra` of a route that asks nobody who they are."""
DEVICE = {"x-device": True}
"""`openapi_extra` of a route for devices: a certificate, or a token the device signed or was given."""
KEPT = {"x-kept": True}
"""`openapi_extra` of a route whose answers have entity tags and are kept under idempotency keys (fleet.api.route)."""

REFERENCE = "#/components/schemas/{model}"
TEXTS = {
    "401": "Nobody that is known: no token, no session, or one that is over",
    "403": "Known, and without the right",
    "404": "No such thing, or one that may not be seen",
    "405": "No such method here",
    "409": "It conflicts with what is there",
    "412": "It is not any more what was read",
    "413": "The body is over its limit",
    "422": "Something in the request cannot be used; every problem is listed",
    "429": "Too many attempts; Retry-After says how long to wait",
    "503": "Try again: the broker or the database does not answer",
    "504": "The device did not answer in time",
}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads such a document itself."""
    content = {"application/json": {"schema": model.model_json_schema(ref_template=REFERENCE)}}
    return {"requestBody": {"required": True, "content": content}}


def json_object() -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a document that is none of the API's own."""
    content = {"application/json": {"schema": {"type": "object"}}}
    return {"requestBody": {"required": True, "content": content}}


def file_of(media_type: str) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a file."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


def parts_of(texts: Mapping[str, str], file: str, required: Sequence[str]) -> dict[str, Any]:
    """`openapi_extra` of a route whose body is a form with a file; `texts` describe its other parts."""
    properties = {name: {"type": "string", "description": text} for name, text in texts.items()}
    properties[file] = {"type": "string", "format": "binary"}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


def install(app: FastAPI) -> None:
    """Serve the complete document."""
    made: dict[str, Any] = {}

    def document() -> dict[str, Any]:
        if not made:
            made.update(_complete(get_openapi(title=app.title, version=app.version, routes=app.routes)))
        return made

    app.openapi = document  # type: ignore[method-assign]


def _complete(shared: dict[str, Any]) -> dict[str, Any]:
    document = copy.deepcopy(shared)  # parts of it belong to the routes
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    problem = TypeAdapter(ProblemDocument).json_schema(ref_template=REFERENCE)
    schemas.update(problem.pop("$defs", {}))
    schemas["ProblemDocument"] = problem
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    document["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token `oa_…`"},
        "session": {"type": "apiKey", "in": "cookie", "name": "outrider_session"},
        "device": {"type": "http", "scheme": "bearer", "description": "A device's token"},
    }
    for path, method, operation in _operations(document):
        for media in operation.get("requestBody", {}).get("content", {}).values():
            schemas.update(media.get("schema", {}).pop("$defs", {}))
        _describe(path, method, operation)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _describe(path: str, method: str, operation: dict[str, Any]) -> None:
    public, device = operation.pop("x-public", False), operation.pop("x-device", False)
    kept = operation.pop("x-kept", False)
    parameters = operation.setdefault("parameters", [])
    operation["security"] = [] if public else [{"device": []}] if device else [{"token": []}, {"session": []}]
    if method == "get" and kept and not public:
        parameters.append(_header("If-None-Match", "The tag of what the caller has; 304 where it is current"))
        operation["responses"]["304"] = {"description": "Unchanged"}
    if method != "get" and kept and not public:
        parameters.append(
            _header("Idempotency-Key", "The same request under the same key is done once, for a day")
        )
    if method != "get" and not (public or device):
        parameters.append(_header("X-CSRF-Token", "With a session's cookie: the session's token"))
    for status in sorted(_errors(path, method, operation, public)):
        described = operation["responses"].get(status, {}).get("description")
        operation["responses"][status] = _problem(TEXTS.get(status) or described or "Refused")


def _errors(path: str, method: str, operation: dict[str, Any], public: bool) -> set[str]:
    names = {parameter["name"].lower() for parameter in operation["parameters"]}
    found = {"422", "503"}
    found |= set() if public else {"401", "403", "404"}
    found |= {"409", "413"} if method != "get" else set()
    found |= {"412"} if "if-match" in names else set()
    found |= {"504"} if "/commands/" in path else set()
    found |= {status for status in operation["responses"] if status.startswith(("4", "5"))}
    return found


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model="ProblemDocument")}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema}}}


def _header(name: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": text,
        "schema": {"type": "string"},
    }
