"""What commands print: tables or JSON, times as text, arguments read."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any


def show(
    args: argparse.Namespace,
    rows: Sequence[Any],
    shown: Sequence[Mapping[str, Any]],
    columns: Mapping[str, str],
) -> int:
    """The rows as JSON, or `shown` as a table of the columns (key → heading)."""
    from outrider import table

    if args.json:
        return print_json(rows)
    print("\n".join(table.lines(shown, columns)))
    return 0


def print_json(value: Any) -> int:
    print(json.dumps(value, indent=2))
    return 0


def dated(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The row with these times as text."""
    texts = {
        name: time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row[name])) if row.get(name) else None
        for name in names
    }
    return {**row, **texts}


def pair(text: str) -> tuple[str, str]:
    """:raises Refused: the text is not KEY=VALUE"""
    from fleet.errors import Refused
    from wire.reasons import Reason

    name, equals, value = text.partition("=")
    if not equals or not name:
        raise Refused(Reason.INVALID_FIELD, f"{text!r} is not of the form KEY=VALUE")
    return name, value


def value(text: str) -> Any:
    """JSON where it is some, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
