"""Definition → graph: every problem collected, kinds and lineages checked, steps in an order that can run.

Pure: no engine, no clock, no file. Nothing of this happens again while frames flow.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runtime.errors import WorkflowRefused
from runtime.workflow.block import Block, ModelBlock
from runtime.workflow.code.manifest import read_code_blocks
from runtime.workflow.definition import (
    INPUT_SELECTOR,
    OUTPUT_SELECTOR,
    STEP_SELECTOR,
    Definition,
    Input,
    Output,
    read_definition,
    texts_of,
)
from runtime.workflow.fields import ANY, IMAGE, Report
from runtime.workflow.foreign import instead_of, passed_over
from runtime.workflow.graph import (
    ROOT_LINEAGE,
    Gate,
    Graph,
    Lineage,
    Link,
    OutputField,
    PassedOver,
    Slot,
    Step,
)
from runtime.workflow.inner import inline
from runtime.workflow.permits import STRICT, Permits
from runtime.workflow.registry import load_blocks
from runtime.workflow.wiring import Reference, Wired, wire_step
from wire.problem import shown, summary
from wire.reasons import Reason


def compile_definition(
    document: Any, blocks: Mapping[str, type[Block]] | None = None, permits: Permits = STRICT
) -> Graph:
    """Compile a definition, parsed from JSON. `blocks` defaults to all that are installed.

    :raises WorkflowRefused: with every problem (WORKFLOW_INVALID, or the one reason where there is only one kind)
    """
    report = Report()
    definition = inline(read_definition(document, report), report)
    known = load_blocks() if blocks is None else blocks
    brought = read_code_blocks(document, permits, known, report) if definition.readable else {}
    compiler = _Compiler(definition, {**brought, **known}, report, permits, tuple(brought))
    graph = compiler.compile()
    if report.problems:
        reasons = {problem.reason for problem in report.problems}
        reason = reasons.pop() if len(reasons) == 1 else Reason.WORKFLOW_INVALID
        text = summary(report.problems)
        if report.left_out:
            text += f"\nand {report.left_out} more"
        raise WorkflowRefused(reason, text, report.problems)
    return graph


class _Compiler:
    def __init__(
        self,
        definition: Definition,
        blocks: Mapping[str, type[Block]],
        report: Report,
        permits: Permits,
        code: tuple[str, ...],
    ) -> None:
        self._definition = definition
        self._blocks = blocks
        self._report = report
        self._permits = permits
        self._code = code
        self._passed_over: list[PassedOver] = []
        self._slots: list[Slot] = []
        self._inputs: dict[str, Slot] = {}
        self._wired: dict[str, Wired] = {}
        self._made: dict[str, dict[str, Slot]] = {}
        self._steps: dict[str, Step] = {}
        self._gates: dict[str, list[tuple[str, str, str]]] = {}

    def compile(self) -> Graph:
        for item in self._definition.inputs.values():
            self._inputs[item.name] = self._slot(_input_lineage(item), item.kinds)
        for name, raw in self._definition.steps.items():
            self._wire(name, raw)
        self._collect_gates()
        for name in self._order():
            self._place(self._wired[name])
        outputs = [field for o in self._definition.outputs if (field := self._output(o)) is not None]
        return self._graph(outputs)

    def _graph(self, outputs: list[OutputField]) -> Graph:
        steps = tuple(self._steps.values())
        used = {s.constants.get("model_id") for s in steps if s.is_model} | self._default_model_ids()
        return Graph(
            inputs=self._definition.inputs,
            input_slots=self._inputs,
            steps=steps,
            outputs=tuple(outputs),
            slot_count=len(self._slots),
            model_ids=tuple(sorted(m for m in used if isinstance(m, str))),
            image_inputs=tuple(i.name for i in self._definition.inputs.values() if i.kinds == {IMAGE}),
            blocks=tuple(sorted({s.block.types[0] for s in steps})),
            has_batch_output=any(slot.depth for o in outputs for slot in o.slots),
            step_names=tuple(s.name for s in steps),
            passed_over=tuple(self._passed_over),
            code=self._code,
        )

    def _default_model_ids(self) -> set[Any]:
        found: set[Any] = set()
        for wired in self._wired.values():
            for reference in wired.references:
                match = INPUT_SELECTOR.match(reference.selector)
                if issubclass(wired.block, ModelBlock) and reference.field.name == "model_id" and match:
                    item = self._definition.inputs.get(match[1])
                    found.add(item.default if item else None)
        return found

    def _slot(self, lineage: Lineage, kinds: frozenset[str]) -> Slot:
        slot = Slot(len(self._slots), lineage, kinds)
        self._slots.append(slot)
        return slot

    # --- steps by themselves ------------------------------------------------------------------------------------------

    def _wire(self, name: str, raw: Mapping[str, Any]) -> None:
        kind = raw.get("type")
        block = self._blocks.get(kind) if isinstance(kind, str) else None
        if block is None and isinstance(kind, str) and (instead := instead_of(kind)):
            block = self._foreign(name, kind, raw, instead)
            if block is None:
                return
        if block is None:
            self._report.add(
                f"steps.{name}.type",
                f"no block is called {shown(kind)}",
                "a block that `outrider workflow schema` lists",
                self._report.hint(kind, self._blocks) if isinstance(kind, str) else "",
                Reason.BLOCK_UNKNOWN,
            )
            return
        self._wired[name] = wire_step(name, raw, block, self._report)

    def _foreign(self, name: str, kind: str, raw: Mapping[str, Any], instead: str) -> type[Block] | None:
        """A block that does not run on a device: refused, or one in its place that gives None."""
        if not self._permits.skip_cloud_blocks:
            self._report.add(
                f"steps.{name}.type",
                f"block {shown(kind)} does not run on a device",
                remedy=f"{instead}; or have it passed over (--skip-cloud-blocks, skip_cloud_blocks of the workflow)",
                reason=Reason.BLOCK_CLOUD_ONLY,
            )
            return None
        self._passed_over.append(PassedOver(name, kind, instead))
        return passed_over(kind, raw, self._asked_of(name))

    def _asked_of(self, name: str) -> frozenset[str]:
        """The outputs of a step that others name."""
        texts = [
            *texts_of(list(self._definition.steps.values())),
            *(o.selector for o in self._definition.outputs),
        ]
        found = [match for text in texts if (match := OUTPUT_SELECTOR.match(text))]
        return frozenset(match[2] for match in found if match[1] == name and match[2] != "*")

    def _collect_gates(self) -> None:
        for wired in self._wired.values():
            for branch, target, path in wired.targets:
                if target in self._wired:
                    self._gates.setdefault(target, []).append((wired.name, branch, path))
                elif target not in self._definition.steps:
                    self._unknown_step(target, path)

    def _unknown_step(self, name: str, path: str) -> None:
        steps = self._definition.steps
        self._report.add(path, f"no step is called {shown(name)}", "a step", self._report.hint(name, steps))

    def _order(self) -> list[str]:
        """Steps such that each follows those it hangs on; those of a cycle are reported and left out."""
        waits: dict[str, set[str]] = {name: set() for name in self._wired}
        for name, wired in self._wired.items():
            for reference in wired.references:
                match = OUTPUT_SELECTOR.match(reference.selector)
                if match and match[1] in self._wired:
                    waits[name].add(match[1])
            for _, target, _ in wired.targets:
                if target in waits:
                    waits[target].add(name)
        followers: dict[str, list[str]] = {name: [] for name in waits}
        for name, before in waits.items():
            for other in before:
                followers[other].append(name)
        ready = [name for name, before in waits.items() if not before]
        for name in ready:  # grows while it is read
            for follower in followers[name]:
                waits[follower].discard(name)
                if not waits[follower]:
                    ready.append(follower)
        if stuck := [name for name in waits if waits[name]]:
            self._report.add(
                f"steps.{stuck[0]}",
                f"{len(stuck)} step(s) wait for each other in a circle: {', '.join(stuck[:8])}",
                "steps that can run one after the other",
            )
        return ready

    # --- edges --------------------------------------------------------------------------------------------------------

    def _resolve(self, selector: str, path: str) -> Slot | None:
        if match := INPUT_SELECTOR.match(selector):
            if slot := self._inputs.get(match[1]):
                return slot
            self._report.add(
                path,
                f"no input is called {shown(match[1])}",
                "an input",
                self._report.hint(match[1], self._inputs),
            )
        elif match := OUTPUT_SELECTOR.match(selector):
            made = self._made.get(match[1])
            if made is not None and match[2] in made:
                return made[match[2]]
            if match[1] not in self._definition.steps:
                self._unknown_step(match[1], path)
            elif made is not None:
                words = f"one of {', '.join(made)}" if made else "a step that has outputs"
                self._report.add(
                    path,
                    f"{shown(match[1])} has no output {shown(match[2])}",
                    words,
                    self._report.hint(match[2], made),
                )
        else:
            self._report.wrong(path, selector, "$inputs.<input> or $steps.<step>.<output>")
        return None

    def _source(self, reference: Reference) -> Slot | None:
        slot = self._resolve(reference.selector, reference.path)
        if slot is None or not reference.field.kinds:
            return None
        wanted = reference.field.kinds
        if ANY in wanted or ANY in slot.kinds or wanted & slot.kinds:
            return slot
        self._report.add(
            reference.path,
            f"{shown(reference.selector)} delivers {', '.join(sorted(slot.kinds))}",
            ", ".join(sorted(wanted)),
        )
        return None

    # --- steps among each other ---------------------------------------------------------------------------------------

    def _place(self, wired: Wired) -> None:
        block = wired.block
        sources = [(r, slot) for r in wired.references if (slot := self._source(r)) is not None]
        lineage = self._lineage(wired, sources)
        gates, lineage = self._gated(wired, lineage)
        runs_at = lineage[:-1] if block.dimension < 0 else lineage
        output_lineage = (*lineage, wired.name) if block.dimension > 0 else runs_at
        links = tuple(
            Link(
                r.field.name,
                slot.number,
                slot.depth,
                slot.lineage,
                r.key,
                bool(r.field.offset) or block.dimension < 0,
            )
            for r, slot in sources
        )
        made = {n: self._slot(output_lineage, k) for n, k in block.bind(wired.raw).items()}
        self._made[wired.name] = made
        is_model = issubclass(block, ModelBlock)
        ahead = is_model and not gates and all(link.slot < len(self._inputs) for link in links)
        self._steps[wired.name] = Step(
            len(self._steps),
            wired.name,
            block,
            wired.constants,
            links,
            runs_at,
            output_lineage,
            tuple(slot.number for slot in made.values()),
            tuple(gates),
            json.dumps(wired.raw, sort_keys=True),
            ahead,
            bool(block.flow_fields()),
            is_model,
        )

    def _lineage(self, wired: Wired, sources: list[tuple[Reference, Slot]]) -> Lineage:
        """The lineage of the step's data; () where it works on scalars alone."""
        path = f"steps.{wired.name}"
        lineage: Lineage = ()
        for reference, slot in sources:
            if reference.field.offset or not slot.depth or slot.lineage == lineage:
                continue
            if not lineage:
                lineage = slot.lineage
            elif len(lineage) != slot.depth:
                self._report.add(
                    path,
                    f"{shown(reference.selector)} has dimensionality {slot.depth}, other fields have {len(lineage)}",
                    "data of one dimensionality",
                    "collapse or crop one of them",
                )
            else:
                self._report.add(
                    path,
                    f"{shown(reference.selector)} comes of another batch than the other fields",
                    "data of one lineage",
                )
        for reference, slot in sources:
            if reference.field.offset and slot.depth:
                lineage = self._grouped(reference, slot, lineage)
        return lineage

    def _grouped(self, reference: Reference, slot: Slot, lineage: Lineage) -> Lineage:
        if not lineage and slot.depth:
            return slot.lineage[:-1]
        if slot.lineage[:-1] != lineage:
            self._report.add(
                reference.path,
                f"dimensionality is {slot.depth}, that of the reference is {len(lineage)}",
                f"data made of the reference, of dimensionality {len(lineage) + 1}",
            )
        return lineage

    def _gated(self, wired: Wired, lineage: Lineage) -> tuple[list[Gate], Lineage]:
        """The gates of a step; one that works on scalars alone takes over the lineage of its deepest gate."""
        gates: list[Gate] = []
        found = [(self._steps[s], b, p) for s, b, p in self._gates.get(wired.name, []) if s in self._steps]
        if not lineage:
            lineage = max((step.lineage for step, _, _ in found), key=len, default=())
        for step, branch, path in found:
            if step.lineage != lineage[: len(step.lineage)]:
                self._report.add(
                    path,
                    f"step {shown(wired.name)} works on other data than the step that decides about it",
                    "a decision on the same batch, or on one it was made of",
                )
            gates.append(Gate(step.number, branch, len(step.lineage)))
        return gates, lineage

    # --- outputs ------------------------------------------------------------------------------------------------------

    def _output(self, output: Output) -> OutputField | None:
        match = OUTPUT_SELECTOR.match(output.selector)
        if match and match[2] == "*" and match[1] in self._made:
            made = self._made[match[1]]
            return OutputField(output.name, tuple(made.values()), tuple(made), output.own_coordinates)
        if STEP_SELECTOR.match(output.selector):
            self._report.wrong(output.path, output.selector, "$steps.<step>.<output> or $steps.<step>.*")
            return None
        slot = self._resolve(output.selector, output.path)
        return OutputField(output.name, (slot,), None, output.own_coordinates) if slot is not None else None


def _input_lineage(item: Input) -> Lineage:
    """Inputs of one dimension share theirs; each of the further ones is its own."""
    if not item.dimensionality:
        return ()
    return (*ROOT_LINEAGE, *(f"$inputs.{item.name}:{i}" for i in range(1, item.dimensionality)))
