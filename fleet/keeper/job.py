"""What the control plane tells the keeper's process at its start, and what that says from then on: one line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from fleet.config import Config
from fleet.keeper.fence import Fence
from fleet.lease import Held


@dataclass(frozen=True)
class Job:
    """`database` is a URL with its password, which is why it goes through the pipe and not on the command line."""

    database: str = field(repr=False)
    config: Config
    fence: Fence

    def line(self) -> bytes:
        config = self.config.model_dump(mode="json", include={"fleet", "limits", "faults"})
        told = {"database": self.database, "config": config, "fence": asdict(self.fence)}
        return json.dumps(told).encode() + b"\n"


def job_of(line: bytes) -> Job:
    """:raises ValueError: it is none"""
    told: dict[str, Any] = json.loads(line)
    held = told["fence"]["held"]
    fence = Fence(told["fence"]["token"], Held(**held) if held else None)
    return Job(told["database"], Config.model_validate(told["config"]), fence)


@dataclass(frozen=True)
class Beat:
    """Said after the fleet has been looked at again. `behind_s`: how late the roll-up of history is."""

    behind_s: float

    def line(self) -> bytes:
        return json.dumps(asdict(self)).encode() + b"\n"


def beat_of(line: bytes) -> Beat:
    """:raises ValueError: it is none"""
    told = json.loads(line)
    return Beat(float(told["behind_s"]))
