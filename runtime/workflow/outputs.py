"""What a run gives back: the values of its slots, in as many levels of lists as the original engine has them.

Reads what the steps have written; runs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from runtime.workflow.graph import Graph, Index, Lineage, OutputField, Slot
from runtime.workflow.inputs import Values
from runtime.workflow.values import Detections


class Groups:
    """The elements of each lineage by the element above them. A lineage is grouped once, so all its elements must be known."""

    def __init__(self, indices: Mapping[Lineage, Sequence[Index]]) -> None:
        self._indices = indices
        self._known: dict[tuple[Lineage, int], dict[Index, list[Index]]] = {}

    def below(self, lineage: Lineage, depth: int) -> dict[Index, list[Index]]:
        """By index of `depth` numbers: the elements that begin with it."""
        key = (lineage, depth)
        if key not in self._known:
            groups: dict[Index, list[Index]] = {}
            for index in self._indices.get(lineage, ()):
                groups.setdefault(index[:depth], []).append(index)
            self._known[key] = groups
        return self._known[key]


class Assembly:
    """Puts the outputs of one run together."""

    def __init__(self, graph: Graph, slots: Sequence[Values], groups: Groups) -> None:
        self._graph = graph
        self._slots = slots
        self._groups = groups

    def outputs(self, batch_size: int) -> list[dict[str, Any]]:
        """One object for each element of the batch, or a single one."""
        tops: list[Index] = [()]
        if self._graph.has_batch_output:
            tops = [(i,) for i in range(batch_size)]
        return [{o.name: self._field(o, top) for o in self._graph.outputs} for top in tops]

    def _field(self, output: OutputField, top: Index) -> Any:
        if output.names is not None:
            values = [self._nested(slot, top, output.own_coordinates) for slot in output.slots]
            return _by_name(output.names, values, _levels(output.slots))
        return self._nested(output.slots[0], top, output.own_coordinates)

    def _nested(self, slot: Slot, top: Index, own_coordinates: bool) -> Any:
        values = self._slots[slot.number]
        if slot.depth <= 1:
            return _placed(values.get(top[: slot.depth]), own_coordinates)
        return self._list(slot, values, top, own_coordinates)

    def _list(self, slot: Slot, values: Values, index: Index, own_coordinates: bool) -> Any:
        """The elements below an index, as lists within lists; as in the original engine a list reaches as far as there are
        elements, and where there are none at all it is empty at its innermost."""
        below = self._groups.below(slot.lineage, len(index)).get(index)
        levels = slot.depth - len(index)
        if not below:
            return _empty(levels)
        if levels == 1:
            return [_placed(values.get(i), own_coordinates) for i in below]
        last = below[-1][len(index)]
        return [self._list(slot, values, (*index, j), own_coordinates) for j in range(last + 1)]


def _levels(slots: Sequence[Slot]) -> int:
    """How many lists lie around an element of a step within one element of the batch."""
    return max(0, slots[0].depth - 1) if slots else 0


def _by_name(names: Sequence[str], values: Sequence[Any], levels: int) -> Any:
    """All outputs of a step: an object for each element, in as many levels of lists."""
    if levels == 0:
        return dict(zip(names, values, strict=True))
    return [_by_name(names, element, levels - 1) for element in zip(*values, strict=True)]


def _empty(levels: int) -> list[Any]:
    return [] if levels == 1 else [_empty(levels - 1)]


def _placed(value: Any, own_coordinates: bool) -> Any:
    return value.in_root() if isinstance(value, Detections) and not own_coordinates else value
