"""Chains of operations, operands and conditions, compiled to closures once.

A condition has two forms: of values (`test`), and, within a filter of detections, of all boxes at once (`mask`). The second
works on arrays wherever left and right side allow it, and box by box where they do not; the results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, cast

import numpy as np

from runtime.workflow.block import StepFailed
from runtime.workflow.fields import Report
from runtime.workflow.geometry import inside_polygon, polygon_problem
from runtime.workflow.query.boxes import detections_of
from runtime.workflow.query.operations import OPERATIONS
from runtime.workflow.query.properties import extract_or_none, property_problem
from runtime.workflow.values import Array, Detections
from wire.problem import nearest, shown

Env = Mapping[str, Any]
Chain = Callable[[Any, Env], Any]
Test = Callable[[Env], bool]
Mask = Callable[[Detections, Env], Array]

MAX_OPERATIONS = 64
MAX_STATEMENTS = 256
BOX = "_"
"""The name of the detection that a filter looks at."""


@dataclass(frozen=True)
class Operand:
    """`read`: its value. `column`: the property of the box with which its operations begin, `rest` those after it (None: no
    more). `on_box`: it hangs on the box."""

    read: Callable[[Env], Any]
    column: str = ""
    rest: Chain | None = None
    on_box: bool = False

    def each(self, detections: Detections, env: Env) -> Iterable[Any]:
        """Its value for every box."""
        if not self.on_box:
            return repeat(self.read(env), len(detections))
        if not self.column:
            return [self.read({**env, BOX: box}) for box in _one_by_one(detections)]
        column = extract_or_none(detections, self.column)
        values = column.tolist() if column is not None else [None] * len(detections)
        rest = self.rest
        return values if rest is None else [rest(value, env) for value in values]

    @property
    def plain_column(self) -> bool:
        """Whether it is a property of the box and nothing else."""
        return bool(self.column) and self.rest is None


@dataclass(frozen=True)
class Condition:
    """A compiled condition. `names`: the operands that must be given."""

    test: Test
    mask: Mask
    names: frozenset[str] = frozenset()


_NEVER = Condition(lambda env: False, lambda d, env: np.zeros(len(d), bool))


# --- operations -------------------------------------------------------------------------------------------------------


def compile_operations(value: Any, path: str, report: Report) -> Chain:
    """A list of operations as one function of a value and the parameters by name."""
    if not isinstance(value, list) or len(value) > MAX_OPERATIONS:
        report.wrong(path, value, f"a list of at most {MAX_OPERATIONS} operations")
        return lambda v, env: v
    steps = [_operation(spec, f"{path}[{i}]", report) for i, spec in enumerate(value)]
    if not steps:
        return lambda v, env: v
    if len(steps) == 1:
        return steps[0]

    def run(value: Any, env: Env) -> Any:
        for step in steps:
            value = step(value, env)
        return value

    return run


def _operation(spec: Any, path: str, report: Report) -> Chain:
    kind = spec.get("type") if isinstance(spec, dict) else None
    if kind == "SequenceApply":
        inner = compile_operations(spec.get("operations"), f"{path}.operations", report)
        return lambda v, env: [inner(entry, env) for entry in v]
    if kind == "DetectionsFilter":
        condition = compile_condition(spec.get("filter_operation"), f"{path}.filter_operation", report)
        return _filter(condition)
    operation = OPERATIONS.get(kind) if isinstance(kind, str) else None
    if operation is None:
        names = [*OPERATIONS, "SequenceApply", "DetectionsFilter"]
        hint = nearest(kind, names) if isinstance(kind, str) else ""
        report.add(
            f"{path}.type", f"no operation is called {shown(kind)}", f"one of {', '.join(names)}", hint
        )
        return lambda v, env: v
    function: Any = operation.compile(spec, path, report)
    if operation.takes_parameters:
        return cast(Chain, function)
    return lambda v, env: function(v)


def _filter(condition: Condition) -> Chain:
    mask = condition.mask

    def run(value: Any, env: Env) -> Detections:
        detections = detections_of(value, "DetectionsFilter")
        if not len(detections.xyxy):
            return detections
        keep = mask(detections, env)
        return detections if keep.all() else detections.select(keep)

    return run


# --- operands ---------------------------------------------------------------------------------------------------------


def _operand(spec: Any, path: str, report: Report, names: set[str]) -> Operand:
    kind = spec.get("type") if isinstance(spec, dict) else None
    if kind not in ("StaticOperand", "DynamicOperand"):
        report.wrong(f"{path}.type", kind, "StaticOperand or DynamicOperand")
        return Operand(lambda env: None)
    operations = spec.get("operations", [])
    chain = compile_operations(operations, f"{path}.operations", report)
    if kind == "StaticOperand":
        if "value" not in spec:
            report.add(f"{path}.value", "is missing", remedy="add the field")
        value = spec.get("value")
        if not operations:
            return Operand(lambda env: value)
        return Operand(lambda env: chain(value, env))
    name = spec.get("operand_name", BOX)
    if not isinstance(name, str):
        report.wrong(f"{path}.operand_name", name, "a name")
        name = BOX
    if name != BOX:
        names.add(name)
    if name != BOX:
        return Operand(_reader(name, chain))
    column = _column(operations)
    rest = None
    if column and len(operations) > 1:
        rest = compile_operations(operations[1:], f"{path}.operations", Report())
    return Operand(_reader(name, chain), column, rest, on_box=True)


def _reader(name: str, chain: Chain) -> Callable[[Env], Any]:
    def read(env: Env) -> Any:
        if name not in env:
            raise StepFailed(f"operand {name!r} is not given; add it to the step's parameters")
        return chain(env[name], env)

    return read


def _column(operations: Any) -> str:
    if not isinstance(operations, list) or not operations:
        return ""
    spec = operations[0]
    if not isinstance(spec, dict) or spec.get("type") != "ExtractDetectionProperty":
        return ""
    column = spec.get("property_name")
    return column if isinstance(column, str) and not property_problem(column)[0] else ""


# --- comparators ------------------------------------------------------------------------------------------------------


def _in_zone(point: Any, zone: Any) -> bool:
    if problem := polygon_problem(zone):
        raise StepFailed(f"(Detection) in zone takes {problem}, got {shown(zone)}")
    points = np.asarray(point, np.float64)
    if points.shape != (2,):
        raise StepFailed(f"(Detection) in zone takes a point, got {shown(point)}; extract e.g. 'center'")
    return bool(inside_polygon(points[None], zone)[0])


COMPARATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": lambda a, b: a == b,
    "(Number) ==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "(Number) !=": lambda a, b: a != b,
    "(Number) >": lambda a, b: a > b,
    "(Number) >=": lambda a, b: a >= b,
    "(Number) <": lambda a, b: a < b,
    "(Number) <=": lambda a, b: a <= b,
    "(Number) in range": lambda a, b: b[0] <= a <= b[1],
    "(String) startsWith": lambda a, b: a.startswith(b),
    "(String) endsWith": lambda a, b: a.endswith(b),
    "(String) contains": lambda a, b: b in a,
    "in (Sequence)": lambda a, b: a in b,
    "any in (Sequence)": lambda a, b: any(entry in b for entry in a),
    "all in (Sequence)": lambda a, b: all(entry in b for entry in a),
    "(Detection) in zone": _in_zone,
}

UNARY: dict[str, Callable[[Any], bool]] = {
    "Exists": lambda v: v is not None,
    "DoesNotExist": lambda v: v is None,
    "(Boolean) is True": lambda v: v is True,
    "(Boolean) is False": lambda v: v is False,
    "(Sequence) is empty": lambda v: len(v) == 0,
    "(Sequence) is not empty": lambda v: len(v) != 0,
}

_ORDERINGS = frozenset({"(Number) >", "(Number) >=", "(Number) <", "(Number) <="})
_EQUALITIES = frozenset({"==", "(Number) ==", "!=", "(Number) !="})


def _numbers(column: Array) -> Array | None:
    """The column in double precision, in which a threshold of the definition is compared; None where it holds no numbers."""
    if column.ndim != 1 or column.dtype == object:
        return None
    return column.astype(np.float64) if column.dtype == np.float32 else column


def _array_test(comparator: str) -> Callable[[Array, Any], Array | None] | None:
    """The comparator on a column, or None; it answers None where this right side must be looked at box by box."""
    compare = COMPARATORS[comparator]

    def scalar(column: Array, right: Any) -> Array | None:
        numbers = _numbers(column)
        other = _numbers(right) if isinstance(right, np.ndarray) else right
        if numbers is not None and isinstance(other, (int, float, np.ndarray)):
            return np.asarray(compare(numbers, other), bool)
        if isinstance(right, str) and column.dtype == object and comparator in _EQUALITIES:
            return np.asarray(compare(column, right), bool)
        return None

    def in_range(column: Array, right: Any) -> Array | None:
        numbers = _numbers(column)
        if numbers is None or not isinstance(right, (list, tuple)) or len(right) != 2:
            return None
        if not all(isinstance(b, (int, float)) for b in right):
            return None
        return np.asarray((right[0] <= numbers) & (numbers <= right[1]))

    def zone(column: Array, right: Any) -> Array | None:
        if column.dtype == object or column.ndim != 2 or column.shape[1] != 2 or polygon_problem(right):
            return None
        return inside_polygon(column, right)

    if comparator in _ORDERINGS or comparator in _EQUALITIES:
        return scalar
    return {"(Number) in range": in_range, "(Detection) in zone": zone}.get(comparator)


# --- statements -------------------------------------------------------------------------------------------------------


def compile_condition(spec: Any, path: str, report: Report) -> Condition:
    """A statement or a group of them."""
    names: set[str] = set()
    condition = _statement(spec, path, report, names)
    return Condition(condition.test, condition.mask, frozenset(names))


def _statement(spec: Any, path: str, report: Report, names: set[str]) -> Condition:
    kind = spec.get("type") if isinstance(spec, dict) else None
    if kind == "StatementGroup":
        return _group(spec, path, report, names)
    if kind == "BinaryStatement":
        return _binary(spec, path, report, names)
    if kind == "UnaryStatement":
        return _unary(spec, path, report, names)
    report.wrong(f"{path}.type", kind, "StatementGroup, BinaryStatement or UnaryStatement")
    return _NEVER


def _group(spec: Mapping[str, Any], path: str, report: Report, names: set[str]) -> Condition:
    operator = spec.get("operator", "or")
    statements = spec.get("statements")
    if operator not in ("and", "or"):
        report.wrong(f"{path}.operator", operator, "and or or")
    if not isinstance(statements, list) or not 1 <= len(statements) <= MAX_STATEMENTS:
        report.wrong(f"{path}.statements", statements, f"1 to {MAX_STATEMENTS} statements")
        return _NEVER
    parts = [_statement(s, f"{path}.statements[{i}]", report, names) for i, s in enumerate(statements)]
    if len(parts) == 1:
        return parts[0]
    fold = all if operator == "and" else any
    join = np.logical_and if operator == "and" else np.logical_or

    def mask(detections: Detections, env: Env) -> Array:
        result = parts[0].mask(detections, env)
        for part in parts[1:]:
            result = join(result, part.mask(detections, env))
        return result

    return Condition(lambda env: fold([part.test(env) for part in parts]), mask)


def _negate(spec: Mapping[str, Any], path: str, report: Report) -> bool:
    negate = spec.get("negate", False)
    if not isinstance(negate, bool):
        report.wrong(f"{path}.negate", negate, "true or false")
    return negate is True


def _known(table: Mapping[str, Any], spec: Any, path: str, report: Report) -> str:
    kind = spec.get("type") if isinstance(spec, dict) else None
    if isinstance(kind, str) and kind in table:
        return kind
    hint = nearest(kind, table) if isinstance(kind, str) else ""
    report.wrong(f"{path}.type", kind, f"one of {', '.join(table)}", hint)
    return ""


def _binary(spec: Mapping[str, Any], path: str, report: Report, names: set[str]) -> Condition:
    left = _operand(spec.get("left_operand"), f"{path}.left_operand", report, names)
    right = _operand(spec.get("right_operand"), f"{path}.right_operand", report, names)
    comparator = _known(COMPARATORS, spec.get("comparator"), f"{path}.comparator", report)
    negate = _negate(spec, path, report)
    if not comparator:
        return _NEVER
    compare = COMPARATORS[comparator]

    def test(env: Env) -> bool:
        return bool(compare(left.read(env), right.read(env))) is not negate

    def each(detections: Detections, env: Env) -> Array:
        pairs = zip(left.each(detections, env), right.each(detections, env), strict=True)
        return np.array([bool(compare(a, b)) is not negate for a, b in pairs], bool)

    array_test = _array_test(comparator)
    if array_test is None or not left.plain_column or (right.on_box and not right.plain_column):
        return Condition(test, each)

    def mask(detections: Detections, env: Env) -> Array:
        column = extract_or_none(detections, left.column)
        other = extract_or_none(detections, right.column) if right.on_box else right.read(env)
        keep = None if column is None else array_test(column, other)
        if keep is None:
            return each(detections, env)
        return ~keep if negate else keep

    return Condition(test, mask)


def _unary(spec: Mapping[str, Any], path: str, report: Report, names: set[str]) -> Condition:
    operand = _operand(spec.get("operand"), f"{path}.operand", report, names)
    operator = _known(UNARY, spec.get("operator"), f"{path}.operator", report)
    negate = _negate(spec, path, report)
    if not operator:
        return _NEVER
    check = UNARY[operator]

    def test(env: Env) -> bool:
        return check(operand.read(env)) is not negate

    def mask(detections: Detections, env: Env) -> Array:
        return np.array([check(v) is not negate for v in operand.each(detections, env)], bool)

    return Condition(test, mask)


def _one_by_one(detections: Detections) -> Iterator[Detections]:
    return (detections.select(np.array([i])) for i in range(len(detections)))


def names_of(conditions: Sequence[Condition]) -> frozenset[str]:
    """The operands that any of the conditions wants."""
    return frozenset().union(*(c.names for c in conditions))
