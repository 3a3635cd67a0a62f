"""Blocks of earlier days by hour, so that a change at noon is held against noons. Pure: times come in.

Kept for the model at work only: what another one found says nothing of this one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from agent.judgement.blocks import Block, joined

SPAN_S = 600.0
KEPT_AN_HOUR = 12
"""Two days of six spans."""
HOUR_S = 3600.0


@dataclass
class History:
    """`subject`: the models and the workflow that made these blocks."""

    subject: str = ""
    hours: dict[int, list[Block]] = field(default_factory=dict)
    _open: list[Block] = field(default_factory=list)

    def add(self, subject: str, block: Block, at_wall: float) -> bool:
        """The next block; whether a span is full and the history worth keeping on disk."""
        if subject != self.subject:
            self.subject, self.hours, self._open = subject, {}, []
        self._open.append(block)
        if sum(each.span_s for each in self._open) < SPAN_S:
            return False
        row = self.hours.setdefault(hour_of(at_wall), [])
        row.append(joined(self._open))
        del row[:-KEPT_AN_HOUR]
        self._open = []
        return True

    def same_hours(self, subject: str, at_wall: float) -> tuple[Block, ...]:
        """Blocks of this hour of the day and the ones beside it, made by this subject."""
        if subject != self.subject:
            return ()
        hour = hour_of(at_wall)
        near = ((hour + off) % 24 for off in (-1, 0, 1))
        return tuple(block for each in near for block in self.hours.get(each, ()))

    def to_json(self) -> dict[str, Any]:
        hours = {str(hour): [to_json(block) for block in row] for hour, row in self.hours.items()}
        return {"subject": self.subject, "hours": hours}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> History:
        """:raises KeyError, TypeError, ValueError: not what `to_json` gives"""
        hours = {int(hour): blocks_from(row) for hour, row in value["hours"].items()}
        return cls(str(value["subject"]), hours)


def hour_of(at_wall: float) -> int:
    """The hour of the day in UTC: the same hour of another day is all that matters."""
    return int(at_wall // HOUR_S) % 24


def to_json(block: Block) -> dict[str, Any]:
    """What is kept of a block; figures that are nothing are left out."""
    return {name: value for name, value in asdict(block).items() if value}


def blocks_from(row: Sequence[Mapping[str, Any]]) -> list[Block]:
    """:raises KeyError, TypeError, ValueError: not what `to_json` gives"""
    blocks = []
    for value in row:
        fields = dict(value)
        fields["latency"] = {int(bin_): int(count) for bin_, count in fields.get("latency", {}).items()}
        for name in ("scores", "stretches"):
            if name in fields:
                fields[name] = tuple(fields[name])
        blocks.append(Block(**fields))
    return blocks
