"""The hash chain of the audit log: each row's hash covers its content and the hash of the row before.

Whoever changes, removes, inserts or reorders a row must write every later hash anew, and then the end is another one than the
head that was exported before. Pure; what an auditor needs beside the rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

START = "0" * 64
"""What stands for the row before the first."""

FIELDS = ("seq", "at", "actor", "action", "subject", "detail", "request_id", "before", "after")


@dataclass(frozen=True)
class Head:
    """The end of the log: how many rows there are, and the hash of the last."""

    count: int
    hash: str


EMPTY = Head(0, START)


def digest_of(value: Any) -> str:
    """`sha256:…` of a JSON value, independent of the order of its keys."""
    return "sha256:" + hashlib.sha256(_canonical(value)).hexdigest()


def link(row: Mapping[str, Any], previous: str) -> str:
    """The hash of a row that follows one with the hash `previous`. The row holds at least `FIELDS`."""
    return hashlib.sha256(_canonical([previous, *(row[name] for name in FIELDS)])).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def breaks(rows: Iterable[Mapping[str, Any]], head: Head | None = None) -> list[str]:
    """What is wrong with the rows of a whole log, in their order; empty where nothing is.

    `head` is one exported before: the log must hold it still, and may have grown since.
    """
    found: list[str] = []
    previous, expected = START, 1
    for row in rows:
        if row["seq"] != expected:
            found.append(f"row {expected} is missing or out of order: row {row['seq']} stands in its place")
        if link(row, previous) != row["hash"]:
            found.append(f"row {row['seq']} or the one before it was changed: its hash does not fit")
        if head is not None and row["seq"] == head.count and row["hash"] != head.hash:
            found.append(f"row {row['seq']} is not the one of the exported head")
        previous = row["hash"]
        expected = (row["seq"] if isinstance(row["seq"], int) else expected) + 1
    if head is not None and expected <= head.count:
        found.append(f"the log ends with row {expected - 1}; the exported head says {head.count}")
    return found
