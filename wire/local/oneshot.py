"""What a one-shot child prints as its only line: `python -m runtime.model.check`, `runtime.workflow.check`, `runtime.bench`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from wire.local.register import message


@message("check-result")
@dataclass(frozen=True)
class CheckResult:
    """The verdict of a one-shot check, the only line it prints. `card` describes what was accepted (task, labels, inputs …)."""

    ok: bool
    reason: str = ""
    message: str = ""
    problems: list[dict[str, Any]] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


@message("bench-result")
@dataclass(frozen=True)
class BenchResult:
    """What a one-shot benchmark says, the only line it prints. `figures` are those of `wire.bench.BenchFigures`."""

    ok: bool
    reason: str = ""
    message: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
