"""An ONNX file on its way into the registry: told from an archive, and what the child is asked that makes a package of it.

The child is `runtime.model.pack`, confined as every check: it recognises the family, or refuses with what each family expects.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import Refused
from wire.local import CheckResult
from wire.reasons import Reason

TABLES = ("coco80", "coco91")
_MOST_IR_VERSION = 63
_OPTION = re.compile(r"--(family|labels|task|size|name)\b")


@dataclass(frozen=True)
class Wishes:
    """What a person says of an ONNX file; empty leaves it to the family. `labels`: a table of COCO, or names with commas or one a line."""

    family: str = ""
    task: str = ""
    labels: str = ""

    @property
    def any(self) -> bool:
        return bool(self.family or self.task or self.labels)


NO_WISHES = Wishes()


def is_onnx(path: Path) -> bool:
    """Whether it begins as ONNX files do: with the field `ir_version` (onnx.proto3, ModelProto), which no archive begins with."""
    with path.open("rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x08 and 1 <= head[1] <= _MOST_IR_VERSION


def request(source: Path, out: Path, name: str, wishes: Wishes) -> str:
    """The argument of the child. It reads no file but `source`: labels are names here, never a path."""
    options = {
        "name": name,
        "no_golden": True,
        "family": wishes.family or None,
        "task": wishes.task or None,
        "labels": _labels(wishes.labels),
    }
    return json.dumps({"source": str(source), "out": str(out), "options": options})


def _labels(text: str) -> str | list[str] | None:
    if text.strip().lower() in TABLES:
        return text.strip().lower()
    return [name for part in text.split("\n" if "\n" in text else ",") if (name := part.strip())] or None


def refuse_wishes(wishes: Wishes) -> None:
    """:raises Refused: something is said of a package, which says it itself"""
    if wishes.any:
        raise Refused(
            Reason.INVALID_FIELD,
            "family, task and labels are for an ONNX file; a package has its own in model.toml",
        )


def worded(verdict: CheckResult) -> CheckResult:
    """A refusal in the words of the API, where the packer speaks of its command line."""
    problems = [
        {key: _OPTION.sub(r"\1", value) if isinstance(value, str) else value for key, value in each.items()}
        for each in verdict.problems
    ]
    message = _OPTION.sub(r"\1", verdict.message)
    return CheckResult(verdict.ok, verdict.reason, message, problems, verdict.card)
