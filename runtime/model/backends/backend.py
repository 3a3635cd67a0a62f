"""The seam behind which an engine runs a graph: tensors in, tensors out, no images, no decoding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from runtime.model.families.family import Port


@dataclass(frozen=True)
class RunOptions:
    """`threads`: 0 lets the engine choose. `spinning`: threads wait by burning CPU. `optimise`: rewrite the graph."""

    threads: int = 0
    spinning: bool = False
    optimise: bool = True


class Backend(Protocol):
    """One loaded graph. At most `runs_at_once` threads at a time may call `run`, one thread the rest."""

    @property
    def inputs(self) -> Sequence[Port]: ...

    @property
    def outputs(self) -> Sequence[Port]: ...

    @property
    def info(self) -> dict[str, Any]:
        """For people: engine, version, provider."""

    @property
    def runs_at_once(self) -> int:
        """How many threads may call `run` at the same time, and gain by it."""

    def run(self, batch: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """Feed the one image input; outputs in the graph's order, owned by the caller.

        :raises Transient: the engine failed on this request; `reason` ENGINE_ERROR or OUT_OF_MEMORY
        """

    def close(self) -> None:
        """Give the graph's memory back."""
