"""Runs a graph, frame by frame: no parsing, no validation, no copies of data. One thread calls it.

`begin` hands the camera's picture to the models that need nothing else; `finish` waits for them and runs the steps in order.
Runs may overlap, but are finished in the order in which they began, so that state sees the frames in order.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from runtime.model.engine import Engine, Ticket
from runtime.results import NoAnswer, Result
from runtime.sinks.pictures import Pictures
from runtime.workflow.block import Block, ModelBlock, Surroundings
from runtime.workflow.graph import Gate, Graph, Index, Link, Step
from runtime.workflow.inputs import Given
from runtime.workflow.outputs import Assembly, Groups
from runtime.workflow.values import Detections, ImageValue, joined, to_result
from wire.reasons import Reason


@dataclass
class Outcome:
    """What a run gave.

    outputs: one object for each element of the batch, or a single one. errors: step (or `$inputs.name`) → message.
    no_answer: set when a model could not tell; its branch is None and the frame counts as blind. step_times_us: time in
    the block itself. predictions: model step → detections in the camera's picture, the first of the batch, for drawing.
    answers: model step → what its model said of the first picture it was asked about; whole: model id → the same, where that was
    the camera's own.
    """

    outputs: list[dict[str, Any]] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    no_answer: NoAnswer | None = None
    step_times_us: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, Result] = field(default_factory=dict)
    answers: dict[str, Result] = field(default_factory=dict)
    whole: dict[str, Result] = field(default_factory=dict)


@dataclass
class _Asked:
    """A model step under way: the elements it was asked about, with their values."""

    indices: list[Index]
    values: list[dict[str, Any]]
    ticket: Ticket | None
    error: str = ""


class Executor:
    """A graph with its block instances and the engines of its models. `engines` is keyed by `model_id`."""

    def __init__(
        self, graph: Graph, engines: Mapping[str, Engine], around: Surroundings | None = None
    ) -> None:
        self.graph = graph
        self._engines = engines
        self.around = around or Surroundings(time.time, time.monotonic)
        self._blocks: list[Block] = [step.block(replace(self.around, step=step.name)) for step in graph.steps]
        self._handed_over: set[int] = set()

    def adopt(self, old: Executor) -> list[str]:
        """Take over the state of every step that has the same name, type and configuration in another executor; their names."""
        theirs = {(s.name, s.signature): b for s, b in zip(old.graph.steps, old._blocks, strict=True)}
        kept: list[str] = []
        for step in self.graph.steps:
            block = theirs.get((step.name, step.signature))
            if block is not None and step.block.same_as(type(block)):
                self._blocks[step.number].close()
                self._blocks[step.number] = block
                old._handed_over.add(id(block))
                kept.append(step.name)
        return kept

    def close(self) -> None:
        """Let go what its blocks hold outside the process, but for those that another executor has taken over."""
        for block in self._blocks:
            if id(block) not in self._handed_over:
                block.close()

    def begin(self, inputs: Mapping[str, Any]) -> Run:
        """Start a run. Wrong inputs do not raise: the outcome names them."""
        given = Given(self.graph, inputs, self.around.ids)
        run = Run(self.graph, self._blocks, self._engines, given, self.around.desk.pictures)
        run.ask_ahead()
        return run

    def run(self, inputs: Mapping[str, Any], timeout_s: float = 30.0) -> Outcome:
        """Begin and finish."""
        return self.begin(inputs).finish(timeout_s)


class Run:
    """One frame, or one batch, under way."""

    def __init__(
        self,
        graph: Graph,
        blocks: list[Block],
        engines: Mapping[str, Engine],
        given: Given,
        pictures: Pictures,
    ) -> None:
        self._graph = graph
        self._pictures = pictures
        self._blocks = blocks
        self._engines = engines
        self._given = given
        self._slots = given.slots
        self._indices = given.indices
        self._taken: dict[int, dict[Index, str | None]] = {}
        self._asked: dict[int, _Asked] = {}
        self._groups = Groups(given.indices)
        self._assembly = Assembly(graph, given.slots, self._groups)
        self._inputs = len(graph.input_slots)
        self._outcome = Outcome(errors=given.errors)
        self._deadline_mono = 0.0
        self._waited_ns = 0

    def ask_ahead(self) -> None:
        """Submit what hangs on inputs alone."""
        for step in self._graph.steps:
            if step.ahead:
                self._asked[step.number] = self._ask(step)

    def ready(self) -> bool:
        """Whether `finish` need not wait for the models asked so far."""
        return all(asked.ticket is None or asked.ticket.ready() for asked in self._asked.values())

    def finish(self, timeout_s: float) -> Outcome:
        """Run the steps. Models that do not answer within the time give no answer; nothing raises."""
        self._deadline_mono = time.monotonic() + timeout_s
        times = self._outcome.step_times_us
        for step in self._graph.steps if self._pictures.veil is None else self._models_first():
            started_ns, self._waited_ns = time.perf_counter_ns(), 0
            if step.is_model:
                self._finish_model(step)
            else:
                self._run_step(step)
            times[step.name] = (time.perf_counter_ns() - started_ns - self._waited_ns) / 1000
        self._outcome.outputs = self._assembly.outputs(self._given.batch_size)
        return self._outcome

    def _models_first(self) -> list[Step]:
        """The steps in an order in which every model that looks at the whole picture has spoken before a sink sends some of it."""
        slots = (self._slots[number] for number in range(self._inputs))
        pictures = [v for slot in slots for v in slot.values() if isinstance(v, ImageValue)]
        self._pictures.look_at(self._outcome.predictions, frozenset(p.metadata for p in pictures))
        return sorted(self._graph.steps, key=lambda step: not step.ahead)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _run_step(self, step: Step) -> None:
        block = self._blocks[step.number]
        taken = self._taken.setdefault(step.number, {}) if step.is_flow else None
        if block.whole:
            self._run_whole(step, block)
            return
        gates = self._open_gates(step)
        for index in self._indices.get(step.lineage, ()) if gates is not None or step.runs_shut else ():
            values = self._values(step, index, gates)
            if values is None:
                continue
            try:
                result = block.run(**values)
                if taken is None:
                    self._store(step, index, result)
                else:
                    taken[index] = result
            except Exception as e:
                self._failed(step, e)
        if step.output_lineage:
            self._indices.setdefault(step.output_lineage, [])

    def _run_whole(self, step: Step, block: Block) -> None:
        """A step that takes its whole batch in one call."""
        if step.output_lineage:
            self._indices.setdefault(step.output_lineage, [])
        indices, elements = self._elements(step)
        try:
            for index, result in zip(indices, block.run_batch(indices, elements), strict=True):
                self._store(step, index, result)
        except Exception as e:
            self._failed(step, e)

    def _elements(self, step: Step) -> tuple[list[Index], list[dict[str, Any]]]:
        """The elements of a step that run, and their values."""
        gates = self._open_gates(step)
        if gates is None and not step.runs_shut:
            return [], []
        found = [(i, self._values(step, i, gates)) for i in self._indices.get(step.lineage, ())]
        return [i for i, v in found if v is not None], [v for _, v in found if v is not None]

    def _failed(self, step: Step, error: Exception) -> None:
        self._outcome.errors.setdefault(step.name, f"{type(error).__name__}: {error}"[:500])

    def _open_gates(self, step: Step) -> tuple[Gate, ...] | None:
        """The gates that decide about single elements; None where nothing of the step runs.

        As in the original engine, a gate of a batch that lets no element through is passed over as long as another one lets
        some through; a scalar gate always holds.
        """
        if not step.gates:
            return ()
        batch: list[Gate] = []
        for gate in step.gates:
            taken = self._taken[gate.step]
            if gate.depth:
                batch += [gate] if gate.branch in taken.values() else []
            elif taken.get(()) != gate.branch:
                return None
        shut = not batch and any(gate.depth for gate in step.gates)
        return None if shut else tuple(batch)

    def _values(self, step: Step, index: Index, gates: tuple[Gate, ...] | None) -> dict[str, Any] | None:
        """The values of every field for one element; None where the step does not run."""
        if gates is None:
            return self._shut(step, index)
        for gate in gates:
            if gate.depth <= len(index) and self._taken[gate.step].get(index[: gate.depth]) != gate.branch:
                return self._shut(step, index)
        values = dict(step.constants)
        for link in step.links:
            if link.collected:
                value: Any = self._collect(step, link, index, gates)
                if value is None:
                    return None
            else:
                value = self._slots[link.slot].get(index[: link.depth])
                if (
                    value is None
                    and not step.block.accepts_empty
                    and (link.depth or link.slot >= self._inputs)
                ):
                    return None
            if link.key is None:
                values[link.field] = value
            else:
                if values[link.field] is step.constants[link.field]:
                    values[link.field] = values[link.field].copy()
                values[link.field][link.key] = value
        return values

    def _shut(self, step: Step, index: Index) -> dict[str, Any] | None:
        """The values for an element that a gate stopped: a step that takes what is empty sees None in place of its data, one that
        collects sees an empty list; others do not run."""
        if not step.runs_shut or (step.block.dimension < 0 and not index):
            return None
        values = dict(step.constants)
        for link in step.links:
            if link.collected and self._groups.below(link.lineage, len(index)).get(index) is None:
                return None
            value = [] if link.collected else None if link.depth else self._slots[link.slot].get(())
            if link.key is None:
                values[link.field] = value
            else:
                values[link.field] = values[link.field].copy()
                values[link.field][link.key] = value
        return values

    def _collect(self, step: Step, link: Link, index: Index, gates: tuple[Gate, ...]) -> list[Any] | None:
        """The elements below an index, without those that are None or that a gate stopped; None where there never were any."""
        slot = self._slots[link.slot]
        if link.depth <= len(index):
            return [slot.get(index[: link.depth])]
        below = self._groups.below(link.lineage, len(index)).get(index)
        if below is None:
            return None
        for gate in gates:
            if gate.depth > len(index):
                taken = self._taken[gate.step]
                below = [i for i in below if taken.get(i[: gate.depth]) == gate.branch]
        values = [slot.get(i) for i in below]
        if not step.block.accepts_empty:
            values = [v for v in values if v is not None]
        return values if values or index else None

    def _store(self, step: Step, index: Index, result: Any) -> None:
        if step.block.dimension <= 0:
            self._put(step, index, result)
            return
        known = self._indices.setdefault(step.output_lineage, [])
        for j, element in enumerate(result):
            known.append((*index, j))
            self._put(step, (*index, j), element)

    def _put(self, step: Step, index: Index, result: Any) -> None:
        if len(step.outputs) == 1:
            self._slots[step.outputs[0]][index] = result
        elif result is not None:
            for slot, value in zip(step.outputs, result, strict=True):
                self._slots[slot][index] = value

    # --- models -------------------------------------------------------------------------------------------------------

    def _ask(self, step: Step) -> _Asked:
        """Submit the pictures of every element that runs, together."""
        indices, values = self._elements(step)
        if not indices:
            return _Asked([], [], None)
        block = step.block
        assert issubclass(block, ModelBlock)
        model_id = values[0]["model_id"]
        engine = self._engines.get(model_id)
        if engine is None:
            return _Asked(indices, values, None, f"no engine is bound to model {model_id!r}")
        try:
            ticket = engine.submit([v[block.image_field].image for v in values])
        except Exception as e:
            return _Asked(indices, values, None, f"{type(e).__name__}: {e}"[:500])
        return _Asked(indices, values, ticket)

    def _finish_model(self, step: Step) -> None:
        asked = self._asked.pop(step.number, None) or self._ask(step)
        block = self._blocks[step.number]
        assert isinstance(block, ModelBlock)
        if asked.error:
            self._outcome.errors[step.name] = asked.error
            self._outcome.no_answer = self._outcome.no_answer or NoAnswer(Reason.ENGINE_ERROR, asked.error)
        if asked.ticket is None:
            return
        waits_ns = time.perf_counter_ns()
        try:
            answers = asked.ticket.wait(max(0.0, self._deadline_mono - time.monotonic()))
        except Exception as e:
            self._failed(step, e)
            self._outcome.no_answer = NoAnswer(Reason.ENGINE_ERROR, self._outcome.errors[step.name])
            return
        finally:
            self._waited_ns = time.perf_counter_ns() - waits_ns
        for index, values, answer in zip(asked.indices, asked.values, answers, strict=True):
            if isinstance(answer, NoAnswer):
                self._outcome.no_answer = self._outcome.no_answer or answer
                continue
            self._outcome.answers.setdefault(step.name, answer)
            if step.ahead:
                self._outcome.whole.setdefault(values["model_id"], answer)
            try:
                result = block.answer(answer, model=self._engines[values["model_id"]].spec, **values)
            except Exception as e:
                self._failed(step, e)
                continue
            self._put(step, index, result)
            if not index or index[0] == 0:
                self._remember(step, result, answer.labels)

    def _remember(self, step: Step, result: Any, labels: tuple[str, ...]) -> None:
        """What a model found in the first picture of the batch, in all the parts of it that it was asked about."""
        known = self._outcome.predictions
        for value in result if isinstance(result, tuple) else (result,):
            if isinstance(value, Detections):
                found = to_result(value.in_root(), labels)
                known[step.name] = joined(known[step.name], found) if step.name in known else found
                return
