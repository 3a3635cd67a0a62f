"""A compiled workflow: flat steps that read and write numbered slots. Immutable; executors share it.

A slot holds the values of one input or output, by index: `()` for a scalar, `(2,)` for the third picture of a batch, `(2, 0)`
for the first crop of it. Indices of equal length are comparable only within one lineage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.workflow.block import Block
from runtime.workflow.definition import Input

Lineage = tuple[str, ...]
Index = tuple[int, ...]

ROOT_LINEAGE: Lineage = ("<workflow_input>",)


@dataclass(frozen=True)
class Slot:
    """Where values are kept, and what is known of them."""

    number: int
    lineage: Lineage
    kinds: frozenset[str]

    @property
    def depth(self) -> int:
        return len(self.lineage)


@dataclass(frozen=True)
class Link:
    """A field, or one entry (`key`) of a list or object, that is filled from a slot on every run.

    `collected`: all elements below the step's index, as a list.
    """

    field: str
    slot: int
    depth: int
    lineage: Lineage
    key: int | str | None = None
    collected: bool = False


@dataclass(frozen=True)
class Gate:
    """A branch of a flow-control step, which must have been taken for an element to go on."""

    step: int
    branch: str
    depth: int


@dataclass(frozen=True)
class Step:
    """One step, ready to run.

    `constants`: literals, compiled, and defaults. `signature`: what must be equal for a step to keep its state.
    `ahead`: a model step that hangs on nothing but inputs.
    """

    number: int
    name: str
    block: type[Block]
    constants: Mapping[str, Any]
    links: tuple[Link, ...]
    lineage: Lineage
    output_lineage: Lineage
    outputs: tuple[int, ...]
    gates: tuple[Gate, ...] = ()
    signature: str = ""
    ahead: bool = False
    is_flow: bool = False
    is_model: bool = False

    @property
    def runs_shut(self) -> bool:
        """Whether it runs for elements that a gate stopped, with nothing in place of its data."""
        if self.block.dimension < 0:
            return True
        return self.block.accepts_empty and any(link.depth for link in self.links)


@dataclass(frozen=True)
class OutputField:
    """A field of the result: one slot, or several by name for `$steps.x.*` (a step may have none)."""

    name: str
    slots: tuple[Slot, ...]
    names: tuple[str, ...] | None = None
    own_coordinates: bool = False


@dataclass(frozen=True)
class PassedOver:
    """A step whose block does not run on a device; it gives None. `instead`: what to use in its place."""

    step: str
    block: str
    instead: str


@dataclass(frozen=True)
class Graph:
    """The whole workflow. `model_ids`: what must be bound to engines; `blocks`: identifiers used; `code`: types of the blocks whose
    code the definition brings."""

    inputs: Mapping[str, Input]
    input_slots: Mapping[str, Slot]
    steps: tuple[Step, ...]
    outputs: tuple[OutputField, ...]
    slot_count: int
    model_ids: tuple[str, ...] = ()
    image_inputs: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    has_batch_output: bool = False
    step_names: tuple[str, ...] = field(default=())
    passed_over: tuple[PassedOver, ...] = ()
    code: tuple[str, ...] = ()
