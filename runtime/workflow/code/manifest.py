"""`dynamic_blocks_definitions`: blocks whose Python travels inside a definition. Reads and checks them, and makes block classes.

Nothing of the code is run here, nor while a definition is only looked at: `Code.READ` parses it, `Code.RUN` starts it (`block.py`).
"""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from runtime.workflow.block import Block
from runtime.workflow.code.block import Program, code_block
from runtime.workflow.fields import (
    ANY,
    IMAGE,
    KINDS,
    Anything,
    DictOf,
    Either,
    Field,
    Flag,
    ListOf,
    Literal,
    Nothing,
    Number,
    Report,
    Text,
    kinds,
)
from runtime.workflow.inner import MAX_DEPTH
from runtime.workflow.inner import TYPES as INNER_TYPES
from runtime.workflow.permits import Code, Permits
from wire.problem import nearest, shown
from wire.reasons import Reason

KEY = "dynamic_blocks_definitions"
MAX_BLOCKS = 64
MAX_INPUTS = 128
MAX_CODE_CHARS = 200_000

_SELECTORS = ("input_image", "step_output_image", "input_parameter", "step_output", "generic")
_PICTURES = ("input_image", "step_output_image")
_VALUES: Mapping[str, Literal] = {
    "any": Anything(),
    "integer": Number(integer=True),
    "float": Number(),
    "boolean": Flag(),
    "dict": DictOf(Anything()),
    "list": ListOf(Anything()),
    "string": Text(),
}


def read_code_blocks(
    document: Any, permits: Permits, taken: Container[str], report: Report
) -> dict[str, type[Block]]:
    """The blocks that a definition and those within it bring, by type, none of which may be `taken`; what is wrong, or not allowed
    here, goes to the report. Where a workflow and one within it bring the same type, the outer one's holds for both."""
    found: dict[str, type[Block]] = {}
    for path, definitions in _levels(document, ""):
        if permits.code is Code.REFUSE:
            report.add(
                path,
                "the definition brings Python code, which this device does not run",
                remedy="make a plug-in of the entry-point group outrider.blocks, or set allow_workflow_code in the device's own "
                "configuration file",
                reason=Reason.CODE_NOT_ALLOWED,
            )
        if not isinstance(definitions, list) or len(definitions) + len(found) > MAX_BLOCKS:
            report.wrong(
                path, definitions, f"a list of at most {MAX_BLOCKS} blocks, those of inner workflows included"
            )
            continue
        found = {**_level(definitions, path, permits.code, taken, report), **found}
    return found


def _levels(document: Any, path: str, depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The lists of blocks of a workflow and of those within it, the outer ones first, with their places."""
    if not isinstance(document, dict) or depth > MAX_DEPTH:
        return
    if document.get(KEY) not in (None, []):
        yield f"{path}{KEY}", document[KEY]
    steps = document.get("steps")
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, dict) and step.get("type") in INNER_TYPES:
            yield from _levels(
                step.get("workflow_definition"),
                f"{path}steps.{step.get('name')}.workflow_definition.",
                depth + 1,
            )


def _level(
    definitions: list[Any], path: str, code: Code, taken: Container[str], report: Report
) -> dict[str, type[Block]]:
    """The blocks of one list."""
    found: dict[str, type[Block]] = {}
    for i, entry in enumerate(definitions):
        block = _block(entry, f"{path}[{i}]", code, report)
        if block is None:
            continue
        kind, at = block.types[0], f"{path}[{i}].manifest.block_type"
        if kind in found or kind in taken:
            report.add(at, f"{shown(kind)} is a block already", "a type of its own", "rename it")
        found[kind] = block
    return found


def _block(entry: Any, path: str, code: Code, report: Report) -> type[Block] | None:
    before = len(report.problems) + report.left_out
    if not isinstance(entry, dict) or entry.get("type") != "DynamicBlockDefinition":
        report.wrong(path, entry, "{type: DynamicBlockDefinition, manifest: …, code: …}")
        return None
    manifest = _manifest(entry.get("manifest"), f"{path}.manifest", report)
    program = _program(entry.get("code"), f"{path}.code", report)
    if manifest is None or program is None or len(report.problems) + report.left_out > before:
        return None
    if code is Code.RUN:
        try:
            program = program.started(manifest.block_type)
        except Exception as e:  # the boundary: foreign code
            report.add(
                f"{path}.code", f"cannot be started: {type(e).__name__}: {e}"[:500], "code that imports"
            )
            return None
    return code_block(
        manifest.block_type,
        manifest.fields,
        manifest.outputs,
        program,
        dimension=manifest.dimension,
        accepts_empty=manifest.accepts_empty,
        reference=manifest.reference,
        batched=manifest.batched,
    )


# --- the manifest -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Manifest:
    block_type: str
    fields: tuple[Field, ...]
    outputs: Mapping[str, frozenset[str]]
    dimension: int
    accepts_empty: bool
    reference: str
    batched: frozenset[str] | None


def _manifest(value: Any, path: str, report: Report) -> _Manifest | None:
    if not isinstance(value, dict) or value.get("type") != "ManifestDescription":
        report.wrong(path, value, "{type: ManifestDescription, block_type: …, inputs: …, outputs: …}")
        return None
    block_type = Text(256).read(value.get("block_type"), f"{path}.block_type", report)
    inputs = DictOf(Anything(), MAX_INPUTS).read(value.get("inputs", {}), f"{path}.inputs", report)
    fields = tuple(_input(name, spec, f"{path}.inputs.{name}", report) for name, spec in inputs.items())
    outputs = DictOf(Anything(), MAX_INPUTS).read(value.get("outputs", {}), f"{path}.outputs", report)
    made = {name: _output(spec, f"{path}.outputs.{name}", report) for name, spec in outputs.items()}
    dimension = Number(-1, 1, integer=True).read(
        value.get("output_dimensionality_offset", 0), f"{path}.output_dimensionality_offset", report
    )
    reference = [n for n, s in inputs.items() if isinstance(s, dict) and s.get("is_dimensionality_reference")]
    return _Manifest(
        block_type,
        fields,
        made,
        dimension,
        Flag().read(value.get("accepts_empty_values", False), f"{path}.accepts_empty_values", report),
        reference[0] if reference else "",
        _batched(value, [f.name for f in fields], path, report),
    )


def _batched(value: Mapping[str, Any], names: list[str], path: str, report: Report) -> frozenset[str] | None:
    """The fields that arrive as a whole batch; None where the code works on one element at a time."""
    chosen: set[str] = set()
    for key in ("batch_oriented_parameters", "parameters_with_scalars_and_batches"):
        for name in ListOf(Text(256)).read(value.get(key, []), f"{path}.{key}", report):
            if name not in names:
                report.wrong(f"{path}.{key}", name, "the name of an input", nearest(name, names))
            chosen.add(name)
    if chosen:
        return frozenset(chosen)
    whole = Flag().read(value.get("accepts_batch_input", False), f"{path}.accepts_batch_input", report)
    return frozenset(names) if whole else None


def _input(name: str, spec: Any, path: str, report: Report) -> Field:
    if not name.isidentifier():
        report.wrong(path, name, "a name that Python takes for a parameter")
    if not isinstance(spec, dict) or spec.get("type") != "DynamicInputDefinition":
        report.wrong(path, spec, "{type: DynamicInputDefinition, …}")
        return Field(name, kinds(ANY))
    wanted = _selector_kinds(spec, path, report)
    literals: list[Literal] = []
    for value_type in ListOf(Text(32)).read(spec.get("value_types", []), f"{path}.value_types", report):
        if value_type not in _VALUES:
            hint = nearest(value_type, _VALUES)
            report.wrong(f"{path}.value_types", value_type, f"one of {', '.join(_VALUES)}", hint)
        else:
            literals.append(_VALUES[value_type])
    if not wanted and not literals:
        report.add(path, "takes nothing", "selector_types, value_types or both")
    if literals and spec.get("is_optional"):
        literals.insert(0, Nothing())
    offset = Number(-1, 1, integer=True).read(
        spec.get("dimensionality_offset", 0), f"{path}.dimensionality_offset", report
    )
    literal = None if not literals else literals[0] if len(literals) == 1 else Either(tuple(literals))
    optional = bool(spec.get("has_default_value"))
    return Field(name, wanted, literal, not optional, spec.get("default_value"), offset=max(0, offset))


def _selector_kinds(spec: Mapping[str, Any], path: str, report: Report) -> frozenset[str]:
    found: set[str] = set()
    named = spec.get("selector_data_kind", {})
    for selector in ListOf(Text(32)).read(spec.get("selector_types", []), f"{path}.selector_types", report):
        if selector not in _SELECTORS:
            hint = nearest(selector, _SELECTORS)
            report.wrong(f"{path}.selector_types", selector, f"one of {', '.join(_SELECTORS)}", hint)
        elif selector in _PICTURES:
            found.add(IMAGE)
        else:
            default = named.get(selector, [ANY]) if isinstance(named, dict) else None
            found |= _kinds(default, f"{path}.selector_data_kind.{selector}", report)
    return frozenset(found)


def _kinds(value: Any, path: str, report: Report) -> frozenset[str]:
    names = ListOf(Text(64)).read(value, path, report)
    for name in names:
        if name not in KINDS:
            report.wrong(path, name, "a known kind", nearest(name, KINDS))
    return frozenset(names) or kinds(ANY)


def _output(spec: Any, path: str, report: Report) -> frozenset[str]:
    if not isinstance(spec, dict) or spec.get("type") != "DynamicOutputDefinition":
        report.wrong(path, spec, "{type: DynamicOutputDefinition, kind: […]}")
        return kinds(ANY)
    return _kinds(spec.get("kind", []), f"{path}.kind", report)


# --- the code ---------------------------------------------------------------------------------------------------------


def _program(value: Any, path: str, report: Report) -> Program | None:
    if not isinstance(value, dict) or value.get("type") != "PythonCode":
        report.wrong(path, value, "{type: PythonCode, run_function_code: …}")
        return None
    text = Text(MAX_CODE_CHARS)
    run = text.read(value.get("run_function_code"), f"{path}.run_function_code", report)
    init = value.get("init_function_code")
    init = text.read(init, f"{path}.init_function_code", report) if init is not None else ""
    imports = ListOf(Text(1024), max_items=256).read(value.get("imports", []), f"{path}.imports", report)
    run_name = Text(256).read(value.get("run_function_name", "run"), f"{path}.run_function_name", report)
    init_name = Text(256).read(value.get("init_function_name", "init"), f"{path}.init_function_name", report)
    for field, source, name in (("run", run, run_name), ("init", init, init_name)):
        if source or field == "run":
            _readable(source, name, f"{path}.{field}_function_code", report)
    _readable("\n".join(imports), "", f"{path}.imports", report)
    return Program("\n".join(imports), run, run_name, init, init_name)


def _readable(source: str, function: str, path: str, report: Report) -> None:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        report.add(path, f"is no Python: {e}"[:300], "code that can be read")
        return
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if function and function not in defined:
        report.add(
            path, f"defines no function {shown(function)}", f"def {function}(…)", nearest(function, defined)
        )
