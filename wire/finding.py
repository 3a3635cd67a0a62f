"""What a look at a machine has found: a line with its state and what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OK = "ok"
WARNING = "warning"
FAULT = "fault"


@dataclass(frozen=True)
class Finding:
    """One line. `state` is ok, warning (works, with a limit) or fault (does not work); `remedy` says what to do."""

    what: str
    state: str
    words: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """For a terminal."""
        return f"{self.state:8} {self.what:16} {self.words}" + (f"; {self.remedy}" if self.remedy else "")
