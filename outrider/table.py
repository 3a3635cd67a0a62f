"""Rows as text in columns, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def lines(
    rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str], *, right: frozenset[str] = frozenset()
) -> list[str]:
    """A heading and a line a row. `columns`: key → heading; `right`: keys of figures, which stand at the right of theirs.

    None is an empty field.
    """
    table = [list(columns.values())]
    table += [["" if row.get(key) is None else str(row[key]) for key in columns] for row in rows]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    sides = [str.rjust if key in right else str.ljust for key in columns]
    return ["  ".join(side(text, width) for side, text, width in zip(sides, line, widths, strict=True)).rstrip()
            for line in table]  # fmt: skip
