"""A block made of code that came with a definition: the module it lives in, and the step that calls its function.

The code sees what the original engine shows it: `self._init_results`, `sv.Detections`, pictures with `numpy_image`, `Batch`. It runs
with the rights of the pipeline process; nothing holds it back, which is why only the device's own file allows it.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.code.bridge import Batch, Picture, to_code, to_workflow
from runtime.workflow.fields import Field
from runtime.workflow.graph import Index

_IMPORTS = """from typing import Any, List, Dict, Set, Optional
import math, time, json, os
import numpy as np
import cv2
import supervision as sv
"""
_OPTIONAL_MODULES = ("requests", "shapely")
"""Known to the code where they are installed."""


@dataclass(frozen=True)
class Program:
    """The source of a block. `run` and `init` are the functions, once it has been started."""

    imports: str
    run_code: str
    run_name: str
    init_code: str
    init_name: str
    run: Callable[..., Any] | None = None
    init: Callable[[], Any] | None = None

    def started(self, block_type: str) -> Program:
        """Execute the module; anything may be raised."""
        module = types.ModuleType(f"workflow_block_{abs(hash(block_type))}")
        names = module.__dict__
        names |= {"Batch": Batch, "WorkflowImageData": Picture, "BlockResult": Any}
        for optional in _OPTIONAL_MODULES:
            try:
                names[optional] = __import__(optional)
            except ImportError:
                continue
        parts = ((_IMPORTS, ""), (self.imports, " imports"), (self.init_code, " init"), (self.run_code, ""))
        for source, part in parts:
            exec(compile(source, f"<block {block_type}{part}>", "exec"), names)
        return replace(self, run=names[self.run_name], init=names[self.init_name] if self.init_code else None)


class CodeBlock(Block):
    """`batched`: the fields that arrive as a batch; None where the function is called for each element."""

    program: ClassVar[Program]
    batched: ClassVar[frozenset[str] | None] = None

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        init = self.program.init
        self._init_results: Any = init() if init is not None else {}
        self.whole = self.batched is not None and self.dimension >= 0

    @classmethod
    def same_as(cls, other: type[Block]) -> bool:
        if not issubclass(other, CodeBlock):
            return False
        mine, theirs = (replace(c.program, run=None, init=None) for c in (cls, other))
        return mine == theirs and cls.fields == other.fields and dict(cls.outputs) == dict(other.outputs)

    def run(self, **values: Any) -> Any:
        """One element; with dimension -1 all elements below it, each field as a batch."""
        arguments = {name: to_code(value) for name, value in values.items()}
        for f in self.fields:
            if isinstance(arguments[f.name], list) and (f.offset or self.dimension < 0) and f.kinds:
                arguments[f.name] = Batch(arguments[f.name])
        return self._read(self._call(arguments))

    def run_batch(self, indices: Sequence[Index], elements: Sequence[Mapping[str, Any]]) -> list[Any]:
        """All elements of a step in one call."""
        if not elements:
            return []
        arguments: dict[str, Any] = {}
        for name, first in elements[0].items():
            column = [to_code(element[name]) for element in elements]
            arguments[name] = Batch(column, indices) if name in (self.batched or ()) else column[0]
            if name not in (self.batched or ()) and any(element[name] is not first for element in elements):
                arguments[name] = Batch(column, indices)
        results = self._call(arguments)
        if not isinstance(results, list) or len(results) != len(elements):
            raise StepFailed(f"the code must give a list of {len(elements)} results, one for each element")
        return [self._read(result) for result in results]

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        if self.program.run is None:
            raise StepFailed("the code of this block was only read, not started")
        return self.program.run(self, **arguments)

    def _read(self, result: Any) -> Any:
        """The function's answer in the form of `Block.run`."""
        if self.dimension > 0 and isinstance(result, list):
            return [self._one(entry) for entry in result]
        return self._one(result)

    def _one(self, result: Any) -> Any:
        if result is None:
            return None
        if not isinstance(result, dict):
            raise StepFailed(f"the code must give a dictionary of its outputs, gave {type(result).__name__}")
        values = tuple(to_workflow(result.get(name), self.around.ids) for name in self.outputs)
        return values[0] if len(values) == 1 else values


def code_block(
    block_type: str,
    fields: tuple[Field, ...],
    outputs: Mapping[str, frozenset[str]],
    program: Program,
    **traits: Any,
) -> type[Block]:
    """The class of a block with this code."""
    body = {"types": (block_type,), "fields": fields, "outputs": outputs, "program": program, **traits}
    return type("CodeBlock", (CodeBlock,), body)
