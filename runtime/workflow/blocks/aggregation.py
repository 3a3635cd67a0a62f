"""Values over time and over a batch, as one: statistics of an interval, rows of a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np

from runtime.workflow.block import Block, StepFailed, Surroundings
from runtime.workflow.fields import (
    ANY,
    STRING,
    Choice,
    DictOf,
    Field,
    ListOf,
    Number,
    dictionary,
    gives,
    kinds,
)
from runtime.workflow.query.conditions import Chain
from runtime.workflow.query.literals import NamedOperations
from wire.problem import shown

UNITS_S = {"seconds": 1, "minutes": 60, "hours": 3600}
MAX_DISTINCT = 65536
"""Different values of one datum that are told apart in an interval; further ones are left out."""


class Tally:
    """What came in for one datum and one mode since the interval began."""

    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._number: Any = 0
        self._count = 0
        self._low: Any = None
        self._high: Any = None
        self._seen: dict[Any, int] = {}

    def add(self, value: Any) -> None:
        """:raises StepFailed: the mode cannot take such a value"""
        try:
            self._add(value)
        except TypeError as e:
            raise StepFailed(f"{self._mode} cannot take {shown(value)}: give numbers or texts") from e

    def _add(self, value: Any) -> None:
        mode = self._mode
        if mode in ("sum", "avg"):
            self._number += value
            self._count += 1
        elif mode in ("max", "min", "values_difference"):
            self._low = value if self._low is None else min(self._low, value)
            self._high = value if self._high is None else max(self._high, value)
        elif mode == "count":
            self._count += len(value) if hasattr(value, "__len__") else 1
        else:
            several = (list,) if mode == "values_counts" else (list, set, tuple)
            for entry in value if isinstance(value, several) else (value,):
                if entry in self._seen or len(self._seen) < MAX_DISTINCT:
                    self._seen[entry] = self._seen.get(entry, 0) + 1

    def result(self) -> Any:
        return _RESULTS[self._mode](self)


def _mean(tally: Tally) -> Any:
    return tally._number / tally._count if tally._count else None


def _spread(tally: Tally) -> Any:
    return None if tally._low is None else tally._high - tally._low


_RESULTS: dict[str, Callable[[Tally], Any]] = {
    "sum": lambda t: t._number,
    "avg": _mean,
    "max": lambda t: t._high,
    "min": lambda t: t._low,
    "count": lambda t: t._count,
    "distinct": lambda t: list(t._seen),
    "count_distinct": lambda t: len(t._seen),
    "values_counts": lambda t: dict(t._seen),
    "values_difference": _spread,
}


class DataAggregator(Block):
    """Outputs `<datum>_<mode>`: None until the interval is over, then what came in during it."""

    types = ("roboflow_core/data_aggregator@v1",)
    title = "Data aggregator"
    fields = (
        dictionary("data"),
        Field("data_operations", literal=NamedOperations(), required=False, default={}),
        Field(
            "aggregation_mode", literal=DictOf(ListOf(Choice(tuple(_RESULTS)), max_items=16), max_items=256)
        ),
        Field("interval_unit", literal=Choice((*UNITS_S, "runs")), required=False, default="seconds"),
        Field("interval", literal=Number(1, integer=True)),
    )

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._tallies: dict[str, Tally] = {}
        self._runs = 0
        self._began_mono = around.clock_mono()

    @classmethod
    def bind(cls, step: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
        modes = step.get("aggregation_mode")
        pairs = _pairs(modes) if isinstance(modes, dict) else []
        return {f"{name}_{mode}": kinds(ANY) for name, mode in pairs}

    def run(
        self,
        data: Mapping[str, Any],
        data_operations: Mapping[str, Chain],
        aggregation_mode: Mapping[str, Sequence[str]],
        interval_unit: str,
        interval: int,
    ) -> Any:
        self._runs += 1
        pairs = _pairs(aggregation_mode)
        values = operated(data, data_operations)
        for name, mode in pairs:
            if name in values:
                tally = self._tallies.setdefault(f"{name}_{mode}", Tally(mode))
                tally.add(values[name])
        passed_s = self.around.clock_mono() - self._began_mono
        over = (
            self._runs >= interval
            if interval_unit == "runs"
            else passed_s >= interval * UNITS_S[interval_unit]
        )
        told: list[Any] = [None] * len(pairs)
        if over:
            told = [t.result() if (t := self._tallies.get(f"{n}_{m}")) else None for n, m in pairs]
            self._tallies, self._runs, self._began_mono = {}, 0, self.around.clock_mono()
        return told[0] if len(told) == 1 else tuple(told)


def _pairs(modes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(datum, mode), each once."""
    named = ((n, m) for n, listed in modes.items() if isinstance(listed, (list, tuple)) for m in listed)
    return list(dict.fromkeys((n, m) for n, m in named if isinstance(m, str)))


def operated(data: Mapping[str, Any], operations: Mapping[str, Chain]) -> dict[str, Any]:
    """The data with the operations of each name applied.

    :raises StepFailed: there are operations for a name that is not in the data
    """
    values = dict(data)
    for name, chain in operations.items():
        if name not in values:
            raise StepFailed(f"there are operations for {shown(name)}, which is not in the data")
        values[name] = chain(values[name], {})
    return values


class CsvFormatter(Block):
    """A table of all elements of the batch, with a column `timestamp`; the last element gets it, the others get None. A text
    that a spreadsheet would take for a formula gets an apostrophe in front."""

    types = ("roboflow_core/csv_formatter@v1",)
    title = "CSV formatter"
    whole = True
    fields = (
        dictionary("columns_data"),
        Field("columns_operations", literal=NamedOperations(), required=False, default={}),
    )
    outputs = gives(csv_content=kinds(STRING))
    FORMULAS = ("=", "+", "-", "@", "\t", "\r")

    def run_batch(
        self, indices: Sequence[tuple[int, ...]], elements: Sequence[Mapping[str, Any]]
    ) -> list[Any]:
        at = datetime.fromtimestamp(self.around.clock_wall(), timezone.utc).isoformat()
        rows = [{**operated(v["columns_data"], v["columns_operations"]), "timestamp": at} for v in elements]
        return [None] * (len(rows) - 1) + [self._table(rows)] if rows else []

    def _table(self, rows: list[dict[str, Any]]) -> str:
        names = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(names)
        table.writerows([self._cell(row.get(name)) for name in names] for row in rows)
        return text.getvalue()

    def _cell(self, value: Any) -> Any:
        if isinstance(value, str):
            return "'" + value if value.startswith(self.FORMULAS) else value
        if isinstance(value, np.generic):
            return value.item()
        return value


BLOCKS: tuple[type[Block], ...] = (DataAggregator, CsvFormatter)
