"""Types of fields that hold a piece of the query language; reading one compiles it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runtime.workflow.block import StepFailed
from runtime.workflow.fields import Report, Schema
from runtime.workflow.query.conditions import Chain, Condition, Env, compile_condition, compile_operations
from wire.problem import shown

MAX_CASES = 256


@dataclass(frozen=True)
class Operations:
    """A list of operations; reads to a `Chain`."""

    def read(self, value: Any, path: str, report: Report) -> Chain:
        return compile_operations(value, path, report)

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/operations"}


@dataclass(frozen=True)
class NamedOperations:
    """Operations by the name of the datum they are for; reads to name → `Chain`."""

    def read(self, value: Any, path: str, report: Report) -> dict[str, Chain]:
        if not isinstance(value, dict):
            report.wrong(path, value, "an object of lists of operations")
            return {}
        return {name: compile_operations(spec, f"{path}.{name}", report) for name, spec in value.items()}

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": Operations().schema()}


@dataclass(frozen=True)
class Statement:
    """A condition; reads to a `Condition`."""

    def read(self, value: Any, path: str, report: Report) -> Condition:
        return compile_condition(value, path, report)

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/statement"}


Answer = Callable[[Env], Any]


@dataclass(frozen=True)
class Switch:
    """The cases of an expression; reads to a function of the data."""

    def read(self, value: Any, path: str, report: Report) -> Answer:
        cases = value.get("cases") if isinstance(value, dict) else None
        if (
            not isinstance(value, dict)
            or value.get("type") != "CasesDefinition"
            or not isinstance(cases, list)
        ):
            report.wrong(path, value, "{type: CasesDefinition, cases: […], default: …}")
            return lambda env: None
        if len(cases) > MAX_CASES:
            report.add(f"{path}.cases", f"has {len(cases)} cases", f"at most {MAX_CASES}")
            return lambda env: None
        compiled = [_case(case, f"{path}.cases[{i}]", report) for i, case in enumerate(cases)]
        default = _result(value.get("default"), f"{path}.default", report)

        def choose(env: Env) -> Any:
            for condition, result in compiled:
                if condition.test(env):
                    return result(env)
            return default(env)

        return choose

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/switch"}


def _case(spec: Any, path: str, report: Report) -> tuple[Condition, Answer]:
    if not isinstance(spec, dict) or spec.get("type") != "CaseDefinition":
        report.wrong(path, spec, "{type: CaseDefinition, condition: …, result: …}")
        spec = {}
    condition = compile_condition(spec.get("condition"), f"{path}.condition", report)
    return condition, _result(spec.get("result"), f"{path}.result", report)


def _result(spec: Any, path: str, report: Report) -> Answer:
    kind = spec.get("type") if isinstance(spec, dict) else None
    if kind == "StaticCaseResult":
        if "value" not in spec:
            report.add(f"{path}.value", "is missing", remedy="add the field")
        value = spec.get("value")
        return lambda env: value
    if kind != "DynamicCaseResult":
        report.wrong(f"{path}.type", kind, "StaticCaseResult or DynamicCaseResult")
        return lambda env: None
    name = spec.get("parameter_name")
    if not isinstance(name, str):
        report.wrong(f"{path}.parameter_name", name, "the name of a datum")
        return lambda env: None
    chain = compile_operations(spec.get("operations", []), f"{path}.operations", report)

    def read(env: Env) -> Any:
        if name not in env:
            raise StepFailed(f"parameter {shown(name)} is not given; add it to the step's data")
        return chain(env[name], env)

    return read
