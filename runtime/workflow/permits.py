"""What the one who compiles a definition allows in it. Never read from the definition itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Code(str, Enum):
    """`REFUSE`: a definition that brings code is wrong. `READ`: the code is read and never run, to look at a definition.
    `RUN`: it may run here."""

    REFUSE = "refuse"
    READ = "read"
    RUN = "run"


@dataclass(frozen=True)
class Permits:
    """`skip_cloud_blocks`: blocks that do not run on a device are passed over, and give None. `code`: Python that the definition
    brings (`dynamic_blocks_definitions`)."""

    skip_cloud_blocks: bool = False
    code: Code = Code.REFUSE


STRICT = Permits()
