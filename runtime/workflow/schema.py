"""The JSON Schema of definitions, for editors: the document, every block that is installed, and the query language.

What a schema cannot say (selectors that name something, kinds, lineage, cycles) the compiler does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.workflow.block import Block
from runtime.workflow.definition import INPUT_TYPES
from runtime.workflow.fields import Schema
from runtime.workflow.inner import TYPES as INNER_TYPES
from runtime.workflow.query.schema import DEFINITIONS
from runtime.workflow.registry import distinct

_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_STEP_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9_\-]{1,256}$"}
_KINDS = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["name"]}]}}


def definition_schema(blocks: Mapping[str, type[Block]]) -> Schema:
    """The schema of a whole definition (draft 2020-12); each block stands under `$defs` by its identifier."""
    found = distinct(blocks)
    steps: Schema = {block.types[0]: block.schema() for block in found}
    steps[INNER_TYPES[0]] = _inner()
    cases = [_case(list(block.types), block.types[0]) for block in found]
    cases.append(_case(list(INNER_TYPES), INNER_TYPES[0]))
    known = sorted({*blocks, *INNER_TYPES})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A workflow definition",
        "type": "object",
        "required": ["version", "inputs", "steps", "outputs"],
        "properties": {
            "version": {"type": "string", "pattern": r"^\s*v?1(\.|$)"},
            "inputs": {"type": "array", "items": _input(), "maxItems": 256},
            "steps": {"type": "array", "items": {"$ref": "#/$defs/step"}, "maxItems": 1000},
            "outputs": {"type": "array", "items": _output(), "maxItems": 1000},
            "dynamic_blocks_definitions": {"type": "array"},
        },
        "$defs": {
            "step": {
                "type": "object",
                "required": ["type", "name"],
                "properties": {"type": {"type": "string", "examples": known}, "name": _STEP_NAME},
                "allOf": cases,
                "if": {"not": {"required": ["type"], "properties": {"type": {"enum": known}}}},
                "then": {"$ref": "#/$defs/brought"},
            },
            "brought": {
                "description": "A block that the definition brings itself, or none that is known here."
            },
            **DEFINITIONS,
            **steps,
        },
    }


def _case(types: list[str], identifier: str) -> Schema:
    reference = identifier.replace("~", "~0").replace("/", "~1")
    return {
        "if": {"required": ["type"], "properties": {"type": {"enum": types}}},
        "then": {"$ref": f"#/$defs/{reference}"},
    }


def _inner() -> Schema:
    return {
        "title": "Inner workflow",
        "type": "object",
        "required": ["type", "name", "workflow_definition"],
        "properties": {
            "type": {"enum": list(INNER_TYPES)},
            "name": _STEP_NAME,
            "workflow_definition": {"$ref": "#"},
            "parameter_bindings": {"type": "object"},
        },
    }


def _input() -> Schema:
    return {
        "type": "object",
        "required": ["type", "name"],
        "properties": {
            "type": {"enum": list(INPUT_TYPES)},
            "name": _NAME,
            "kind": _KINDS,
            "dimensionality": {"type": ["integer", "string", "boolean"]},
            "default_value": {},
        },
    }


def _output() -> Schema:
    selector: dict[str, Any] = {"type": "string", "pattern": r"^\$(inputs|steps)\."}
    return {
        "type": "object",
        "required": ["type", "name", "selector"],
        "properties": {
            "type": {"const": "JsonField"},
            "name": _NAME,
            "selector": selector,
            "coordinates_system": {"enum": ["parent", "own"]},
        },
    }
