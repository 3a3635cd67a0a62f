"""The query language as JSON Schema: definitions that refer to each other."""

from __future__ import annotations

from typing import Any

from runtime.workflow.fields import Schema
from runtime.workflow.query.conditions import COMPARATORS, MAX_OPERATIONS, MAX_STATEMENTS, UNARY
from runtime.workflow.query.operations import OPERATIONS, Operation

OPERATIONS_REF: Schema = {"$ref": "#/$defs/operations"}
STATEMENT_REF: Schema = {"$ref": "#/$defs/statement"}


def _object(kind: str, required: dict[str, Any], optional: dict[str, Any] | None = None) -> Schema:
    return {
        "type": "object",
        "required": ["type", *required],
        "properties": {"type": {"const": kind}, **required, **(optional or {})},
    }


def _operation(kind: str, operation: Operation) -> Schema:
    read = {name: literal.schema() for name, (literal, _) in operation.parameters.items()}
    needed = {name: schema for name, schema in read.items() if name in operation.required}
    return _object(kind, needed, {name: schema for name, schema in read.items() if name not in needed})


def _of(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _one_of_types(options: dict[str, Schema]) -> Schema:
    """One of several objects, told apart by `type`."""
    cases = [
        {"if": {"required": ["type"], "properties": {"type": {"const": kind}}}, "then": schema}
        for kind, schema in options.items()
    ]
    return {
        "type": "object",
        "required": ["type"],
        "properties": {"type": {"enum": list(options)}},
        "allOf": cases,
    }


_OPERATIONS = {
    **{kind: _operation(kind, operation) for kind, operation in OPERATIONS.items()},
    "SequenceApply": _object("SequenceApply", {"operations": OPERATIONS_REF}),
    "DetectionsFilter": _object("DetectionsFilter", {"filter_operation": STATEMENT_REF}),
}
_NEGATE = {"negate": {"type": "boolean"}}
_OPERANDS = {
    "StaticOperand": _object("StaticOperand", {"value": {}}, {"operations": OPERATIONS_REF}),
    "DynamicOperand": _object(
        "DynamicOperand", {}, {"operand_name": {"type": "string"}, "operations": OPERATIONS_REF}
    ),
}
_STATEMENTS = {
    "StatementGroup": _object(
        "StatementGroup",
        {
            "statements": {
                "type": "array",
                "items": STATEMENT_REF,
                "minItems": 1,
                "maxItems": MAX_STATEMENTS,
            }
        },
        {"operator": {"enum": ["and", "or"]}},
    ),
    "BinaryStatement": _object(
        "BinaryStatement",
        {
            "left_operand": _of("operand"),
            "comparator": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": list(COMPARATORS)}},
            },
            "right_operand": _of("operand"),
        },
        _NEGATE,
    ),
    "UnaryStatement": _object(
        "UnaryStatement",
        {
            "operand": _of("operand"),
            "operator": {
                "type": "object",
                "required": ["type"],
                "properties": {"type": {"enum": list(UNARY)}},
            },
        },
        _NEGATE,
    ),
}
_RESULTS = {
    "StaticCaseResult": _object("StaticCaseResult", {"value": {}}),
    "DynamicCaseResult": _object(
        "DynamicCaseResult", {"parameter_name": {"type": "string"}}, {"operations": OPERATIONS_REF}
    ),
}

DEFINITIONS: Schema = {
    "operations": {"type": "array", "items": _of("operation"), "maxItems": MAX_OPERATIONS},
    "operation": _one_of_types(_OPERATIONS),
    "operand": _one_of_types(_OPERANDS),
    "statement": _one_of_types(_STATEMENTS),
    "result": _one_of_types(_RESULTS),
    "switch": _object(
        "CasesDefinition",
        {
            "cases": {
                "type": "array",
                "items": _object("CaseDefinition", {"condition": STATEMENT_REF, "result": _of("result")}),
            },
            "default": _of("result"),
        },
    ),
}
"""Entries of `$defs`."""
